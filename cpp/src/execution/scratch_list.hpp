// The free list of a net's scratch: one piece for each concurrent call.
#pragma once

#include <memory>

#include "execution/free_slots.hpp"
#include "execution/workspace.hpp"

namespace fastbp {

template <class Real>
class ScratchList {
  public:
    // Scratch that goes back to its list.
    class Loan {
      public:
        Loan(ScratchList& owner, std::unique_ptr<Crew<Real>> crew) : owner_(owner), crew_(std::move(crew)) {}
        ~Loan() { owner_.free_.give(std::move(crew_)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Crew<Real>& operator*() const { return *crew_; }

      private:
        ScratchList& owner_;
        std::unique_ptr<Crew<Real>> crew_;
    };

    // Lends free scratch that fits, or new scratch.
    Loan borrow(Backend<Real>& on, const Model& model, const Plan& plan, const Needs& needs) {
        auto crew = free_.take([&](const Crew<Real>& kept) { return kept.fits(plan, needs); });
        if (crew == nullptr) crew = std::make_unique<Crew<Real>>(on, model, plan, needs);
        return Loan(*this, std::move(crew));
    }

  private:
    FreeSlots<Crew<Real>> free_;
};

}  // namespace fastbp

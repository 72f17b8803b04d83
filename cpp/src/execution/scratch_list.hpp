// The free list of a net's scratch: one piece for each concurrent call.
#pragma once

#include <memory>

#include "execution/free_slots.hpp"
#include "execution/team_scratch.hpp"

namespace fastbp {

template <class Real>
class ScratchList {
  public:
    // Scratch that goes back to its list.
    class Loan {
      public:
        Loan(ScratchList& owner, std::unique_ptr<TeamScratch<Real>> scratch)
            : owner_(owner), scratch_(std::move(scratch)) {}
        ~Loan() { owner_.free_.give(std::move(scratch_)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        TeamScratch<Real>& operator*() const { return *scratch_; }

      private:
        ScratchList& owner_;
        std::unique_ptr<TeamScratch<Real>> scratch_;
    };

    // Lends free scratch that fits, or new scratch.
    Loan borrow(Backend<Real>& on, const Model& model, const Plan& plan, const ScratchSpec& needs) {
        auto scratch = free_.take([&](const TeamScratch<Real>& kept) { return kept.fits(plan, needs); });
        if (scratch == nullptr) scratch = std::make_unique<TeamScratch<Real>>(on, model, plan, needs);
        return Loan(*this, std::move(scratch));
    }

  private:
    FreeSlots<TeamScratch<Real>> free_;
};

}  // namespace fastbp

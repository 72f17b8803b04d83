// A net behind the C door: the model, its backend, and a free list of workspaces, one per concurrent call.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "execution/workspace.hpp"
#include "fastbp/fastbp.h"

// The handle. Its two kinds differ in the type of their numbers.
struct fastbp_net {
    fastbp::Model model;

    explicit fastbp_net(fastbp::Model m) : model(std::move(m)) {}
    virtual ~fastbp_net() = default;
    virtual void forward(const void* params, const fastbp_data& data, void* out, void* kept) const = 0;
    virtual void evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const = 0;
    virtual void pull_back(const void* params, const fastbp_data& data, const void* kept, const fastbp_array& cotangent,
                           fastbp_results& results) const = 0;
    virtual void run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const = 0;
};

namespace fastbp {

// Lends a workspace and takes it back.
template <class Real>
class FreeList {
  public:
    class Loan {
      public:
        Loan(FreeList& owner, std::unique_ptr<Workspace<Real>> workspace)
            : owner_(owner), workspace_(std::move(workspace)) {}
        ~Loan() { owner_.take_back(std::move(workspace_)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Workspace<Real>& operator*() const { return *workspace_; }

      private:
        FreeList& owner_;
        std::unique_ptr<Workspace<Real>> workspace_;
    };

    Loan borrow(Backend<Real>& on, const Model& model, Index tile, Index gradients) {
        std::unique_ptr<Workspace<Real>> workspace;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!free_.empty()) {
                workspace = std::move(free_.back());
                free_.pop_back();
            }
        }
        if (workspace == nullptr || !workspace->fits(tile, gradients)) {
            workspace.reset();
            workspace = std::make_unique<Workspace<Real>>(on, model, tile, gradients);
        }
        return Loan(*this, std::move(workspace));
    }

  private:
    void take_back(std::unique_ptr<Workspace<Real>> workspace) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.size() < free_.capacity()) free_.push_back(std::move(workspace));
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace<Real>>> free_ = reserved();

    static std::vector<std::unique_ptr<Workspace<Real>>> reserved() {
        std::vector<std::unique_ptr<Workspace<Real>>> list;
        list.reserve(16);
        return list;
    }
};

// Builds a model from a spec. Throws Error naming the field that does not fit.
Model make_model(const fastbp_net_spec& spec);

std::unique_ptr<fastbp_net> make_net(const fastbp_net_spec& spec);

}  // namespace fastbp

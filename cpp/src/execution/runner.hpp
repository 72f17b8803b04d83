// The one place that decides who runs a job: it owns the backend and the scratch, makes the plan, and chooses the team.
#pragma once

#include <memory>

#include "execution/external_pool.hpp"
#include "execution/run_job.hpp"
#include "execution/scratch_list.hpp"
#include "execution/thread_pool.hpp"

namespace fastbp {

template <class Real>
class Runner {
  public:
    // `threads`: the caller's own; without any, the process's pool is used.
    Runner(const Model& model, std::unique_ptr<Backend<Real>> backend, ExternalPool threads);

    const Model& model() const { return model_; }
    Backend<Real>& backend() const { return *backend_; }
    const ExecutionTraits& traits() const { return traits_; }

    // Runs a job. Returns its loss and its penalties if the outputs ask for the loss. Throws Error if the caller stops
    // it or its loss function fails.
    LossEntry run(const Job<Real>& job) const;

    // The plan for a job of so many rows.
    Plan plan_for(const Job<Real>& job, Index rows) const;

    // The threads and the scratch of one call, whose jobs have one plan.
    class Team {
      public:
        // `extra_gradients`: arrays of the parameters' size besides those of the plan.
        Team(const Runner& runner, const Plan& plan, const Job<Real>& job, int extra_gradients);

        TeamScratch<Real>& scratch() const { return *scratch_; }
        int largest() const { return size_; }
        // The next steps, of at most `left`, and how many threads run them.
        Slice next(Index left);
        // body(Member) on the slice's threads. A busy pool may give fewer.
        template <class Body>
        void run(const Slice& slice, const Body& body) {
            const TeamWork work(body);
            run_work(slice, work);
        }

      private:
        void run_work(const Slice& slice, const TeamWork& work);

        const Runner& runner_;
        const Plan plan_;
        const Work kind_;
        const int size_;
        bool is_timed_ = false, is_tuned_ = false;  // the slice that `next` returned last
        const typename ScratchList<Real>::Loan scratch_;
    };

  private:
    const Model& model_;
    const std::unique_ptr<Backend<Real>> backend_;
    const ExecutionTraits traits_;
    const ExternalPool external_pool_;
    mutable ScratchList<Real> free_;
};

// Throws Error if a team has stopped early.
void throw_if(Stop stopped);

}  // namespace fastbp

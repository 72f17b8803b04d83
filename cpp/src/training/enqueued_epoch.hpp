// The same epoch on a backend that only enqueues: no step waits for the one before.
#pragma once

#include "training/epoch.hpp"

namespace fastbp {

// As run_epoch, by the calling thread alone. data.host_rows are the rows as the process reads them, order_on_device
// (null: as they lie) as the operations do; batch_weights has what each mini-batch weighs. epoch.ledger has room for
// all losses. What the operations of a step read and where they write is the same for all steps, so the backend may
// record one and replay it; the numbers that differ lie in slots. The account is taken from the ledger when all is
// done.
template <class Real>
void run_enqueued_epoch(Backend<Real>& on, const Model& model, Crew<Real>& crew, Real* params, const Job<Real>& data,
                        const Index* order_on_device, std::span<const double> batch_weights, Epoch<Real>& epoch);

}  // namespace fastbp

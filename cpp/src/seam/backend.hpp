// A backend: operations, the memory that they work in, and the queue that orders them.
#pragma once

#include "seam/memory.hpp"
#include "seam/operations.hpp"
#include "seam/queue.hpp"

namespace fastbp {

// The options of a net for its backend.
struct BackendOptions {
    Precision precision = Precision::full;
    bool deterministic = false;  // identical bits in every run on this device
};

// How a backend runs operations. Plans and the place of data are chosen by these; nothing else asks for them.
struct ExecutionTraits {
    bool distant = false;            // the process cannot read its memory
    bool asynchronous = false;       // operations may still run after they return, until `synchronize`
    bool shares_operations = false;  // it runs each operation on many threads itself, so no team is needed
    // It computes with compressed rows. Otherwise load_rows spreads them into a dense tile, no input of a layer is
    // compressed, and the four operations on compressed rows are never called.
    bool keeps_rows_compressed = true;
};

template <class Real>
class Backend : public Operations<Real>, public Memory, public Queue {
  public:
    virtual ExecutionTraits traits() const noexcept { return {}; }
    virtual const char* name() const noexcept = 0;
};

}  // namespace fastbp

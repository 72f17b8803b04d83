// What the core calls back while the GIL is released: the poll that looks for Ctrl-C, and a loss given as a function. A
// Python exception is kept here, the core is told to stop, and the exception goes on once the call is back.
#pragma once

#include <pybind11/numpy.h>

#include <cstring>
#include <exception>

#include "device_array.hpp"
#include "gil.hpp"

namespace fastbp::python {

namespace py = pybind11;

class Callbacks {
  public:
    // `loss`: None, or a callable (rows, x) -> (e, dx), rows a slice or an array of row numbers; it checks shapes
    // itself.
    // `hook`: None, or a callable (k, g) for layer k + 1 and its part of the flat gradient, which it may write.
    // `progress`: None, or a callable (mini-batches done in this epoch), now and then.
    Callbacks(py::object loss, const Place& place, py::dtype dtype, std::int64_t outputs, py::object hook = py::none(),
              py::object progress = py::none())
        : loss_(std::move(loss)),
          place_(place),
          dtype_(std::move(dtype)),
          outputs_(outputs),
          hook_(std::move(hook)),
          progress_(std::move(progress)) {}

    // `grad` is an array of all parameters' number. It holds the gradients for the hook, whose arrays keep it alive.
    void attach(fastbp_epoch& epoch, const py::object& grad = py::none()) {
        epoch_ = &epoch;
        if (hook_.is_none()) return;
        grad_ = grad;
        epoch.grad = memory_of(grad);
        epoch.grad_hook = [](void* self, int32_t layer, void* numbers, int64_t count) {
            return static_cast<Callbacks*>(self)->hook(layer, numbers, count);
        };
        epoch.hook_context = this;
    }

    void attach(fastbp_data& data) {
        data.poll = [](void* self) { return static_cast<Callbacks*>(self)->poll(); };
        data.poll_context = this;
        if (loss_.is_none()) return;
        data.loss_function = [](void* self, const int64_t* order, int64_t first, int64_t count, const void* x,
                                double* e, void* dx) {
            return static_cast<Callbacks*>(self)->loss(order, first, count, x, e, dx);
        };
        data.loss_context = this;
    }

    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

  private:
    int poll() {
        return guarded([this] {
            if (outlive_interpreter([] { return PyErr_CheckSignals(); }) != 0) throw py::error_already_set();
            if (!progress_.is_none()) call_python(progress_, epoch_->steps_done);
        });
    }

    int loss(const int64_t* order, int64_t first, int64_t count, const void* x, double* e, void* dx) {
        return guarded([&] {
            py::object rows = py::slice(first, first + count, 1);
            if (order != nullptr) rows = py::array_t<std::int64_t>(count, order + first);
            const py::array x_copy(dtype_, {count, outputs_}, x);
            const py::tuple result = call_python(loss_, rows, x_copy);
            std::memcpy(e, py::array(result[0]).data(), std::size_t(count) * sizeof(double));
            std::memcpy(dx, py::array(result[1]).data(), std::size_t(count * outputs_ * dtype_.itemsize()));
        });
    }

    int hook(std::int32_t layer, void* grad, std::int64_t count) {
        return guarded([&] {
            // A part of grad_: the next step writes it, but memory that the hook keeps stays valid.
            if (place_.distant())
                call_python(hook_, layer, DeviceArray(place_, dtype_, {count}, grad, grad_));
            else
                call_python(hook_, layer, py::array(dtype_, {count}, grad, grad_));
        });
    }

    template <class Body>
    int guarded(Body body) {
        const HeldGil gil;
        try {
            body();
            return 0;
        } catch (abi::__forced_unwind&) {
            stop_thread();
        } catch (...) {
            error_ = std::current_exception();
            return 1;
        }
    }

    py::object loss_;
    const Place place_;
    py::dtype dtype_;
    std::int64_t outputs_;
    py::object hook_, progress_, grad_;
    const fastbp_epoch* epoch_ = nullptr;
    std::exception_ptr error_;
};

}  // namespace fastbp::python

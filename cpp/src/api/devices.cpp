// The extern "C" functions for memory that is not the process's, and for an optimiser's step on any memory.
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>

#include "api/checks.hpp"
#include "api/guard.hpp"
#include "api/memory_use.hpp"
#include "api/net.hpp"
#include "backend/make_backend.hpp"
#include "execution/team_scratch.hpp"
#include "system/made_once.hpp"

namespace fastbp {

void*& current_stream() {
    thread_local void* stream = nullptr;
    return stream;
}

namespace {

// The backend of a device for what belongs to no net. They are never destroyed: memory may outlive everything.
template <class Real>
Backend<Real>& backend_of(const char* device) {
    const ForkLock lock;
    static auto& made = *new std::map<std::string, std::unique_ptr<Backend<Real>>>;
    check_pointer(device, "device");
    auto& backend = made[std::string(device) == "cuda" ? "cuda:0" : device];
    if (backend == nullptr) backend = make_backend<Real>(device);
    return *backend;
}

// body(backend), as one call of the device; what went wrong there is thrown.
template <class Real, class Body>
void on_device(const char* device, Body body) {
    Backend<Real>& on = backend_of<Real>(device);
    const Call<Real> call(on);
    body(on);
    call.finish();
}

// Throws if a number of the gradient is not finite or too large. `place` is in the backend's memory.
template <class Real>
void check_usable(Backend<Real>& on, Vector<const Real> gradient, double largest, Index* place) {
    on.find_larger(gradient, largest, place);
    Index found = -1;
    on.download(place, &found, sizeof found);
    if (found < 0) return;
    Real number = 0;
    on.download(gradient.data + found, &number, sizeof number);
    const std::string what = "grad[" + std::to_string(found) + "] is " + text_of(double(number));
    if (std::isfinite(number))
        throw Error(ErrorKind::floating_point, what + ", which is too large for a step of this optimizer in " +
                                                   name_of<Real> + "; scale the gradient down");
    throw Error(ErrorKind::floating_point, what + ", expected finite numbers; nothing was changed");
}

void check_update_apart(const StepRule& rule, Index bytes, void* params, const void* grad, void* const* moments) {
    const Model none;
    MemoryUse use(none, 1);
    use.writes("params", params, bytes);
    for (int k = 0; k < moment_count(rule); ++k) use.writes("moments", moments[k], bytes, k);
    use.reads("grad", grad, bytes);
    use.check();
}

template <class Real>
void update(const char* device, const StepRule& rule, Index count, void* params, const void* grad, void* const* moments,
            const StepScalars& now) {
    if (count < 0) throw Error(ErrorKind::value, "count is " + std::to_string(count) + ", expected at least 0");
    if (now.step < 1) throw Error(ErrorKind::value, "step is " + std::to_string(now.step) + ", expected at least 1");
    check_moments(rule, moments);
    check_rates(rule, &now.lr, 1);
    check_update_apart(rule, count * Index(sizeof(Real)), params, grad, moments);
    on_device<Real>(device, [&](Backend<Real>& on) {
        Vector<Real> state[most_moments];
        const int needed = moment_count(rule);
        for (int k = 0; k < needed; ++k) state[k] = {static_cast<Real*>(moments[k]), count};
        const Vector<const Real> gradient{static_cast<const Real*>(grad), count};
        const auto update_with = [&](const StepScalars* scalars, Index* place) {
            check_usable(on, gradient, largest_usable<Real>(rule, now.lr), place);
            on.update(rule, scalars, {&gradient, 1}, {static_cast<Real*>(params), count}, {state, std::size_t(needed)});
        };
        Index here = -1;
        if (!on.traits().distant) return update_with(&now, &here);
        const Block<Real> scalars(on, sizeof now), place(on, sizeof here);
        on.upload(&now, scalars.memory(), sizeof now);
        update_with(static_cast<const StepScalars*>(scalars.memory()), static_cast<Index*>(place.memory()));
        on.synchronize();
    });
}

void check_distance(const void* from, const void* to, std::size_t bytes) {
    const auto a = reinterpret_cast<std::uintptr_t>(from), b = reinterpret_cast<std::uintptr_t>(to);
    const std::uintptr_t distance = a < b ? b - a : a - b;
    if (distance < bytes)
        throw Error(ErrorKind::value, "from and to overlap: they are " + std::to_string(distance) +
                                          " bytes apart, expected at least the " + std::to_string(bytes) +
                                          " to be copied");
}

template <class Real>
void load(const char* device, const fastbp_array& from, void* to) {
    on_device<Real>(device, [&](Backend<Real>& on) {
        check_source(from, "from", is_distant(device));
        const Model none;
        MemoryUse use(none, Index(sizeof(Real)));
        use.writes_rows("to", to, from.rows, from.cols);
        use.reads("from", from);
        use.check();
        on.load_rows(row_source(from), {nullptr, 0, from.rows},
                     {static_cast<Real*>(to), from.rows, from.cols, from.cols, 1});
    });
}

}  // namespace
}  // namespace fastbp

using fastbp::check_pointer;
using fastbp::Error;
using fastbp::ErrorKind;
using fastbp::guarded;

extern "C" {

fastbp_status fastbp_check_device(const char* device) {
    return guarded([&] {
        check_pointer(device, "device");
        fastbp::check_device(device);
    });
}

fastbp_status fastbp_allocate(const char* device, size_t bytes, void** memory) {
    return guarded([&] {
        check_pointer(memory, "memory");
        // More than that is rounded up to nothing on the way to the system.
        if (bytes > PTRDIFF_MAX) throw fastbp::OutOfMemory(bytes, device == nullptr ? "a device" : device);
        fastbp::on_device<float>(
            device, [&](fastbp::Backend<float>& on) { *memory = fastbp::taken(on, bytes > 0 ? bytes : 1, device); });
    });
}

void fastbp_release(const char* device, void* memory) {
    guarded([&] { fastbp::backend_of<float>(device).release(memory); });  // also where no call can begin
}

fastbp_status fastbp_upload(const char* device, const void* from, void* to, size_t bytes) {
    return guarded([&] {
        if (bytes == 0) return;
        check_pointer(from, "from");
        check_pointer(to, "to");
        fastbp::on_device<float>(device, [&](fastbp::Backend<float>& on) {
            on.upload(from, to, bytes);
            on.synchronize();
        });
    });
}

fastbp_status fastbp_download(const char* device, const void* from, void* to, size_t bytes) {
    return guarded([&] {
        if (bytes == 0) return;
        check_pointer(from, "from");
        check_pointer(to, "to");
        fastbp::on_device<float>(device, [&](fastbp::Backend<float>& on) { on.download(from, to, bytes); });
    });
}

fastbp_status fastbp_copy(const char* device, const void* from, void* to, size_t bytes) {
    return guarded([&] {
        if (bytes == 0) return;
        check_pointer(from, "from");
        check_pointer(to, "to");
        fastbp::check_distance(from, to, bytes);
        fastbp::on_device<float>(device, [&](fastbp::Backend<float>& on) { on.copy_bytes(from, to, bytes); });
    });
}

fastbp_status fastbp_load(const char* device, const fastbp_array* from, int32_t type, void* to) {
    return guarded([&] {
        check_pointer(from, "from");
        check_pointer(to, "to");
        if (type == FASTBP_FLOAT32)
            fastbp::load<float>(device, *from, to);
        else if (type == FASTBP_FLOAT64)
            fastbp::load<double>(device, *from, to);
        else
            throw Error(ErrorKind::value, "type is not float32 or float64");
    });
}

fastbp_status fastbp_synchronize(const char* device) {
    return guarded([&] { fastbp::on_device<float>(device, [](fastbp::Backend<float>& on) { on.synchronize(); }); });
}

void fastbp_set_stream(void* stream) { fastbp::current_stream() = stream; }

void* fastbp_get_stream(void) { return fastbp::current_stream(); }

fastbp_status fastbp_update(const fastbp_step_rule* rule, const char* device, int32_t type, int64_t count, void* params,
                            const void* grad, void* const* moments, double lr, int64_t step) {
    return guarded([&] {
        check_pointer(params, "params");
        check_pointer(grad, "grad");
        const fastbp::StepScalars now{lr, step};
        const char* where = device == nullptr ? "cpu" : device;
        if (type == FASTBP_FLOAT32)
            fastbp::update<float>(where, fastbp::step_rule(rule), count, params, grad, moments, now);
        else if (type == FASTBP_FLOAT64)
            fastbp::update<double>(where, fastbp::step_rule(rule), count, params, grad, moments, now);
        else
            throw Error(ErrorKind::value, "type is not float32 or float64");
    });
}

}  // extern "C"

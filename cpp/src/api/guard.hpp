// What every function of the C interface does with exceptions: a status, and a text for fastbp_last_error.
#pragma once

#include <new>
#include <string>

#include "fastbp/fastbp.h"
#include "seam/error.hpp"
#include "system/cancellation.hpp"
#include "system/floating_point_mode.hpp"

namespace fastbp {

// The text of a thread's last error. It can be replaced without memory: `fixed` is then shown.
struct LastError {
    std::string text;
    const char* fixed = nullptr;

    const char* shown() const { return fixed != nullptr ? fixed : text.c_str(); }
    void clear() noexcept {
        text.clear();
        fixed = nullptr;
    }
    void set(const char* what) noexcept {
        try {
            text = what;
            fixed = nullptr;
        } catch (...) {
            fixed = "out of memory, also for the text of an error";
        }
    }
};

inline LastError& last_error() {
    thread_local LastError error;
    return error;
}

inline fastbp_status status_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::value: return FASTBP_VALUE_ERROR;
        case ErrorKind::type: return FASTBP_TYPE_ERROR;
        case ErrorKind::floating_point: return FASTBP_FLOATING_POINT_ERROR;
        case ErrorKind::runtime: return FASTBP_RUNTIME_ERROR;
        case ErrorKind::interrupted: return FASTBP_INTERRUPTED;
    }
    return FASTBP_RUNTIME_ERROR;
}

// For a handler: the status of the exception that it handles, whose text it keeps.
inline fastbp_status status_of_exception() noexcept {
    try {
        throw;
    } catch (const Error& error) {
        last_error().set(error.what());
        return status_of(error.kind());
    } catch (const OutOfMemory& error) {
        last_error().set(error.what());
        return FASTBP_MEMORY_ERROR;
    } catch (const std::bad_alloc&) {
        last_error().set("out of memory");
        return FASTBP_MEMORY_ERROR;
    } catch (const std::exception& error) {
        last_error().set(error.what());
        return FASTBP_RUNTIME_ERROR;
    } catch (...) {
        last_error().set("an exception that is no std::exception");
        return FASTBP_RUNTIME_ERROR;
    }
}

template <class Body>
fastbp_status guarded(Body body) noexcept {
    const CancellationDelay delay;
    const DefaultFloatingPointMode mode;
    try {
        last_error().clear();
        body();
        return FASTBP_OK;
    } catch (...) {
        return status_of_exception();
    }
}

inline void check_pointer(const void* given, const char* name) {
    if (given == nullptr) throw Error(ErrorKind::value, std::string(name) + " is NULL");
}

}  // namespace fastbp

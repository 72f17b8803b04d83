// What every function of the C interface does with exceptions: a status, and a text for fastbp_last_error.
#pragma once

#include <new>
#include <string>

#include "fastbp/fastbp.h"
#include "seam/error.hpp"
#include "system/floating_point_mode.hpp"

namespace fastbp {

inline std::string& last_error() {
    thread_local std::string text;
    return text;
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

template <class Body>
fastbp_status guarded(Body body) noexcept {
    const DefaultFloatingPointMode mode;
    try {
        last_error().clear();
        body();
        return FASTBP_OK;
    } catch (const Error& error) {
        last_error() = error.what();
        return status_of(error.kind());
    } catch (const OutOfMemory& error) {
        last_error() = error.what();
        return FASTBP_MEMORY_ERROR;
    } catch (const std::bad_alloc&) {
        last_error() = "out of memory";
        return FASTBP_MEMORY_ERROR;
    } catch (const std::exception& error) {
        last_error() = error.what();
        return FASTBP_RUNTIME_ERROR;
    }
}

inline void check_pointer(const void* given, const char* name) {
    if (given == nullptr) throw Error(ErrorKind::value, std::string(name) + " is NULL");
}

}  // namespace fastbp

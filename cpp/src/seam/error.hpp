// The one exception type of the core. It is thrown before work starts or between tiles, never inside an operation,
// and never leaves the C API, where it becomes a status code and a last-error text.
#pragma once

#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

namespace fastbp {

enum class ErrorKind { value, type, floating_point, runtime, interrupted };

class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

  private:
    ErrorKind kind_;
};

// A failed allocation of device memory.
class OutOfMemory : public std::bad_alloc {
  public:
    OutOfMemory(std::size_t bytes, const char* device) {
        std::snprintf(text_, sizeof text_, "out of memory: %zu bytes on %s", bytes, device);
    }
    const char* what() const noexcept override { return text_; }

  private:
    char text_[64];
};

}  // namespace fastbp

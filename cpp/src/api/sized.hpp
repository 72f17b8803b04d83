// The caller's structs, which begin with their size and may be those of an older or a newer header.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace fastbp {

// Throws Error if the struct is NULL, or if its size is none that this library can read. A larger struct is one of a
// newer header: the bytes that this library does not know must be 0, the default of every field.
void check_size(const void* given, std::size_t known, const char* name);

// A struct as this library knows it. A struct of the known size, or of a larger one, is used where it is. A smaller one
// is copied, and its missing fields are 0. What the library writes to the copy is copied back at the end, as far as the
// caller's struct reaches.
template <class Given>
class Sized {
    using Struct = std::remove_const_t<Given>;
    static_assert(std::is_trivially_copyable_v<Struct> && offsetof(Struct, size) == 0);

  public:
    Sized(Given* given, const char* name) : given_(given) {
        if (given != nullptr && given->size == sizeof(Struct)) return;
        check_size(given, sizeof(Struct), name);
        if (given->size > sizeof(Struct)) return;
        bytes_ = given->size;
        std::memset(&own_, 0, sizeof own_);
        std::memcpy(&own_, given, bytes_);
        own_.size = sizeof own_;
    }
    ~Sized() { copy_back(); }
    Sized(const Sized&) = delete;
    Sized& operator=(const Sized&) = delete;

    Given& operator*() { return is_copy() ? own_ : *given_; }
    Given* operator->() { return &**this; }
    bool is_copy() const { return bytes_ > 0; }
    void copy_back() {
        if constexpr (!std::is_const_v<Given>) {
            constexpr std::size_t first = sizeof own_.size;
            if (is_copy())
                std::memcpy(reinterpret_cast<std::byte*>(given_) + first,
                            reinterpret_cast<const std::byte*>(&own_) + first, bytes_ - first);
        }
    }

  private:
    Given* given_;
    std::size_t bytes_ = 0;  // of the caller's struct, where it is smaller
    Struct own_;
};

}  // namespace fastbp

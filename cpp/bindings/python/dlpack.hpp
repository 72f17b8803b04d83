// DLPack's structs, as its specification 1.0 has them, and 1.2 the table: how libraries of arrays hand memory to each
// other.
#pragma once

#include <cstdint>

namespace fastbp::python::dlpack {

enum DeviceType : std::int32_t { cpu = 1, cuda = 2 };
enum TypeCode : std::uint8_t { signed_integer = 0, unsigned_integer = 1, floating_point = 2, boolean = 6 };

struct Device {
    std::int32_t type, number;
};
struct Type {
    std::uint8_t code, bits;
    std::uint16_t lanes;
    bool operator==(const Type& other) const {
        return code == other.code && bits == other.bits && lanes == other.lanes;
    }
};
struct Tensor {
    void* data;
    Device device;
    std::int32_t dimensions;
    Type type;
    std::int64_t* shape;
    std::int64_t* strides;  // in numbers; null: row-major without gaps
    std::uint64_t byte_offset;
};

// Behind a capsule named "dltensor".
struct Managed {
    static constexpr const char* capsule = "dltensor";
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

// Behind a capsule named "dltensor_versioned".
struct VersionedManaged {
    static constexpr const char* capsule = "dltensor_versioned";
    static constexpr std::uint64_t read_only = 1;
    std::uint32_t major = 1, minor = 0;
    void* context;
    void (*deleter)(VersionedManaged*);
    std::uint64_t flags = 0;
    Tensor tensor;
};

// Behind a capsule named "dlpack_exchange_api" that is an attribute of a type: functions for its objects. Those that
// are not used here have no types of their own.
struct Exchange {
    static constexpr const char* capsule = "dlpack_exchange_api";
    using Function = int (*)();
    std::uint32_t major, minor;
    const Exchange* older;
    Function allocate, export_managed, import_managed;
    int (*look)(void* object, Tensor* view);  // valid while the object lives; not 0: a Python error; may be null
    Function stream;
};

}  // namespace fastbp::python::dlpack

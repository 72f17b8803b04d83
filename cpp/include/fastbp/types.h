/* Status codes, number types and arrays of the C interface. Include fastbp/fastbp.h. */
#ifndef FASTBP_TYPES_H
#define FASTBP_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fastbp_status {
    FASTBP_OK = 0,
    FASTBP_VALUE_ERROR = 1,          /* a shape or a value does not fit */
    FASTBP_TYPE_ERROR = 2,           /* not numbers of a kind that can be used */
    FASTBP_FLOATING_POINT_ERROR = 3, /* a loss or a gradient is not finite, and no step was made */
    FASTBP_RUNTIME_ERROR = 4,        /* a device or library is missing or broken */
    FASTBP_MEMORY_ERROR = 5,
    FASTBP_INTERRUPTED = 6 /* a callback asked to stop, failed or threw an exception */
} fastbp_status;

typedef enum fastbp_type {
    FASTBP_FLOAT32 = 0, /* a net's type is one of these two; */
    FASTBP_FLOAT64 = 1,
    FASTBP_FLOAT16 = 2, /* the caller's data may be of any */
    FASTBP_LONG_DOUBLE = 3,
    FASTBP_BOOL = 4,
    FASTBP_INT8 = 5,
    FASTBP_INT16 = 6,
    FASTBP_INT32 = 7,
    FASTBP_INT64 = 8,
    FASTBP_UINT8 = 9,
    FASTBP_UINT16 = 10,
    FASTBP_UINT32 = 11,
    FASTBP_UINT64 = 12
} fastbp_type;

/* The caller's numbers as they lie in memory: any type, strides in bytes and of any sign, unaligned or in the other
 * byte order. dimensions is 2, or 1 for a vector of `rows` numbers (then cols is 1). data NULL: not given.
 *
 * X may be in compressed rows (CSR) instead, with starts not NULL: numbers starts[i] to starts[i + 1] of data, one
 * after the other, are those of row i that are not 0, and columns says where they stand, each at most once in a row.
 * All the rest is 0. col_stride is that of data.
 *
 * Later versions add no fields to this struct: others contain it. */
typedef struct fastbp_array {
    void* data;
    int32_t type; /* fastbp_type */
    int32_t byte_swapped;
    int32_t dimensions;
    int32_t index_type; /* of columns and starts: FASTBP_INT32 or FASTBP_INT64 */
    int64_t rows, cols;
    int64_t row_stride, col_stride;
    const void* columns;
    const void* starts; /* rows + 1 */
    int32_t on_device;  /* not 0: all of it lies in the memory of the net's device; strides are not negative then */
    int32_t reserved;
} fastbp_array;

#ifdef __cplusplus
}
#endif

#endif /* FASTBP_TYPES_H */

// CUDA's small vectors.
#pragma once

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define FASTBP_EMULATED_VECTORS(type, name, alignment)                  \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };            \
    struct alignas(alignment) name##4 { type x, y, z, w; };             \
    constexpr name##2 make_##name##2(type x, type y) { return {x, y}; } \
    constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
FASTBP_EMULATED_VECTORS(float, float, 16)
FASTBP_EMULATED_VECTORS(double, double, 16)
FASTBP_EMULATED_VECTORS(int, int, 16)
FASTBP_EMULATED_VECTORS(unsigned, uint, 16)
#undef FASTBP_EMULATED_VECTORS

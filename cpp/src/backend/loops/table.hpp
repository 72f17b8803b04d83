// The seam's arithmetic as loops: one source, compiled several times into tables of functions. The plain backend
// accepts any strides. The CPU backend requires unit column strides and is compiled for each instruction set.
//
// A unit compiled for a newer instruction set must define nothing the linker could share with other units
// (a weak inline function compiled for AVX-512 would crash an older machine), so everything in this folder is
// in unnamed namespaces and only the table leaves it. tests/test_codebase.py looks at the objects.
#pragma once

#include "seam/network.hpp"

namespace fastbp {

template <class Real>
using Partials = std::span<const Vector<const Real>>;

template <class Real>
struct LoopTable {
    using In = Matrix<const Real>;
    using Out = Matrix<Real>;
    using G = ActivationFunction<Real>;
    using Loss = LossFunction<Real>;

    void (*gemm)(Real alpha, In a, In b, Real beta, Out c);
    // The next four are null in the plain table. True if gemm is faster than BLAS for this product, and true if the
    // product can also be finished in registers. Two products that are: s = x w + partial_sum + b, with or without
    // relu, and below = (delta w) * relu', computed from relu's output x.
    bool (*faster_than_blas)(In a, In b, Out c);
    bool (*finishes_in_registers)(In a, In b, Out c);
    void (*gemm_with_relu)(In x, In w, In partial_sum, Vector<const Real> b, bool relu, Out s);
    void (*gemm_with_relu_prime)(In delta, In w, In x, Out below);
    void (*sparse_gemm)(Real alpha, const Csr<Real>& a, In b, Real beta, Out c);
    void (*sparse_gemm_transposed)(Real alpha, const Csr<Real>& a, In b, Real beta, Out c);
    void (*activate)(G g, Vector<const Real> b, Out s, Out x);
    void (*multiply_by_derivative)(G g, In s, In x, Out delta);
    void (*output_delta)(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta, LossSlots slots);
    void (*drop)(const Dropout& dropout, In from, Out to);
    void (*activate_tangent)(G g, In s, In x, In s_dot, Out x_dot);
    void (*derivative_tangent)(G g, In s, In x, In s_dot, In u, Out delta_dot);
    void (*output_delta_tangent)(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                                 Curvature which);
    void (*column_sums)(Real alpha, In delta, Real beta, Vector<Real> b);
    void (*gradient_squares)(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares);
    void (*example_norms)(Vector<const double> squares, Vector<const double> c, double scale, double limit,
                          Vector<double> norm, Vector<double> factor);
    void (*scale_rows)(Vector<const double> factor, Out m);
    void (*copy)(In from, Out to);
    void (*add)(In from, Out to);
    void (*reduce)(Partials<Real> partials, Real beta, Vector<Real> out);
    void (*add_penalty)(double l2, double l1, Vector<const Real> w, Vector<Real> grad);
    void (*sum_of_squares)(Vector<const Real> w, double unit, double* out);
    void (*sum_of_magnitudes)(Vector<const Real> w, double* out);
    void (*largest_magnitude)(In m, double* out);
    void (*largest_magnitudes)(const Pass<Real>& pass, Magnitudes* out);
    void (*find_larger)(Vector<const Real> v, double limit, Index* place);
    void (*update)(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                   std::span<const Vector<Real>> moments);
};

}  // namespace fastbp

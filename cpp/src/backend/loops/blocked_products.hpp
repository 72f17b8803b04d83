// Matrix products for sizes at which BLAS loses time with copies. Panels of b are copied to the stack if their strides
// are bad or many rows use them. a and c are used in place. Products of few columns, or of few rows with a transposed
// w, are computed as c^T on the stack.
#pragma once

#include <cstdint>

#include "backend/loops/narrow_products.hpp"
#include "backend/loops/products.hpp"
#include "backend/loops/table.hpp"
#include "backend/loops/tiles.hpp"

namespace fastbp::loops {
namespace {

constexpr Index deepest_panel = 136;  // rows of b: with the panel's width, at least half of an L1 cache
constexpr Index block_rows = 192;     // rows of c that use a panel before the next panel is copied
// A panel with good strides is not copied for up to this many rows of c. Tiles of fewer registers read it more often.
template <class Real>
constexpr Index rows_in_place = Vectors<Real>::registers == 32 ? 32 : 16;
// A product prefetches its operands if they may be in a slower cache, or in that of another processor, and if the sums
// are long enough to hide the latency.
constexpr Index long_sum = 112;
constexpr Index first_cache = 48 << 10;    // bytes
constexpr Index most_in_place = 16 << 10;  // bytes: half of the smallest cache of the first level

// True if the registers are wide enough for tiles to be faster than BLAS.
template <class Real>
constexpr bool has_tiles = Vectors<Real>::lanes * sizeof(Real) > 16;

template <class Real>
constexpr Index panel_width = most_vectors * Vectors<Real>::lanes;

inline Index lesser(Index a, Index b) { return a < b ? a : b; }

// The size of each part of n, at most `most`. All parts have about the same size, a multiple of 8.
inline Index even_part(Index n, Index most) {
    const Index parts = n > most ? (n + most - 1) / most : 1;
    return (n + parts * 8 - 1) / (parts * 8) * 8;
}

// The width of the panels, in vectors, for this number of rows of c. With few rows panels are narrower, so that one
// tile, or a few full tiles, hold all rows; unless there is only one panel.
template <class Real>
inline Index panel_vectors(Index rows, Index cols) {
    if (rows > rows_in_place<Real> || rows <= most_rows<Real, 4>) return 4;
    if (rows <= most_rows<Real, 3>) return 3;
    if (rows <= most_rows<Real, 2>) return 2;
    return cols <= panel_width<Real> ? 4 : 3;
}

template <class Real, int vectors>
inline void copy_rows(Matrix<const Real> b, Real* panel) {
    using S = Vectors<Real>;
    constexpr Index last = (vectors - 1) * S::lanes;
    const auto mask = S::first(int(b.cols - last));
    for (Index k = 0; k < b.rows; ++k, panel += last + S::lanes) {
        const Real* row = row_of(b, k);
#pragma GCC unroll 4
        for (Index j = 0; j < last; j += S::lanes) S::store(panel + j, S::load(row + j));
        S::store(panel + last, S::load(row + last, mask));
    }
}

// panel(k, j) = b(k, j), with row stride `width`, padded with zeros to whole vectors. b has unit column stride. The
// number of vectors is a constant, because gcc replaces a loop over any number of vectors by memcpy, which takes four
// times as long.
template <class Real>
inline void copy_panel_as_it_lies(Matrix<const Real> b, Index width, Real* panel) {
    with_vectors(width / Vectors<Real>::lanes, [&](auto count) { copy_rows<Real, count>(b, panel); });
}

// The same for a b of unit row stride. It transposes squares in registers, and partial squares at the edges.
template <class Real>
inline void copy_panel_transposed(Matrix<const Real> b, Index width, Real* panel) {
    using S = Vectors<Real>;
    constexpr Index n = S::lanes;
    for (Index k = 0; k < b.rows; k += n) {
        const Index depth = lesser(b.rows - k, n);
        const auto mask = S::first(int(depth));
        for (Index j = 0; j < width; j += n) {
            const bool whole = depth == n && j + n <= b.cols;
            const Real* from = b.data + k + j * b.col_stride;
            Real* to = panel + k * width + j;
            typename S::V square[n];
            if (whole) {
#pragma GCC unroll 16
                for (Index i = 0; i < n; ++i) square[i] = S::load(from + i * b.col_stride);
            } else {
#pragma GCC unroll 16
                for (Index i = 0; i < n; ++i)
                    square[i] = j + i < b.cols ? S::load(from + i * b.col_stride, mask) : S::all(0);
            }
            transpose<Real>(square);
#pragma GCC unroll 16
            for (Index i = 0; i < n; ++i)
                if (whole || i < depth) S::store(to + i * width, square[i]);
        }
    }
}

template <class Real>
inline void copy_panel(Matrix<const Real> b, Index width, Real* panel) {
    return b.col_stride == 1 ? copy_panel_as_it_lies(b, width, panel) : copy_panel_transposed(b, width, panel);
}

// True if a panel can be used in place: it consists of whole vectors, and there are few rows of c, or its rows are
// contiguous, or they are aligned and the panel with its gaps fits into half a cache.
template <class Real>
inline bool can_stay(Matrix<const Real> part, Index width, Index rows) {
    using S = Vectors<Real>;
    if (part.col_stride != 1 || part.cols != width) return false;
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(part.data) % sizeof(typename S::V) == 0 && part.row_stride % S::lanes == 0;
    const Index span = part.rows * part.row_stride * Index(sizeof(Real));
    return rows <= rows_in_place<Real> || part.row_stride == width || (aligned && span <= most_in_place);
}

// c = finish(a b + partial_sum). c has unit column stride, partial_sum may be empty, and `how` holds the operands of
// the finish for c's first number. Sums over several panels are stored in c in between. A product is blended with them,
// and an equation is finished with the last panel.
template <class Real>
void multiply_blocks(Matrix<const Real> a, Matrix<const Real> b, Matrix<const Real> partial_sum, Matrix<Real> c,
                     const TileJob<Real>& how) {
    using S = Vectors<Real>;
    alignas(64) Real panel[deepest_panel * panel_width<Real>];
    const Index depth = even_part(a.cols, deepest_panel);
    TileJob<Real> job = how;
    job.a_row = a.row_stride, job.a_step = a.col_stride, job.c_row = c.row_stride;
    job.fetch = depth >= long_sum || c.rows * c.cols * Index(sizeof(Real)) > first_cache;
    const bool is_product = how.finish == Finish::overwrite || how.finish == Finish::blend;
    const Index height = even_part(c.rows, block_rows);
    for (Index i = 0; i < c.rows; i += height) {
        const Index rows = lesser(c.rows - i, height), most = panel_vectors<Real>(rows, c.cols);
        for (Index k = 0; k < a.cols; k += depth) {
            job.depth = lesser(a.cols - k, depth);
            job.a = &a(i, k);
            const bool first = k == 0, last = k + job.depth == a.cols;
            if (is_product)
                job.finish = first ? how.finish : Finish::blend, job.beta = first ? how.beta : 1;
            else
                job.finish = last ? how.finish : Finish::overwrite;
            const Matrix<const Real> before = first ? partial_sum : is_product ? Matrix<const Real>{} : c;
            job.partial_sum_row = before.row_stride;
            for (Index j = 0, left = (c.cols + S::lanes - 1) / S::lanes, vectors; left > 0; left -= vectors) {
                vectors = next_part(left, most);
                const Index width = vectors * S::lanes, cols = lesser(c.cols - j, width);
                const Matrix<const Real> part = b.row_block(k, k + job.depth).column_block(j, j + cols);
                const bool in_place = can_stay(part, width, rows);
                if (!in_place) copy_panel(part, width, panel);
                job.b = in_place ? part.data : panel;
                job.b_step = in_place ? b.row_stride : width;
                job.c = &c(i, j);
                job.mask = S::first(int(cols - width + S::lanes));
                job.partial_sum = before.empty() ? nullptr : &before(i, j);
                if (how.bias != nullptr) job.bias = how.bias + j;
                if (how.output != nullptr) job.output = how.output + i * how.output_row + j;
                job.first_panel = j == 0;
                multiply_panel<Real>(job, rows, vectors);
                j += cols;
            }
        }
    }
}

// Some products are faster as c^T = b^T a^T, computed on the stack and then transposed.
template <class Real>
constexpr Index most_transposed = Index(1) << 13;  // numbers of c

template <class Real>
inline Index transposed_width(Matrix<Real> c) {
    constexpr Index n = Vectors<Real>::lanes;
    return (c.rows + n - 1) / n * n;
}

// Products of one or two columns use the rows of a, or panels of a^T if the columns of a have no gaps.
template <class Real>
inline bool has_few_columns(Matrix<const Real> a, Matrix<const Real> b) {
    return is_narrow(a, b) || (b.cols <= most_narrow && a.row_stride == 1);
}

// Calls put(c^T, c) for blocks of rows of c that fit into the memory on the stack.
template <class Real, class Put>
void multiply_transposed(Matrix<const Real> a, Matrix<const Real> b, Matrix<Real> c, Put put) {
    constexpr Index n = Vectors<Real>::lanes;
    alignas(64) Real sums[most_transposed<Real>];
    TileJob<Real> how{};
    how.finish = Finish::overwrite;
    how.alpha = 1;
    const Index most = most_transposed<Real> / c.cols / n * n;
    for (Index i = 0; i < c.rows; i += most) {
        const Index end = lesser(c.rows, i + most);
        const Matrix<const Real> rows = a.row_block(i, end);
        const Matrix<Real> part = c.row_block(i, end), transposed{sums, c.cols, part.rows, transposed_width(part), 1};
        if (is_narrow(a, b))
            multiply_narrow(rows, b, transposed);
        else
            multiply_blocks<Real>(b.transposed(), rows.transposed(), {}, transposed, how);
        put(transposed, part);
    }
}

template <class Real>
void blocked_gemm(Real alpha, Matrix<const Real> a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    if (c.col_stride != 1 && c.row_stride == 1)  // the same product of the transposed views has unit columns
        return blocked_gemm<Real>(alpha, b.transposed(), a.transposed(), beta, c.transposed());
    if (c.col_stride != 1 || (b.col_stride != 1 && b.row_stride != 1) || a.cols == 0)
        return gemm<Real>(alpha, a, b, beta, c);
    if (has_few_columns(a, b))
        return multiply_transposed<Real>(a, b, c, [=](Matrix<Real> transposed, Matrix<Real> part) {
            for (Index j = 0; j < part.cols; ++j)
                for (Index r = 0; r < part.rows; ++r)
                    part(r, j) = alpha * transposed(j, r) + formulas::kept(beta, part(r, j));
        });
    TileJob<Real> how{};
    how.finish = beta == 0 ? Finish::overwrite : Finish::blend;
    how.alpha = alpha;
    how.beta = beta;
    multiply_blocks<Real>(a, b, {}, c, how);
}

// s = transposed^T + b, or relu of that, by squares transposed in registers. The rows of `transposed` are padded to
// whole vectors.
template <class Real>
void finish_transposed(Matrix<Real> transposed, Vector<const Real> b, bool relu, Matrix<Real> s) {
    using S = Vectors<Real>;
    constexpr Index n = S::lanes;
    for (Index j = 0; j < s.cols; j += n) {
        const Index cols = lesser(s.cols - j, n);
        const auto mask = S::first(int(cols));
        const auto bias = S::load(b.data + j, mask);
        for (Index i = 0; i < s.rows; i += n) {
            typename S::V square[n];
#pragma GCC unroll 16
            for (Index k = 0; k < n; ++k) square[k] = k < cols ? S::load(&transposed(j + k, i)) : S::all(0);
            transpose<Real>(square);
            for (Index k = 0; k < n && i + k < s.rows; ++k) {
                const auto affine = S::add(square[k], bias);
                S::store(&s(i + k, j), relu ? S::not_below(S::all(0), affine) : affine, mask);
            }
        }
    }
}

// True for few columns, and for few rows with a w that must be transposed, if x and s are fewer numbers.
template <class Real>
inline bool better_transposed(Matrix<const Real> x, Matrix<const Real> w, Matrix<const Real> partial_sum,
                              Matrix<Real> s) {
    if (!partial_sum.empty()) return false;
    return has_few_columns(x, w) ||
           (w.col_stride != 1 && x.col_stride == 1 && transposed_width(s) * s.cols <= most_transposed<Real> &&
            s.rows * (x.cols + s.cols) < x.cols * s.cols);
}

// The two equations that end in relu or its derivative. The order of a sum's terms depends only on the columns and
// strides of x and w.
template <class Real>
void gemm_with_relu(Matrix<const Real> x, Matrix<const Real> w, Matrix<const Real> partial_sum, Vector<const Real> b,
                    bool relu, Matrix<Real> s) {
    if (better_transposed(x, w, partial_sum, s))
        return multiply_transposed<Real>(x, w, s, [=](Matrix<Real> transposed, Matrix<Real> part) {
            finish_transposed<Real>(transposed, b, relu, part);
        });
    TileJob<Real> how{};
    how.alpha = 1;
    how.finish = relu ? Finish::affine_relu : Finish::affine;
    how.bias = b.data;
    multiply_blocks<Real>(x, w, partial_sum, s, how);
}

template <class Real>
void gemm_with_relu_prime(Matrix<const Real> delta, Matrix<const Real> w, Matrix<const Real> x, Matrix<Real> below) {
    TileJob<Real> how{};
    how.finish = Finish::relu_prime;
    how.alpha = 1;
    how.output = x.data;
    how.output_row = x.row_stride;
    multiply_blocks<Real>(delta, w, {}, below, how);
}

// Measured against OpenBLAS 0.3.34 on one core of a Sapphire Rapids, and with AVX2 of a Zen 3: the loops win by 10 to
// 90 % if all three matrices fit a second-level cache, most of all if b must be transposed, and for products of one or
// two columns by 20 to 130 % (AVX2; not measured with AVX-512). They lose if few columns leave lanes empty, if few rows
// do not pay for transposing wide panels, and with the plain vectors.
template <class Real>
bool faster_than_blas(Matrix<const Real> a, Matrix<const Real> b, Matrix<Real> c) {
    if (c.col_stride != 1 && c.row_stride == 1)
        return faster_than_blas<Real>(b.transposed(), a.transposed(), c.transposed());
    constexpr Index lanes = Vectors<Real>::lanes, most = 1 << 18;
    if (!has_tiles<Real> || b.rows * b.cols > most || c.rows * c.cols > most || a.rows * a.cols > most) return false;
    if (lanes * sizeof(Real) == 32) {  // if a product is large in all three dimensions, the copies of BLAS pay off
        const Index fewest = lesser(lesser(c.rows, c.cols), a.cols);
        return fewest <= 64 || c.rows * c.cols * a.cols <= 1 << 23;
    }
    const bool a_transposed = a.row_stride == 1 && a.rows > 1, b_transposed = b.row_stride == 1 && b.rows > 1;
    if (b_transposed && c.rows < 8) return false;
    return c.cols >= (a_transposed ? lanes : lanes / 4 + 1);
}

template <class Real>
bool finishes_in_registers(Matrix<const Real> a, Matrix<const Real> b, Matrix<Real> c) {
    return a.cols > 0 && c.cols > 0 && c.col_stride == 1 && faster_than_blas(a, b, c);
}

}  // namespace
}  // namespace fastbp::loops

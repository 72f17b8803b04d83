// Rows of an array in the process's memory, of any dtype, strides and byte order, into a tile there.
#pragma once

#include "seam/views.hpp"

namespace fastbp {

// tile(i, j) = source row rows[i], column j. The destination types are those of the seam: float, double, int32.
template <class To>
void load_rows(const RowSource& source, RowRange rows, Matrix<To> tile);

// The same for compressed rows.
template <class Real>
void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile);

extern template void load_rows(const RowSource&, RowRange, Matrix<float>);
extern template void load_rows(const RowSource&, RowRange, Matrix<double>);
extern template void load_rows(const RowSource&, RowRange, Matrix<std::int32_t>);
extern template void load_csr(const RowSource&, RowRange, CsrTile<float>);
extern template void load_csr(const RowSource&, RowRange, CsrTile<double>);

}  // namespace fastbp

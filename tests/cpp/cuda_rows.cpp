// Rows into tiles of the CUDA backend: from the device and from the process, of any type, compressed, in several
// pieces.
#include "two_devices.hpp"

namespace fastbp::test {
namespace {

// Rows of numbers of any type that lie on the device, at `order` and moved on, into tiles of each kind.
template <class Stored, class Real>
void check_rows(Devices<Real>& devices, NumberType type) {
    constexpr Index rows = 40, cols = 21, count = 9;
    std::vector<Stored> host(rows * cols);
    for (std::size_t k = 0; k < sizeof(Stored) * host.size(); ++k)
        reinterpret_cast<unsigned char*>(host.data())[k] = static_cast<unsigned char>(k * 7 % (k % 2 ? 80 : 256));
    if (type == NumberType::float32 || type == NumberType::float64) host = random<Stored>(host.size(), -9, 99);
    const Numbers<Stored, Real> source(devices, host);
    const Numbers<Index, Real> order(devices, {3, 39, 0, 7, 7, 20, 31, 2, 11, 5, 6}), moved(devices, {2});
    const Numbers<Real, Real> tile(devices, nans<Real>(count * cols)), turned(devices, nans<Real>(count * cols));
    const Numbers<double, Real> weights(devices, nans<double>(count * cols));
    const Numbers<std::int32_t, Real> classes(devices, std::vector<std::int32_t>(count, 77));
    devices.both([&](Backend<Real>& on, int d) {
        RowSource from{reinterpret_cast<const std::byte*>(source[d]), type, false, rows, cols};
        from.row_stride = sizeof(Stored);
        from.col_stride = sizeof(Stored) * rows;
        from.on_device = d == 1;
        on.load_rows(from, {order[d], 0, count, moved[d]}, tile.matrix(d, count, cols));
        on.load_rows(from, {nullptr, 5, count, moved[d]}, turned.matrix(d, cols, count).transposed());
        on.load_weights(from, {order[d], 1, count}, weights.matrix(d, count, cols));
        on.load_classes(from, {order[d], 1, count}, classes.vector(d));
    });
    const std::string what = "rows of type " + std::to_string(int(type));
    tile.expect_equal(0, what);
    turned.expect_equal(0, what);
    weights.expect_equal(0, what);
    classes.expect_equal(0, what);
}

// Numbers that fit and others, and the sums of more mini-batches than a device holds at a time.
template <class Stored, class Real>
void check_looking(Devices<Real>& devices, NumberType type, Index rows, Index cols, Index batch) {
    std::vector<Stored> host;
    for (Index k = 0; k < rows * cols; ++k) host.push_back(Stored(k % 7 == 6 ? 2 : k % 3));
    const Numbers<Stored, Real> source(devices, host);
    std::vector<Index> backwards;
    for (Index i = rows; i-- > 0;) backwards.push_back(i);
    const Numbers<Index, Real> order(devices, backwards);
    std::vector<Index> misfits[2];
    std::vector<double> sums[2];
    devices.both([&](Backend<Real>& on, int d) {
        RowSource from{reinterpret_cast<const std::byte*>(source[d]), type, false, rows, cols};
        from.row_stride = sizeof(Stored);
        from.col_stride = Index(sizeof(Stored)) * rows;
        for (const bool there : {false, true}) {
            from.on_device = there && d == 1;
            if (!there) from.data = reinterpret_cast<const std::byte*>(host.data());
            if (there) from.data = reinterpret_cast<const std::byte*>(source[d]);
            for (const NumberRule& rule : {NumberRule{0, 1}, NumberRule{0, 2, true}, NumberRule{0, 2, false, true}}) {
                misfits[d].push_back(-1);
                on.count_misfits(from, rule, &misfits[d].back());
            }
            const RowRange range{there ? order[d] : backwards.data(), 0, rows};
            std::vector<double> found(std::size_t((rows + batch - 1) / batch), -1);
            on.sum_weights(from, range, batch, found.data());
            sums[d].insert(sums[d].end(), found.begin(), found.end());
        }
    });
    expect(misfits[0][0] > 0 && misfits[0][1] == 0 && misfits[0][2] > 0, "some fit and some do not");
    expect(misfits[0] == misfits[1] && sums[0] == sums[1], "looks at numbers of type " + std::to_string(int(type)));
    double total = 0, expected = 0;
    for (const double sum : sums[1]) total += sum;
    for (const Stored number : host) expected += 2 * double(number);
    expect(std::abs(total - expected / double(cols)) < 1e-6, "the sums are those of all rows");
}

// Compressed rows of the device and of the process, into dense tiles.
template <class Position, class Real>
void check_compressed(Devices<Real>& devices, bool on_device, Index cols) {
    constexpr Index rows = 12, count = 7;
    std::vector<Position> starts{0}, columns;
    for (Index r = 0; r < rows; ++r) {
        for (Index j = r; j < cols; j += 1 + cols / (1 + 17 * r)) columns.push_back(Position(j));
        starts.push_back(Position(columns.size()));
    }
    const std::vector<double> values = random<double>(columns.size());
    const std::vector<Index> order{4, 0, 11, 11, 2, 9, 5, 1};
    const Numbers<Position, Real> starts_there(devices, starts), columns_there(devices, columns);
    const Numbers<double, Real> values_there(devices, values);
    const Numbers<Index, Real> order_there(devices, order);
    const Numbers<Real, Real> tile(devices, nans<Real>(count * cols));
    devices.both([&](Backend<Real>& on, int d) {
        const RowRange range{on_device && d == 1 ? order_there[d] : order.data(), 1, count};
        if (d == 0) {  // the plain backend keeps such rows compressed
            std::vector<Real> spread(count * cols, Real(0));
            for (Index i = 0; i < count; ++i)
                for (Index k = Index(starts[range[i]]); k < Index(starts[range[i] + 1]); ++k)
                    spread[i * cols + Index(columns[k])] = Real(values[k]);
            return on.upload(spread.data(), tile[d], spread.size() * sizeof(Real));
        }
        const auto bytes = [](const void* list) { return static_cast<const std::byte*>(list); };
        RowSource from{bytes(on_device ? values_there[d] : values.data()), NumberType::float64, false, rows, cols};
        from.col_stride = sizeof(double);
        from.on_device = on_device;
        from.starts = bytes(on_device ? starts_there[d] : starts.data());
        from.columns = bytes(on_device ? columns_there[d] : columns.data());
        from.index_type = sizeof(Position) == 8 ? NumberType::int64 : NumberType::int32;
        on.load_rows(from, range, tile.matrix(d, count, cols));
    });
    tile.expect_equal(0, "compressed rows made dense");
}

// From the process's memory in several pieces.
template <class Real>
void check_large_rows(Devices<Real>& devices, Index rows, Index cols, bool turned) {
    const std::vector<float> host = random<float>(rows * cols);
    const Numbers<Real, Real> tile(devices, nans<Real>(rows * cols));
    devices.both([&](Backend<Real>& on, int d) {
        RowSource from{reinterpret_cast<const std::byte*>(host.data()), NumberType::float32, false, rows, cols};
        from.row_stride = cols * Index(sizeof(float));
        from.col_stride = sizeof(float);
        on.load_rows(from, {nullptr, 0, rows},
                     turned ? tile.matrix(d, cols, rows).transposed() : tile.matrix(d, rows, cols));
    });
    tile.expect_equal(0, "rows in several pieces");
}

template <class Real>
void check_loading(Devices<Real>& devices) {
    check_rows<float>(devices, NumberType::float32);
    check_rows<double>(devices, NumberType::float64);
    check_rows<std::uint16_t>(devices, NumberType::float16);
    check_rows<std::uint8_t>(devices, NumberType::boolean);
    check_rows<std::int8_t>(devices, NumberType::int8);
    check_rows<std::int16_t>(devices, NumberType::int16);
    check_rows<std::int32_t>(devices, NumberType::int32);
    check_rows<std::int64_t>(devices, NumberType::int64);
    check_rows<std::uint8_t>(devices, NumberType::uint8);
    check_rows<std::uint16_t>(devices, NumberType::uint16);
    check_rows<std::uint32_t>(devices, NumberType::uint32);
    check_rows<std::uint64_t>(devices, NumberType::uint64);
    if (sizeof(Real) == 4) check_looking<float>(devices, NumberType::float32, 65'600, 1, 1);
    check_looking<double>(devices, NumberType::float64, 1000, 4, 333);
    check_looking<std::int64_t>(devices, NumberType::int64, 500, 2, 500);
    check_looking<std::uint8_t>(devices, NumberType::uint8, 37, 5, 8);
    for (const bool on_device : {false, true})
        for (const Index cols : {5, 33, 700}) {
            check_compressed<std::int32_t>(devices, on_device, cols);
            check_compressed<std::int64_t>(devices, on_device, cols);
        }
    check_compressed<std::int64_t>(devices, false, 300'000);  // a row is larger than a buffer
    for (const bool turned : {false, true}) {
        check_large_rows(devices, 3000, 401, turned);
        check_large_rows(devices, 3, 150'000, turned);
    }
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::Devices<float> single;
    fastbp::test::Devices<double> twice;
    fastbp::test::check_loading(single);
    fastbp::test::check_loading(twice);
    std::puts("rows: as the plain backend has them");
}

"""Every operation of the seam against NumPy: awkward shapes and strides, outputs full of nan, all backends."""

import numpy as np
import pytest
from operations import PARAMETERS, TYPES, close, forms, nan, numbers

from fastbp import reference
from fastbp._functions import OUTPUT_ACTIVATIONS as NUMBERS

PRODUCTS = [(1, 1, 1), (3, 5, 2), (7, 1, 9), (17, 33, 65), (64, 64, 64), (2, 100, 1), (5, 0, 3)]
PRODUCTS += [(9, 130, 40), (193, 129, 67), (40, 300, 100), (1, 64, 48), (16, 3, 200)]
PRODUCTS += [(37, 70, 2), (23, 17, 1), (4200, 5, 2), (6, 4200, 1)]  # one or two columns
SHAPES = [(1, 1), (1, 7), (7, 1), (5, 16), (33, 17), (64, 70)]
# The backends that compute with compressed rows; on a device load_rows spreads such rows.
with_compressed_rows = pytest.mark.parametrize(
    "ops", [(device, bits) for device in ("plain", "cpu") for bits in TYPES], ids="-".join, indirect=True
)


@pytest.mark.parametrize("m, k, n", PRODUCTS)
def test_gemm(ops, m, k, n):
    on, dtype, tolerance, _ = ops
    rng = np.random.default_rng(m * 100 + n)
    a, b, c = numbers(rng, dtype, m, k), numbers(rng, dtype, k, n), numbers(rng, dtype, m, n)
    product = a.astype(float) @ b.astype(float)
    for left in forms(a):
        for right in forms(b):
            for out in forms(np.empty_like(c)):
                out[...] = np.nan
                on.gemm(1.0, left, right, 0.0, out)
                close(out, product, tolerance * (k + 1))
                out[...] = c
                on.gemm(-0.5, left, right, 2.0, out)
                close(out, 2.0 * c.astype(float) - 0.5 * product, tolerance * (k + 3))


def test_gemm_is_exact_for_integers(ops):
    on, dtype, _, _ = ops
    rng = np.random.default_rng(0)
    for m, k, n in rng.integers(1, 90, (60, 3)):
        a, b = rng.integers(-3, 4, (m, k)), rng.integers(-3, 4, (k, n))
        out = nan(dtype, m, n)
        on.gemm(1.0, a.astype(dtype), np.asfortranarray(b.astype(dtype)), 0.0, out)
        np.testing.assert_array_equal(out, a @ b)
        on.gemm(1.0, a.astype(dtype), b.astype(dtype), 1.0, out)
        np.testing.assert_array_equal(out, 2 * (a @ b))


def test_gemm_leaves_the_rest_of_a_block_alone(ops):
    on, dtype, _, _ = ops
    whole = np.full((6, 8), 7, dtype)
    on.gemm(1.0, np.ones((2, 3), dtype), np.ones((3, 4), dtype), 0.0, whole[1:3, 2:6])
    expected = np.full((6, 8), 7, dtype)
    expected[1:3, 2:6] = 3
    np.testing.assert_array_equal(whole, expected)


@with_compressed_rows
@pytest.mark.parametrize("turned", [(), ("b",), ("out",), ("b", "out")])
@pytest.mark.parametrize("transposed", [False, True])
def test_sparse_gemm(ops, transposed, turned):
    """With `b` and `out` row-major, or as the transpose of row-major matrices."""
    on, dtype, tolerance, _ = ops
    rng = np.random.default_rng(1)
    dense = numbers(rng, dtype, 9, 13) * (rng.random((9, 13)) < 0.3)
    dense[4] = 0
    rows, columns = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=9))])
    b = numbers(rng, dtype, 9 if transposed else 13, 5)
    b = np.asfortranarray(b) if "b" in turned else b
    expected = (dense.T if transposed else dense).astype(float) @ b
    out = nan(dtype, *expected.shape[::-1]).T if "out" in turned else nan(dtype, *expected.shape)
    on.sparse_gemm(1.0, starts, columns, dense[rows, columns], 13, transposed, b, 0.0, out)
    close(out, expected, 20 * tolerance)
    on.sparse_gemm(2.0, starts, columns, dense[rows, columns], 13, transposed, b, 1.0, out)
    close(out, 3 * expected, 60 * tolerance)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_activate_and_derivative(ops, name, shape):
    on, dtype, tolerance, device = ops
    rng = np.random.default_rng(2)
    a = PARAMETERS.get(name, 0.0)
    g = (NUMBERS[name], a)
    s0, b = numbers(rng, dtype, *shape) * 3, numbers(rng, dtype, shape[1])
    s = (s0 + b).astype(float)
    x = reference.activate((name, a) if a else name, s)
    for form in range(3 if device != "cpu" else 1):
        s_out, x_out = forms(s0)[form].copy(order="K"), nan(dtype, *shape)
        on.activate(g, b, s_out, x_out)
        close(s_out, s, 2 * tolerance)
        close(x_out, x, 20 * tolerance)
    in_place = s0.copy()
    on.activate(g, b, in_place, in_place)
    np.testing.assert_array_equal(in_place, x_out)
    without_bias = nan(dtype, *shape)
    on.activate(g, None, s0.copy(), without_bias)
    close(without_bias, reference.activate((name, a) if a else name, s0.astype(float)), 20 * tolerance)

    delta = numbers(rng, dtype, *shape)
    expected = reference.multiply_by_derivative(name, a, s, x, delta.astype(float))
    on.multiply_by_derivative(g, s.astype(dtype), x.astype(dtype), delta)
    close(delta, expected, 40 * tolerance)


@pytest.mark.parametrize("g", NUMBERS)
def test_activation_tangents_are_derivatives(seam, g):
    """(8) and (10) against complex steps where the reference takes complex numbers, else central differences."""
    on = seam.Operations64("cpu")
    rng = np.random.default_rng(4)
    a, shape, h = PARAMETERS.get(g, 0.0), (6, 5), 1e-6
    spec = (g, a) if a else g
    s, s_dot = rng.standard_normal(shape) * 2, rng.standard_normal(shape)
    x = reference.activate(spec, s)
    x_dot = np.full(shape, np.nan)
    on.activate_tangent((NUMBERS[g], a), s, x, s_dot, x_dot)
    numeric = (reference.activate(spec, s + h * s_dot) - reference.activate(spec, s - h * s_dot)) / (2 * h)
    close(x_dot, numeric, 1e-8)
    if g == "softmax":
        return
    u, u_dot = rng.standard_normal(shape), rng.standard_normal(shape)

    def delta(t):
        moved = s + t * s_dot
        return reference.multiply_by_derivative(g, a, moved, reference.activate(spec, moved), u + t * u_dot)

    delta_dot = u_dot.copy()
    on.derivative_tangent((NUMBERS[g], a), s, x, s_dot, u, delta_dot)
    close(delta_dot, (delta(h) - delta(-h)) / (2 * h), 1e-8)


@pytest.mark.parametrize("size", [1, 1e-30, 1e30])  # beyond what squares in float32 can hold
@pytest.mark.parametrize("shape", [*SHAPES, (3, 600)])
def test_norms_of_examples(ops, shape, size):
    on, dtype, _, _ = ops
    rng = np.random.default_rng(8)
    x, delta = numbers(rng, dtype, *shape) * dtype(size), numbers(rng, dtype, shape[0], 5) * dtype(size)
    with_one, exact = np.hstack([x, np.ones((shape[0], 1))]).astype(float), delta.astype(float)
    norms = np.linalg.norm(with_one[:, :, None] * exact[:, None, :], axis=(1, 2))  # Frobenius, of the outer products
    for form in forms(x):  # an input may lie in any way
        squares = np.full(shape[0], np.nan)
        on.gradient_squares(form, delta, False, squares)
        np.testing.assert_allclose(squares, norms**2, rtol=1e-13)
        on.gradient_squares(form, delta, True, squares)
        np.testing.assert_allclose(squares, 2 * norms**2, rtol=1e-13)
    c = rng.choice([0.0, -2.0, 0.5], shape[0])
    expected = np.where(c == 0, 0, norms / np.where(c == 0, 1, abs(3 * c)))
    limit = float(np.median(expected))
    found, squares = np.full(shape[0], np.nan), norms**2
    on.example_norms(squares, c, 3.0, limit, found, squares)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    np.testing.assert_allclose(squares * found, np.minimum(found, limit), rtol=1e-13)
    assert (squares <= 1).all()
    on.example_norms(norms**2, None, -3.0, 1.0, found, None)
    np.testing.assert_allclose(found, norms / 3, rtol=1e-13)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 600)])
def test_sums(ops, shape):
    on, dtype, tolerance, device = ops
    rng = np.random.default_rng(6)
    m = numbers(rng, dtype, *shape)
    exact = m.astype(float)
    for form in forms(m)[:: 1 if device != "cpu" else 2]:
        b = nan(dtype, shape[1])
        on.column_sums(-2.0, form, 0.0, b)
        close(b, -2 * exact.sum(axis=0), 4 * tolerance)
        on.column_sums(1.0, form, 1.0, b)
        close(b, -exact.sum(axis=0), 8 * tolerance)
    factor = rng.random(shape[0])
    scaled = m.copy()
    on.scale_rows(factor, scaled)
    close(scaled, exact * factor[:, None], tolerance)
    copied = nan(dtype, *shape)
    on.copy(m, copied)
    np.testing.assert_array_equal(copied, m)
    on.add(scaled, copied)
    np.testing.assert_array_equal(copied, m + scaled)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 600)])
def test_rows_and_outputs_of_weight_0_are_cleared(ops, shape):
    on, dtype, _, _ = ops
    rng = np.random.default_rng(9)
    m = np.where(rng.random(shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf], shape), 1).astype(dtype)
    of_rows, of_outputs = (rng.choice([0.0, -1.0, 1e-300], (shape[0], d)) for d in (1, shape[1]))
    of_outputs[::2] = 0
    few = rng.choice([0.0, 2.0], (shape[0], 3))  # of other outputs: m may be x(0)
    for form in range(3):
        for c in (of_rows, of_outputs, few):
            cleared = forms(m)[form].copy(order="K")
            on.clear_masked_rows(c, cleared)
            np.testing.assert_array_equal(cleared, np.where((c == 0).all(axis=1, keepdims=True), 0, m))
        for c in (of_rows, of_outputs):
            cleared = forms(m)[form].copy(order="K")
            on.clear_masked_outputs(c, cleared)
            np.testing.assert_array_equal(cleared, np.where(c == 0, 0, m))
    factor = of_rows[:, 0].copy()
    scaled = m.copy()
    on.scale_rows(factor, scaled)
    np.testing.assert_array_equal(scaled, (np.where(of_rows == 0, 0, m).astype(float) * of_rows).astype(dtype))


@with_compressed_rows
@pytest.mark.parametrize("shape", SHAPES)
def test_clear_masked_csr(ops, shape, rng):
    on, dtype, _, _ = ops
    m = numbers(rng, dtype, *shape)
    c = rng.choice([0.0, 2.0], (shape[0], 3))
    c[::3] = 0
    rows, columns = np.nonzero(np.indices(shape).sum(axis=0) % 2 == 0)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    values = m[rows, columns]
    on.clear_masked_csr(c, starts, columns, values)
    np.testing.assert_array_equal(values, np.where((c[rows] == 0).all(axis=1), 0, m[rows, columns]))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16])
def test_reduce_adds_in_a_tree_of_halves(ops, count):
    on, dtype, _, _ = ops
    rng = np.random.default_rng(7)
    partials = [numbers(rng, dtype, 700) for _ in range(count)]

    def tree(parts):
        if len(parts) == 1:
            return parts[0]
        return tree(parts[: len(parts) // 2]) + tree(parts[len(parts) // 2 :])

    out = nan(dtype, 700)
    on.reduce(partials, 0.0, out)
    np.testing.assert_array_equal(out, tree(partials))
    on.reduce(partials, 1.0, out)
    np.testing.assert_array_equal(out, tree(partials) + tree(partials))


def test_penalties(ops):
    on, dtype, tolerance, _ = ops
    rng = np.random.default_rng(8)
    w, grad = numbers(rng, dtype, 301), numbers(rng, dtype, 301)
    w[3] = 0
    squares, magnitudes = on.sums(w)
    exact = w.astype(float)
    assert squares == pytest.approx((exact**2).sum(), rel=1e-14)
    assert magnitudes == pytest.approx(np.abs(exact).sum(), rel=1e-14)
    expected = grad + 0.3 * exact + 0.2 * np.sign(exact)
    on.add_penalty(0.3, 0.2, w, grad)
    close(grad, expected, 3 * tolerance)


@pytest.mark.parametrize("kind", "f4 f8 f2 g ? i1 i2 i4 i8 u1 u2 u4 u8 >f4 >f8 >i2 >u8 >f2".split())
def test_load_rows(ops, kind):
    on, dtype, _, _ = ops
    source = (np.arange(60).reshape(6, 10) % 90).astype(kind)
    order = np.array([5, 0, 0, 3])
    for form in (source, np.asfortranarray(source), source[:, ::-1], source[::-2], source[1:, 3:7]):
        rows = order % len(form)
        tile = nan(dtype, 4, form.shape[1])
        on.load_rows(form, rows, tile)
        np.testing.assert_array_equal(tile, form[rows].astype(dtype))
        tile = nan(dtype, 2, form.shape[1])
        on.load_rows(form, None, tile)
        np.testing.assert_array_equal(tile, form[:2].astype(dtype))


def test_every_half_precision_number_is_loaded_exactly(seam):
    on = seam.Operations32("cpu")
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)[:, None]
    tile = np.full(halves.shape, np.nan, np.float32)
    on.load_rows(halves, None, tile)
    nan, expected = np.isnan(halves), halves.astype(np.float32)
    np.testing.assert_array_equal(tile.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])
    assert np.isnan(tile[nan]).all()

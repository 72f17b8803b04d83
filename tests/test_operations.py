"""Every operation of the seam against NumPy: awkward shapes and strides, outputs full of nan, all backends."""

import numpy as np
import pytest

from fastbp import reference
from fastbp._functions import LOSSES as LOSS_NUMBERS
from fastbp._functions import OUTPUT_ACTIVATIONS as NUMBERS

TYPES = {"32": (np.float32, 2e-6), "64": (np.float64, 1e-14)}
PARAMETERS = {"leaky_relu": 0.01, "elu": 1.0}
PRODUCTS = [(1, 1, 1), (3, 5, 2), (7, 1, 9), (17, 33, 65), (64, 64, 64), (2, 100, 1), (5, 0, 3)]
PRODUCTS += [(9, 130, 40), (193, 129, 67), (40, 300, 100), (1, 64, 48), (16, 3, 200)]
PRODUCTS += [(37, 70, 2), (23, 17, 1), (4200, 5, 2), (6, 4200, 1)]  # one or two columns
SHAPES = [(1, 1), (1, 7), (7, 1), (5, 16), (33, 17), (64, 70)]


@pytest.fixture(params=[(d, t) for d in ("plain", "cpu", "cuda") for t in TYPES], ids="-".join)
def ops(request, seam):
    device, bits = request.param
    operations = getattr(seam, f"Operations{bits}")(device)
    dtype, tolerance = TYPES[bits]
    return operations, dtype, tolerance, device


def numbers(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


def nan(dtype, *shape):
    return np.full(shape, np.nan, dtype)


def close(found, expected, tolerance):
    scale = np.abs(expected).max(initial=1e-30)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(scale, 1.0))


def forms(array):
    """The same matrix as it is, as a transposed view, and inside a larger one."""
    wide = np.full((array.shape[0], array.shape[1] + 3), np.nan, array.dtype)
    wide[:, 1:-2] = array
    return [array, np.array(array, order="F"), wide[:, 1:-2]]


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


@pytest.mark.parametrize("transposed", [False, True])
def test_sparse_gemm(ops, transposed):
    on, dtype, tolerance, _ = ops
    rng = np.random.default_rng(1)
    dense = numbers(rng, dtype, 9, 13) * (rng.random((9, 13)) < 0.3)
    dense[4] = 0
    rows, columns = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=9))])
    b = numbers(rng, dtype, 9 if transposed else 13, 5)
    expected = (dense.T if transposed else dense).astype(float) @ b
    out = nan(dtype, *expected.shape)
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


def targets(rng, loss, g, shape, dtype):
    """(values, classes): real targets of the loss's kind, and class numbers where softmax takes them."""
    if g == "softmax":
        classes = rng.integers(0, shape[1], shape[0]).astype(np.int32)
        p = rng.random(shape)
        return [((p / p.sum(axis=1, keepdims=True)).astype(dtype), None), (None, classes)]
    if loss == "cross_entropy":
        return [(rng.random(shape).astype(dtype), None)]
    if loss == "poisson":
        return [(rng.poisson(2.0, shape).astype(dtype), None)]
    return [(numbers(rng, dtype, *shape), None)]


def _pairings():
    for loss in LOSS_NUMBERS:
        for g in NUMBERS:
            if loss == "cross_entropy" and g not in ("softmax", "logistic"):
                continue
            if loss == "poisson" and g not in ("exp", "softplus", "logistic", "softmax"):
                continue  # x must be positive
            yield loss, g


PAIRINGS = list(_pairings())


def loss_case(loss, g, shape, dtype, rng):
    s = numbers(rng, dtype, *shape) * 2
    x = reference.activate(g, s.astype(float)).astype(dtype)
    parameter = {"huber": 0.7, "pinball": 0.3}.get(loss)
    per_output = None if parameter is None else np.full(shape[1], parameter, dtype)
    return s, x, parameter, per_output


@pytest.mark.parametrize("loss, g", PAIRINGS)
@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (33, 17)])
def test_output_delta(ops, loss, g, shape):
    on, dtype, tolerance, _ = ops
    rng = np.random.default_rng(3)
    a = PARAMETERS.get(g, 0.0)
    s, x, parameter, per_output = loss_case(loss, g, shape, dtype, rng)
    weights = [None, rng.random((shape[0], 1)), rng.random(shape) * (rng.random(shape) < 0.8)]
    for values, classes in targets(rng, loss, g, shape, dtype):
        for c in weights:
            y = classes if values is None else values.astype(float)
            flat = None if c is None else (c[:, 0] if c.shape[1] == 1 else c)
            expected = reference.output_delta(
                (loss, parameter), g, s.astype(float), x.astype(float), y, flat, scale=0.25
            )
            delta, example = nan(dtype, *shape), np.full(shape[0], np.nan)
            number = LOSS_NUMBERS[loss]
            value = on.output_delta(
                number, per_output, (NUMBERS[g], a), s, x, values, classes, c, 0.25, delta, example
            )
            assert value == pytest.approx(expected[0], rel=100 * tolerance, abs=100 * tolerance)
            close(delta, expected[1], 100 * tolerance)
            if c is None:
                assert example.sum() == pytest.approx(4 * value, rel=1e-12)
            only = on.output_delta(number, per_output, (NUMBERS[g], a), s, x, values, classes, c, 0.25, None, None)
            assert only == value


@pytest.mark.parametrize("shape", [(1, 2), (5, 3), (40, 10), (17, 40)])
def test_cross_entropy_where_several_outputs_are_the_largest(ops, shape):
    """-ln x = ln(number of the largest) + s_m - s: exact but for a rounding, with others far below."""
    on, dtype, tolerance, _ = ops
    rows, outputs = shape
    largest = 1 + np.arange(rows) % outputs
    s = np.where(np.arange(outputs) < largest[:, None], 3, -60).astype(dtype)
    x = nan(dtype, *shape)
    softmax, cross_entropy = (NUMBERS["softmax"], 0.0), LOSS_NUMBERS["cross_entropy"]
    on.activate(softmax, None, s.copy(), x)
    classes = (largest - 1).astype(np.int32)
    delta, example = nan(dtype, *shape), np.full(rows, np.nan)
    on.output_delta(cross_entropy, None, softmax, s, x, None, classes, None, 1.0, delta, example)
    np.testing.assert_allclose(example, np.log(largest), rtol=4e-15, atol=outputs * np.exp(-63.0) * 1.01)
    one_of_them = np.arange(outputs) == classes[:, None]
    close(delta, np.where(s > 0, 1 / largest[:, None], np.exp(-63.0) / largest[:, None]) - one_of_them, tolerance)


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


@pytest.mark.parametrize("loss, g", PAIRINGS)
def test_output_delta_tangent_is_a_derivative(seam, loss, g):
    on = seam.Operations64("cpu")
    rng = np.random.default_rng(5)
    a, shape, h = PARAMETERS.get(g, 0.0), (6, 5), 1e-6
    s, _, parameter, per_output = loss_case(loss, g, shape, np.float64, rng)
    s_dot, c = rng.standard_normal(shape), rng.random((6, 1))
    for values, classes in targets(rng, loss, g, shape, np.float64):
        y = classes if values is None else values

        def delta(t, y=y):
            moved = s + t * s_dot
            x = reference.activate((g, a) if a else g, moved)
            return reference.output_delta((loss, parameter), (g, a) if a else g, moved, x, y, c[:, 0], scale=0.5)[1]

        x = reference.activate((g, a) if a else g, s)
        delta_dot = np.full(shape, np.nan)
        on.output_delta_tangent(
            LOSS_NUMBERS[loss], per_output, (NUMBERS[g], a), s, x, values, classes, c, 0.5, s_dot, delta_dot, False
        )
        close(delta_dot, (delta(h) - delta(-h)) / (2 * h), 1e-7)


CANONICAL = {("cross_entropy", "softmax"), ("cross_entropy", "logistic"), ("poisson", "exp")}


@pytest.mark.parametrize("loss, g", PAIRINGS)
def test_the_gauss_newton_part_leaves_out_the_curvature_of_g(seam, loss, g):
    """J^T (c d2e/dx2) J s_dot, with J the Jacobian of g; behind the canonical link all of the second derivative."""
    on = seam.Operations64("cpu")
    rng = np.random.default_rng(6)
    a, shape, h = PARAMETERS.get(g, 0.0), (6, 5), 1e-6
    spec = (g, a) if a else g
    s, _, parameter, per_output = loss_case(loss, g, shape, np.float64, rng)
    s_dot, c = rng.standard_normal(shape), rng.random((6, 1))
    x = reference.activate(spec, s)
    x_dot = reference.multiply_by_derivative(g, a, s, x, s_dot)
    for values, classes in targets(rng, loss, g, shape, np.float64):
        found, whole = np.full(shape, np.nan), np.full(shape, np.nan)
        arguments = (LOSS_NUMBERS[loss], per_output, (NUMBERS[g], a), s, x, values, classes, c, 0.5, s_dot)
        on.output_delta_tangent(*arguments, found, True)
        on.output_delta_tangent(*arguments, whole, False)
        if (loss, g) in CANONICAL:
            np.testing.assert_array_equal(found, whole)
            continue
        y = np.eye(shape[1])[classes] if values is None else values

        def by_x(t, y=y):
            moved = x + t * x_dot
            return reference.output_delta((loss, parameter), "identity", moved, moved, y, c[:, 0], scale=0.5)[1]

        along_x = (by_x(h) - by_x(-h)) / (2 * h)
        close(found, reference.multiply_by_derivative(g, a, s, x, along_x), 1e-7)


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
    rows, columns = np.nonzero(np.indices(shape).sum(axis=0) % 2 == 0)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    values = m[rows, columns]
    on.clear_masked_csr(few, starts, columns, values)
    np.testing.assert_array_equal(values, np.where((few[rows] == 0).all(axis=1), 0, m[rows, columns]))


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

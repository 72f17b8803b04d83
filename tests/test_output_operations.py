"""Equations (3) and (9) of the seam against the reference and against differences: every loss behind every output."""

import numpy as np
import pytest
from operations import PARAMETERS, close, nan, numbers

from fastbp import reference
from fastbp._functions import LOSSES as LOSS_NUMBERS
from fastbp._functions import OUTPUT_ACTIVATIONS as NUMBERS


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
@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (33, 17), (3, 150)])
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

"""fastbp.diagnose: what was planted is found, and its figures are those of the dense Hessian."""

import numpy as np
import pytest
from helpers import require

import fastbp as fb
from fastbp.optimize import _eigenvalues


def data():
    rng = np.random.default_rng(11)
    return rng.standard_normal((120, 4)), rng.integers(0, 3, 120)


X, LABELS = data()


def finding(diagnosis, words):
    return [f for f in diagnosis.findings if words in f]


@pytest.mark.parametrize("sizes", [(4, 5, 3), (4, 16, 3)], ids=["dense Hessian", "Lanczos"])
def test_figures(sizes):
    net = fb.MLP(sizes, loss="cross_entropy", activation="tanh", seed=0, dtype="float64", l2=0.01)
    d = fb.diagnose(net, X, LABELS)
    hessian = np.array([net.hvp(X, LABELS, v) for v in np.eye(net.params.size)])
    eigenvalues = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(d.eigenvalues, eigenvalues[[0, -1]], rtol=1e-6, atol=1e-9)
    value, grad = net.value_and_grad(X, LABELS)
    assert d.value == pytest.approx(value, rel=1e-13)
    assert d.grad_norm == pytest.approx(np.linalg.norm(grad), rel=1e-12)
    assert d.curvature == pytest.approx(grad @ hessian @ grad / (grad @ grad), rel=1e-10)
    assert d.safe_step == pytest.approx(1 / np.abs(eigenvalues).max(), rel=1e-6)
    assert d.slope == pytest.approx(-d.grad_norm)
    assert d.measured_slope == pytest.approx(d.slope, rel=1e-5)
    assert sum(r.grad_norm**2 for r in d.layers) == pytest.approx(d.grad_norm**2)
    assert not d.convex
    assert d.findings == []
    assert "nothing stands in the way" in str(d)
    net.params -= d.safe_step * grad
    assert net.value(X, LABELS) < value


def test_dead_and_saturated_units():
    net = fb.MLP((4, 6, 5, 3), loss="cross_entropy", activation=["relu", "logistic"], seed=0)
    net.biases[0][:2] = -1e3
    net.weights[1][:] *= 1e3
    d = fb.diagnose(net, X, LABELS)
    assert d.layers[0].dead == pytest.approx(2 / 6)
    assert finding(d, "layer 1: 2 of 6 units are dead")
    assert finding(d, "of logistic saturated")
    assert fb.diagnose(net.to("cpu"), X, LABELS).findings == d.findings


def test_vanishing_gradients():
    net = fb.MLP((4, *[8] * 12, 3), loss="cross_entropy", activation="logistic", seed=0)
    assert finding(fb.diagnose(net, X, LABELS), "the gradient vanishes on its way back")


def test_inputs_that_are_not_scaled():
    net = fb.MLP((4, 8, 3), loss="cross_entropy", activation="tanh", seed=0)
    assert finding(fb.diagnose(net, X * [1, 1, 1, 1e4], LABELS), "columns of X spread from")
    assert finding(fb.diagnose(net, X + np.array([0, 0, 1e3, 0]), LABELS), "far from 0")
    constant = X * [1, 1, 1, 0]
    assert not finding(fb.diagnose(net, constant, LABELS), "columns")


def test_a_learning_rate_that_overshoots(rng):
    net = fb.MLP((4, 3), loss="squared_error", seed=0)
    y = rng.standard_normal((120, 3))
    safe = fb.diagnose(net, X, y).safe_step
    assert not fb.diagnose(net, X, y, lr=1.9 * safe).findings
    assert finding(fb.diagnose(net, X, y, lr=2.1 * safe), "plain gradient descent overshoots")
    for factor, converges in ((1.9, True), (2.1, False)):  # and so it is: the value is a quadratic
        start = net.to("cpu")
        before = start.value(X, y)
        start.fit(X, y, optimizer=fb.SGD(lr=factor * safe), batch_size=None, epochs=400, on_nonfinite="stop")
        assert (start.value(X, y) < before) == converges


def test_convexity():
    for loss, output, convex in (
        ("squared_error", "auto", True), ("squared_error", "logistic", False), (fb.Huber(0.5), "auto", True),
        ("poisson", "auto", True), ("poisson", "softplus", False), ("cross_entropy", "auto", True),
    ):  # fmt: skip
        net = fb.MLP((4, 1), loss=loss, output_activation=output, seed=0)
        d = fb.diagnose(net, X, (LABELS > 0).astype(float))
        assert d.convex == convex
        if convex:
            assert d.eigenvalues[0] >= -1e-9
    assert not fb.diagnose(fb.MLP((4, 2, 1), loss="squared_error"), X, LABELS).convex


def test_a_gradient_of_zero():
    net = fb.MLP((4, 3, 1), loss="squared_error", activation="tanh", init="zeros")
    d = fb.diagnose(net, X, X[:, 0] - X[:, 0].mean())
    assert finding(d, "the gradient is 0: this is a saddle")
    assert abs(d.slope) < 1e-15


def test_a_wrong_loss_function():
    right = fb.MLP((4, 1), loss=lambda y, x: (0.5 * ((x - y) ** 2).sum(1), x - y), seed=0)
    wrong = fb.MLP((4, 1), loss=lambda y, x: (0.5 * ((x - y) ** 2).sum(1), 2 * (x - y)), seed=0)
    y = X[:, :1] ** 2
    assert not finding(fb.diagnose(right, X, y), "slope")
    assert finding(fb.diagnose(wrong, X, y), "the loss function's dx is wrong")
    assert np.isnan(fb.diagnose(right, X, y).curvature)


def test_numbers_that_are_not_finite():
    net = fb.MLP((4, 1), loss="squared_error", seed=0)
    spoilt = X.copy()
    spoilt[3, 1] = np.inf
    with np.errstate(invalid="ignore"):
        assert finding(fb.diagnose(net, spoilt, X[:, 0]), "the value is not finite")


def test_rows_are_drawn_and_the_net_is_left_alone():
    net = fb.MLP((4, 8, 3), loss="cross_entropy", seed=0)
    before = net.params.copy()
    d = fb.diagnose(net, X, LABELS, np.ones(120), rows=50)
    np.testing.assert_array_equal(net.params, before)
    order = np.sort(np.random.default_rng(0).permutation(120)[:50])
    assert d.value == pytest.approx(net.value(X[order], LABELS[order]), rel=1e-5)


def test_bad_input():
    net = fb.MLP((4, 3), loss="cross_entropy")
    with pytest.raises(TypeError, match=r"\[diagnose\] net is str, expected an fb.MLP"):
        fb.diagnose("net", X, LABELS)
    with pytest.raises(ValueError, match=r"\[diagnose\].*y"):
        fb.diagnose(net, X, LABELS[:7])
    with pytest.raises(ValueError, match=r"\[diagnose\] lr is -1"):
        fb.diagnose(net, X, LABELS, lr=-1)
    with pytest.raises(ValueError, match=r"\[diagnose\] rows is 0, expected at least 1"):
        fb.diagnose(net, X, LABELS, rows=0)


@pytest.mark.frameworks
def test_plot():
    require("matplotlib").use("Agg")
    axes = fb.diagnose(fb.MLP((4, 8, 3), loss="cross_entropy", seed=0), X, LABELS).plot()
    assert [patch.get_height() > 0 for patch in axes[0].patches] == [True, True]
    assert len(axes[2].lines[0].get_xdata()) == 31


def test_large_targets_are_no_eigenvalues_point():
    d = fb.diagnose(fb.MLP((4, 5, 1), loss="squared_error", seed=0), X, 1e9 * (1 + X[:, 0]))
    assert not finding(d, "the gradient is 0")


@pytest.mark.parametrize("wrong", [None, "abc", np.array(5.0)])
def test_inputs_that_are_none(wrong):
    with pytest.raises((TypeError, ValueError), match=r"\[diagnose\] X"):
        fb.diagnose(fb.MLP((4, 3), loss="cross_entropy"), wrong, LABELS)


def test_a_kink_is_told_from_a_wrong_loss_function():
    net = fb.MLP((4, 3, 1), loss="squared_error", activation="relu", seed=0, dtype="float64")
    net.biases[0][:] = 0
    rows = np.r_[np.zeros((60, 4)), X[:60]]  # the summed inputs of the first 60 rows lie on the corner
    d = fb.diagnose(net, rows, np.r_[np.full(60, 9.0), X[:60, 0]])
    moved = fb.diagnose(net, X, X[:, 0])
    assert finding(d, "the value has a kink near the parameters")
    assert not finding(d, "dx is wrong")
    assert not finding(moved, "the measured slope")


def test_a_flat_place_is_not_called_a_minimum():
    net = fb.MLP((4, 3, 1), loss="squared_error", activation="relu", output_activation="relu", seed=0)
    net.biases[1][:] = -1e3  # the output is off in every row
    assert finding(fb.diagnose(net, X, X[:, 0]), "a minimum or a flat region")
    linear = fb.MLP((4, 1), loss="squared_error", seed=0, dtype="float64")
    y = X @ [1.0, -2.0, 0.5, 0.0]
    for unit in (1e-9, 1.0, 1e9):
        linear.params = unit * np.r_[1.0, -2.0, 0.5, 0.0, 0.0]
        assert "the gradient is 0: this is a minimum" in fb.diagnose(linear, X, unit * y).findings


def test_eigenvalues_that_do_not_converge(monkeypatch):
    net = fb.MLP((4, 16, 3), loss="cross_entropy", activation="tanh", seed=0)
    exact = fb.diagnose(net, X, LABELS)
    monkeypatch.setattr(_eigenvalues, "MOST_PRODUCTS", 30)
    d = fb.diagnose(net, X, LABELS)
    assert finding(d, "Lanczos' method did not converge")
    assert exact.eigenvalues[0] <= d.eigenvalues[0] < d.eigenvalues[1] <= exact.eigenvalues[1]
    assert d.safe_step >= exact.safe_step
    assert "Lanczos" in str(d)


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_the_measured_slope_does_not_depend_on_the_unit_of_the_targets(unit):
    X = np.random.default_rng(0).standard_normal((20, 3))
    net = fb.MLP((3, 4, 1), loss="squared_error", activation="tanh", seed=0)
    net.weights[-1][...] *= unit
    for x in (X, 1e-9 * X):
        found = fb.diagnose(net, x, unit * np.sin(X[:, 0]))
        assert found.measured_slope == pytest.approx(found.slope, rel=1e-3)
        assert not any("measured slope" in text for text in found.findings)

"""The lecture's own examples, against its formulas, complex steps and NumPy's linear algebra."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.optimize import classify_stationary_point, gradient_descent

X = np.random.default_rng(3).standard_normal((60, 4))
CLASSES = (X @ [1.0, -1.0, 0.5, 0.0] + np.random.default_rng(4).logistic(size=60) > 0).astype(float)


def logistic(s):
    return 1 / (1 + np.exp(-s))


def u(p):
    """u(x, y) = x^2 + 2 y with x = r sin t and y = sin^2 t; p is (r, t)."""
    x, y = p[0] * np.sin(p[1]), np.sin(p[1]) ** 2
    return x**2 + 2 * y


def gradient_of_u(p):
    return np.array([2 * p[0] * np.sin(p[1]) ** 2, (p[0] ** 2 + 2) * np.sin(2 * p[1])])


@pytest.mark.parametrize("p", np.random.default_rng(5).uniform(-3, 3, (5, 2)))
def test_the_chain_rule(p):
    steps = [np.imag(u(p + 1e-30j * e)) / 1e-30 for e in np.eye(2)]
    np.testing.assert_allclose(gradient_of_u(p), steps, rtol=1e-13, atol=1e-13)
    assert fb.testing.check_gradient(u, p, jac=gradient_of_u) < 1e-13


def test_the_chain_rule_with_a_way_left_out():
    """du/dt without the way through y, the classical mistake."""
    with pytest.raises(AssertionError, match=r"differs at x\[1\]"):
        fb.testing.check_gradient(
            u, [1.5, 0.7], jac=lambda p: np.array([1, p[0] ** 2 / (p[0] ** 2 + 2)]) * gradient_of_u(p)
        )


def test_a_single_sigmoid_layer_is_logistic_regression():
    net = fb.MLP((4, 1), loss="cross_entropy", dtype="float64", seed=0)
    x = logistic(X @ net.weights[0] + net.biases[0])[:, 0]
    r = net.backward(X, CLASSES)
    assert r.loss == pytest.approx(-np.mean(CLASSES * np.log(x) + (1 - CLASSES) * np.log(1 - x)), rel=1e-13)
    np.testing.assert_allclose(r.deltas[0][:, 0], (x - CLASSES) / 60, rtol=1e-12)
    np.testing.assert_allclose(r.weight_grads[0][:, 0], X.T @ (x - CLASSES) / 60, rtol=1e-12)
    a = np.c_[X, np.ones(60)]
    hessian = np.array([net.hvp(X, CLASSES, v) for v in np.eye(5)])
    np.testing.assert_allclose(hessian, a.T @ (a * (x * (1 - x))[:, None]) / 60, rtol=1e-12, atol=1e-15)


def test_its_minimum_is_that_of_reweighted_least_squares():
    a, p = np.c_[X, np.ones(60)], np.zeros(5)
    for _ in range(12):
        x = logistic(a @ p)
        p += np.linalg.solve(a.T @ (a * (x * (1 - x))[:, None]), a.T @ (CLASSES - x))
    for seed in (0, 1):  # convex: from wherever it starts
        objective = fb.MLP((4, 1), loss="cross_entropy", seed=seed).objective(X, CLASSES)
        found = gradient_descent(objective.fun_and_jac, objective.x0, jac=True, step=2.0, tol=1e-11)
        assert found.success
        np.testing.assert_allclose(found.x, p, atol=1e-9)
        assert classify_stationary_point(found.x, jac=objective.jac, hessp=objective.hessp)[0] == "minimum"


def test_two_layers_by_hand(rng):
    y = rng.standard_normal((60, 2))
    net = fb.MLP((4, 5, 2), loss="squared_error", activation="logistic", dtype="float64", seed=1)
    (w1, w2), (b1, b2) = net.weights, net.biases
    x1 = logistic(X @ w1 + b1)
    x2 = x1 @ w2 + b2
    delta2 = (x2 - y) / 60
    delta1 = np.array([[sum(delta2[n] * w2[i]) * x1[n, i] * (1 - x1[n, i]) for i in range(5)] for n in range(60)])
    r = net.backward(X, y)
    assert r.loss == pytest.approx(0.5 * np.sum((x2 - y) ** 2) / 60, rel=1e-13)
    expected = {
        "deltas": [delta1, delta2], "weight_grads": [X.T @ delta1, x1.T @ delta2],
        "bias_grads": [delta1.sum(axis=0), delta2.sum(axis=0)], "input_grad": [delta1 @ w1.T],
    }  # fmt: skip
    for name, parts in expected.items():
        found = getattr(r, name)
        for mine, by_hand in zip([found] if name == "input_grad" else found, parts, strict=True):
            np.testing.assert_allclose(mine, by_hand, rtol=1e-11, atol=1e-14, err_msg=name)


def test_finite_differences_give_the_same():
    net = fb.MLP((4, 5, 1), loss="cross_entropy", activation="tanh", dtype="float64", seed=2)
    grad, p, h = net.value_and_grad(X, CLASSES)[1], net.params.copy(), 1e-6
    differences = np.empty_like(grad)
    for i in range(p.size):
        ends = []
        for sign in (1, -1):
            net.params = p
            net.params[i] += sign * h
            ends.append(net.value(X, CLASSES))
        differences[i] = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(grad, differences, atol=1e-9)


@pytest.mark.parametrize("kind, signs", [("minimum", [1, 1]), ("maximum", [-1, -1]), ("saddle", [1, -1])])
def test_the_three_kinds_of_stationary_points(kind, signs, rng):
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    hessian = turn @ np.diag([2.0, 3.0] * np.array(signs)) @ turn.T
    found, eigenvalues = classify_stationary_point([0.0, 0.0], jac=lambda x: hessian @ x, hess=hessian)
    assert found == kind
    np.testing.assert_allclose(eigenvalues, sorted([2.0, 3.0] * np.array(signs)))


def test_a_net_of_zeros_is_at_a_saddle(rng):
    objective = fb.MLP((4, 5, 1), loss="squared_error", activation="tanh", init="zeros").objective(
        X, CLASSES - CLASSES.mean()
    )
    assert classify_stationary_point(objective.x0, jac=objective.jac, hessp=objective.hessp)[0] == "saddle"
    moved = objective.x0 + 0.1 * rng.standard_normal(objective.x0.size)
    descent = gradient_descent(objective.fun_and_jac, moved, jac=True, maxiter=200)
    assert descent.fun < objective.fun(objective.x0)

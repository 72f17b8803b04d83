"""MLP.objective: float64 throughout, apart from the net, and in the hands of SciPy's optimisers."""

import numpy as np
import pytest
from scipy import optimize

import fastbp as fb

X, Y = np.random.default_rng(0).standard_normal((60, 4)).astype("f"), np.random.default_rng(1).integers(0, 3, 60)


def make(dtype="float32"):
    return fb.MLP((4, 6, 3), loss="cross_entropy", activation="tanh", seed=1, dtype=dtype, l2=0.01)


def test_it_is_float64_whatever_the_net_is(rng):
    net, c = make(), rng.random(60)
    before = net.params.copy()
    objective = net.objective(X, Y, c)
    twin = make("float64")
    twin.params = objective.x0
    value, grad = twin.value_and_grad(X, Y, c)
    assert objective.fun(objective.x0) == value
    np.testing.assert_array_equal(objective.jac(objective.x0), grad)
    both = objective.fun_and_jac(objective.x0)
    assert both[0] == value
    np.testing.assert_array_equal(both[1], grad)
    v = rng.standard_normal(grad.shape)
    np.testing.assert_array_equal(objective.hessp(objective.x0, v), twin.hvp(X, Y, v, c))
    np.testing.assert_array_equal(net.params, before)
    assert objective.x0.dtype == np.float64


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG", "trust-ncg", "trust-krylov"])
def test_scipy_minimises_it(method):
    objective = make().objective(X, Y)
    curvature = {} if method == "L-BFGS-B" else {"hessp": objective.hessp}
    found = optimize.minimize(objective.fun_and_jac, objective.x0, jac=True, method=method, **curvature)
    assert np.abs(objective.jac(found.x)).max() < 1e-3
    assert found.fun < 0.75 * objective.fun(objective.x0)


def test_what_does_not_fit_is_refused():
    net = make()
    with pytest.raises(ValueError, match=r"\[objective\] X has 3 columns"):
        net.objective(X[:, :3], Y)
    with pytest.raises(ValueError, match=r"\[fun\] p has shape \(3,\), expected \(51,\)"):
        net.objective(X, Y).fun(np.zeros(3))


def test_the_gauss_newton_product():
    net = fb.MLP((4, 6, 3), loss="cross_entropy", activation="tanh", seed=0, dtype="float64", l2=0.1)
    rng = np.random.default_rng(1)
    X, y, v = rng.standard_normal((20, 4)), rng.integers(0, 3, 20), rng.standard_normal(net.params.size)
    objective = net.objective(X, y)
    p = objective.x0 + 0.1
    net.params = p
    np.testing.assert_allclose(objective.gnvp(p, v), net.gnvp(X, y, v), rtol=1e-13)

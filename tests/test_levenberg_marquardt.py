"""levenberg_marquardt, against linear least squares, SciPy's, and the Jacobian written out."""

import numpy as np
import pytest
import scipy.optimize

import fastbp as fb
from fastbp.optimize import _levenberg_marquardt as module
from fastbp.optimize import levenberg_marquardt

X = np.random.default_rng(31).uniform(-1, 1, (150, 2))
Y = np.stack([np.sin(2 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)


def test_a_linear_net_is_solved_in_a_few_steps(rng):
    net = fb.MLP((2, 1), loss="squared_error", seed=0)
    y = X @ [1.5, -2.0] + 0.3 + 0.01 * rng.standard_normal(150)
    before = net.params.copy()
    found = levenberg_marquardt(net, X, y, tol=1e-13)
    exact = np.linalg.lstsq(np.c_[X, np.ones(150)], y, rcond=None)[0]
    np.testing.assert_allclose(found.x, exact, rtol=1e-9)
    assert found.success
    assert found.nit <= 8
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize("weights", [None, "rows", "outputs"])
def test_the_matrix_is_that_of_the_whole_jacobian(weights, monkeypatch, rng):
    net = fb.MLP((2, 6, 2), loss="squared_error", activation="tanh", seed=1, dtype="float64", l2=0.1)
    c = {None: None, "rows": rng.uniform(0, 2, 150), "outputs": rng.uniform(0, 2, (150, 2))}[weights]
    monkeypatch.setattr(module, "BLOCK_NUMBERS", 40 * 2 * net.params.size)  # four blocks
    matrix = module._LeastSquares(net, X, Y, c).gauss_newton_matrix(net.params)
    products = np.array([net.gnvp(X, Y, v, c) for v in np.eye(net.params.size)])
    np.testing.assert_allclose(matrix, products, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_where_scipy_does(seed, rng):
    net = fb.MLP((2, 4, 2), loss="squared_error", activation="tanh", seed=seed, dtype="float64", l2=1e-4)
    objective = net.objective(X, Y)
    other = scipy.optimize.minimize(
        objective.fun_and_jac, objective.x0, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}
    )
    net.params = other.x + 0.02 * rng.standard_normal(other.x.size)  # into the same valley
    steps = []
    found = levenberg_marquardt(net, X, Y, tol=1e-10, maxiter=500, callback=steps.append)
    assert found.success
    assert len(steps) == found.nit < other.nit
    np.testing.assert_array_equal(steps[-1], found.x)
    assert found.fun == pytest.approx(objective.fun(found.x), rel=1e-14)
    assert np.abs(objective.jac(found.x)).max() <= 1e-10
    assert found.fun == pytest.approx(other.fun, rel=1e-7)


def test_dead_units_and_too_many_parameters():
    net = fb.MLP((2, 30, 2), loss="squared_error", activation="tanh", seed=0, dtype="float64")
    net.biases[0][:10] = 400  # columns of zeros in J
    found = levenberg_marquardt(net, X[:20], Y[:20], tol=1e-11, maxiter=200)  # 152 parameters, 40 residuals
    assert found.fun < 1e-18
    np.testing.assert_array_equal(found.x[60:70], 400)


def test_why_it_ends():
    net = fb.MLP((2, 3, 2), loss="squared_error", activation="tanh", seed=0)
    found = levenberg_marquardt(net, X, Y, maxiter=2)
    assert (found.nit, found.success, found.status) == (2, False, 1)

    def stop(x):
        raise StopIteration

    assert levenberg_marquardt(net, X, Y, callback=stop).message == "the callback stopped it"
    spoilt = Y.copy()
    spoilt[0, 0] = np.nan
    assert levenberg_marquardt(net, X, spoilt).message == "the value or its gradient is not finite"


def test_bad_input():
    with pytest.raises(ValueError, match=r"the net's loss is 'cross_entropy', expected 'squared_error'"):
        levenberg_marquardt(fb.MLP((2, 2), loss="cross_entropy"), X, np.zeros(150, int))
    with pytest.raises(ValueError, match=r"l1 is 0\.1, expected 0"):
        levenberg_marquardt(fb.MLP((2, 2), loss="squared_error", l1=0.1), X, Y)
    with pytest.raises(TypeError, match=r"net is function, expected an fb\.MLP"):
        levenberg_marquardt(lambda x: x, X, Y)
    net = fb.MLP((2, 2), loss="squared_error")
    with pytest.raises(ValueError, match=r"\[levenberg_marquardt\] damping is 0, expected a finite number > 0"):
        levenberg_marquardt(net, X, Y, damping=0)
    with pytest.raises(ValueError, match=r"\[levenberg_marquardt\].*y"):
        levenberg_marquardt(net, X, Y[:3])

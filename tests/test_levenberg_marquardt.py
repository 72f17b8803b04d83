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
    assert levenberg_marquardt(net, X, spoilt).message == "the value or its gradient is not finite: y[0, 0] is nan"


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


UNITS = 10.0 ** np.arange(-12, 13, 3)
LINE = np.linspace(-1, 1, 60)[:, None]


def small_net(seed=0, hidden=3, **options):
    return fb.MLP((1, hidden, 1), loss="squared_error", activation="tanh", seed=seed, dtype="float64", **options)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_does_not_depend_on_the_unit_of_y(seed):
    """Relative errors against SciPy's least squares at unit 1."""
    noise = np.random.default_rng(7).standard_normal(LINE.shape)
    net, y = small_net(seed, hidden=1), np.sin(3 * LINE) + 0.2 * noise

    def residuals(p):
        net.params = p
        return (net.forward(LINE) - y).ravel()

    start = net.params.copy()
    best = scipy.optimize.least_squares(residuals, start, jac="3-point", x_scale="jac", max_nfev=1000)
    net.params = start
    errors, successes = [], []
    for unit in UNITS:
        found = levenberg_marquardt(net, LINE, unit * y, maxiter=200)
        errors.append(np.sqrt(2 * found.fun) / unit)
        successes.append(found.success)
    assert all(successes)
    np.testing.assert_allclose(errors, np.sqrt(np.mean(best.fun**2)), rtol=1e-8)


@pytest.mark.parametrize("unit", UNITS)
def test_small_and_large_targets_are_not_called_solved_early(unit):
    X100 = np.linspace(-1, 1, 100)[:, None]
    found = levenberg_marquardt(small_net(hidden=10), X100, unit * np.sin(3 * X100))
    assert np.sqrt(2 * found.fun) < 0.02 * unit
    linear = fb.MLP((2, 1), loss="squared_error", seed=0)
    y = unit * (X @ [1.5, -2.0] + 0.3) + 0.1 * unit * X[:, 0] * X[:, 1]
    exact = np.linalg.lstsq(np.c_[X, np.ones(150)], y, rcond=None)[0]
    found = levenberg_marquardt(linear, X, y)
    assert found.success
    np.testing.assert_allclose(found.x, exact, rtol=1e-6)


def test_the_unit_of_an_input_does_not_matter():
    net = fb.MLP((2, 1), loss="squared_error", seed=0, dtype="float64")
    for unit in (1e-9, 1.0, 1e9):
        inputs = X * [1.0, unit]
        found = levenberg_marquardt(net, inputs, Y[:, 0])
        exact = np.linalg.lstsq(np.c_[inputs / [1, unit], np.ones(150)], Y[:, 0], rcond=None)[0]
        assert found.success
        np.testing.assert_allclose(found.x * [1, unit, 1], exact, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unit", UNITS)
def test_a_saddle_point_is_no_success(unit):
    y = LINE - LINE.mean() + LINE**3
    for start, steps in ((y - y.mean(), 0), (y + 5.0, None)):  # the gradient is 0 at once, or when the mean is fitted
        net = small_net(init="zeros")
        found = levenberg_marquardt(net, LINE, unit * start)
        objective = net.objective(LINE, unit * start)
        low = np.linalg.eigvalsh(np.array([objective.hessp(found.x, v) for v in np.eye(10)]))[0]
        assert low < 0
        assert (found.success, found.status) == (False, 5)
        assert "saddle point" in found.message
        assert steps is None or found.nit == steps


def test_a_kink_is_named():
    """A search that cannot leave the corner of a relu unit, and one that cannot leave a smooth point."""
    for activation, reason in (("relu", ": the value has a kink there"), ("tanh", "")):
        net = fb.MLP((1, 1, 1), activation=activation, loss="squared_error", dtype="float64")
        net.params = [1.0, 0.0, -1.0, 0.0]  # the summed input of the hidden unit is 0 in the only row
        problem = module._LeastSquares(net, np.zeros((1, 1)), np.array([[-1.0]]), None)
        grad = np.array([0.0, -1.0, 0.0, 0.0])
        assert module._stalled(problem, net.params.copy(), 0.5, grad, 1.0) == (4, module.NO_STEP + reason)


def test_targets_that_are_constant_zero_or_too_small():
    found = levenberg_marquardt(small_net(), LINE, np.full((60, 1), 5.0))
    assert found.success
    assert found.fun < 1e-13
    assert levenberg_marquardt(small_net(), LINE, np.zeros((60, 1)), maxiter=1000).success
    with pytest.raises(ValueError, match=r"\[levenberg_marquardt\] the largest magnitude in y is 1e-160, .*: scale y"):
        levenberg_marquardt(small_net(), LINE, np.full((60, 1), 1e-160))


def test_saddle_points_of_nets_with_many_parameters():
    """Lanczos' method finds the negative eigenvalue."""
    wide = small_net(hidden=80)
    assert wide.params.size > module.DENSE
    assert levenberg_marquardt(wide, LINE, np.sin(3 * LINE), tol=1e-3, maxiter=50).success
    zeros = small_net(hidden=80, init="zeros")
    found = levenberg_marquardt(zeros, LINE, np.sin(3 * LINE))
    assert (found.success, found.status) == (False, 5)


def test_rows_of_weight_zero_change_nothing():
    weight, inputs, y = np.ones(60), LINE.copy(), np.sin(3 * LINE)
    weight[[3, 50]] = 0
    inputs[3], y[3], y[50] = np.nan, np.inf, 1e30
    found = levenberg_marquardt(small_net(), inputs, y, sample_weight=weight)
    kept = weight > 0
    expected = levenberg_marquardt(small_net(), LINE[kept], np.sin(3 * LINE[kept]))
    assert found.nit == expected.nit
    assert found.fun == pytest.approx(expected.fun, rel=1e-4)

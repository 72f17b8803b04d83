"""Gradient descent and the lecture's notions around it, against results known by hand and SciPy."""

import numpy as np
import pytest
import scipy.optimize
from helpers import require

import fastbp as fb
from fastbp import optimize

A = np.array([[3.0, 1.0], [1.0, 2.0]])
B = np.array([1.0, -1.0])


def quadratic(x):
    return 0.5 * x @ A @ x - B @ x, A @ x - B


def rosenbrock(x):
    value = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    return value, np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)])


@pytest.mark.parametrize("step", [0.25, "armijo", "wolfe", lambda k: 0.4 / (1 + 0.01 * k)])
def test_a_quadratic(step):
    found = optimize.gradient_descent(quadratic, [4.0, 4.0], jac=True, step=step, tol=1e-7)
    assert found.success
    np.testing.assert_allclose(found.x, np.linalg.solve(A, B), atol=1e-7)
    assert len(found.path) == found.nit + 1
    np.testing.assert_array_equal(found.path[0], [4, 4])
    assert found.njev == found.nit + 1 or step == "wolfe"


def test_the_path_is_the_lectures():
    found = optimize.gradient_descent(lambda x: x[0] ** 2, [1.0], jac=lambda x: 2 * x, step=0.1, maxiter=5)
    np.testing.assert_allclose(found.path[:, 0], 0.8 ** np.arange(6), rtol=1e-14)
    assert not found.success
    assert found.message == "the number of steps is used up"


def test_too_long_steps_are_told_from_success():
    with np.errstate(over="ignore", invalid="ignore"):
        found = optimize.gradient_descent(quadratic, [4.0, 4.0], jac=True, step=2.0, maxiter=10_000)
    assert not found.success
    assert "not finite" in found.message


def test_every_armijo_step_makes_the_value_smaller():
    found = optimize.gradient_descent(rosenbrock, [-1.2, 1.0], jac=True, maxiter=300)
    values = [rosenbrock(x)[0] for x in found.path]
    assert (np.diff(values) < 0).all()


def test_armijo_ends_where_rounding_hides_the_slope():
    found = optimize.gradient_descent(
        lambda x: 1000 + quadratic(x)[0], [4.0, 4.0], jac=lambda x: quadratic(x)[1], tol=1e-14
    )
    assert found.message == "no step along the gradient makes the value smaller"
    assert found.nfev < 300
    np.testing.assert_allclose(found.x, np.linalg.solve(A, B), atol=1e-5)


def test_as_a_method_of_scipy():
    seen = []
    found = scipy.optimize.minimize(
        rosenbrock, [-1.2, 1.0], jac=True, method=optimize.gradient_descent, tol=1e-4, callback=seen.append,
        options={"maxiter": 50_000, "step": "wolfe"},
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.x, [1, 1], atol=1e-3)
    assert len(seen) == found.nit


def test_a_callback_ends_it():
    def stop(x):
        raise StopIteration

    found = optimize.gradient_descent(quadratic, [4.0, 4.0], jac=True, callback=stop)
    assert found.nit == 1
    assert found.message == "the callback stopped it"


def test_directions():
    np.testing.assert_allclose(optimize.steepest_descent_direction([0.0, -2.0]), [0, 1])
    np.testing.assert_array_equal(optimize.steepest_descent_direction([0.0, 0.0]), [0, 0])
    assert optimize.is_descent_direction([1, 1], [-1, -1]) == (True, -2.0)
    assert optimize.is_descent_direction([1, -1], [1, 1]) == (False, 0.0)


@pytest.mark.parametrize(
    "hessian, kind",
    [([2, 1], "minimum"), ([-2, -1], "maximum"), ([2, -1], "saddle"), ([2, 0], "degenerate"), ([0, -3], "degenerate")],
)
def test_stationary_points(hessian, kind):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0]
    matrix = rotation @ np.diag(hessian) @ rotation.T
    for given in ({"hess": matrix}, {"hess": lambda x: matrix}, {"hessp": lambda x, v: matrix @ v}):
        found, extremes = optimize.classify_stationary_point([0.0, 0.0], **given)
        assert found == kind
        np.testing.assert_allclose(extremes, (min(hessian), max(hessian)), atol=1e-12)


def test_many_variables_by_lanczos():
    eigenvalues = np.linspace(-1, 5, 200)
    assert optimize.classify_stationary_point(np.zeros(200), hessp=lambda x, v: eigenvalues * v)[0] == "saddle"
    _, extremes = optimize.classify_stationary_point(np.zeros(200), hessp=lambda x, v: eigenvalues * v)
    np.testing.assert_allclose(extremes, (-1, 5), rtol=1e-6)


def test_a_trained_net_stands_at_a_minimum():
    rng = np.random.default_rng(1)
    net = fb.MLP((2, 3, 1), loss="squared_error", activation="tanh", seed=0, l2=0.1)
    objective = net.objective(rng.standard_normal((30, 2)), rng.standard_normal(30))
    found = scipy.optimize.minimize(objective.fun_and_jac, objective.x0, jac=True, method="BFGS")
    kind = optimize.classify_stationary_point(found.x, jac=objective.jac, hessp=objective.hessp)[0]
    assert kind in ("minimum", "degenerate")


def test_convexity():
    x, y, a = optimize.check_convexity(lambda x: np.cos(x[0]), lambda rng: rng.uniform(-1, 1, 1))
    assert np.cos(a * x[0] + (1 - a) * y[0]) > a * np.cos(x[0]) + (1 - a) * np.cos(y[0])
    rng = np.random.default_rng(2)
    single = fb.MLP((3, 1), loss="cross_entropy", seed=0).objective(rng.standard_normal((20, 3)), rng.random(20) < 0.5)
    assert optimize.check_convexity(single.fun, lambda rng: 3 * rng.standard_normal(4)) is None
    deep = fb.MLP((3, 4, 1), loss="cross_entropy", activation="tanh", seed=0)
    objective = deep.objective(rng.standard_normal((20, 3)), rng.random(20) < 0.5)
    assert optimize.check_convexity(objective.fun, lambda rng: 3 * rng.standard_normal(21)) is not None


def test_bad_input():
    with pytest.raises(TypeError, match="jac is None, expected the gradient"):
        optimize.gradient_descent(lambda x: 0.0, [1.0])
    with pytest.raises(ValueError, match="step is 'newton'"):
        optimize.gradient_descent(quadratic, [1.0, 1.0], jac=True, step="newton")
    with pytest.raises(ValueError, match=r"hess has shape \(1, 2\), expected \(2, 2\)"):
        optimize.classify_stationary_point([0.0, 0.0], hess=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="the gradient at x has length"):
        optimize.classify_stationary_point([1.0], jac=lambda x: [9.0], hess=[[1.0]])


def test_bounds_are_refused():
    for refused in ({"bounds": [(0, 1)]}, {"constraints": [{"type": "eq", "fun": sum}]}):
        with pytest.raises(ValueError, match=r"\[gradient_descent\] bounds and constraints are not empty"):
            scipy.optimize.minimize(
                lambda x: x @ x, [1.0], jac=lambda x: 2 * x, method=optimize.gradient_descent, **refused
            )


@pytest.mark.frameworks
def test_contours():
    require("matplotlib").use("Agg")
    path = optimize.gradient_descent(quadratic, [1.0, 1.0], jac=True, step=0.2, maxiter=5).path
    ax = optimize.plot_contours(quadratic, (-1, 2), (-2, 2), jac=True, path=path, points=21)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), path)
    assert ax.get_xlim() == (-1, 2)
    with pytest.raises(ValueError, match=r"\[plot_contours\] path has shape \(3,\), expected \(k, 2\)"):
        optimize.plot_contours(lambda x: 0.0, (0, 1), (0, 1), path=[1, 2, 3])
    require("matplotlib.pyplot").close("all")


@pytest.mark.parametrize("step", [0, -0.1, np.nan, np.inf])
def test_steps_are_checked(step):
    with pytest.raises(ValueError, match=r"\[gradient_descent\] step is .*, expected a finite number > 0"):
        optimize.gradient_descent(quadratic, [1.0, 1.0], jac=True, step=step)


def test_the_callers_arrays_are_copied():
    buffer = np.zeros(2)

    def jac(x):
        np.copyto(buffer, 4 * x**3 + 2 * x)
        return buffer

    found = optimize.gradient_descent(lambda x: (x**4).sum() + x @ x, [1.0, 2.0], jac=jac, step="wolfe")
    np.testing.assert_allclose(found.x, 0, atol=1e-6)
    plain = optimize.gradient_descent(quadratic, [1.0, 1.0], jac=True, step=0.1, maxiter=5)
    spoil = lambda x: x.fill(9)  # noqa: E731
    spoilt = optimize.gradient_descent(quadratic, [1.0, 1.0], jac=True, step=0.1, maxiter=5, callback=spoil)
    np.testing.assert_array_equal(spoilt.path, plain.path)


UNITS = 10.0 ** np.arange(-12, 13, 4)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("step", ["fixed", "armijo", "wolfe"])
def test_descent_does_not_depend_on_the_unit_of_the_function(step, unit):
    """Solved means solved, relative to the distance of the start; large units are solved by every rule."""
    scaled = lambda x: (unit * quadratic(x)[0], unit * quadratic(x)[1])  # noqa: E731
    exact = np.linalg.solve(A, B)
    found = optimize.gradient_descent(scaled, [4.0, 4.0], jac=True, step=0.25 / unit if step == "fixed" else step)
    if step == "fixed" or unit >= 1:
        assert found.success
    assert (found.status == 0) == found.success
    assert not found.success or np.linalg.norm(found.x - exact) <= 1e-6 * np.linalg.norm(exact - 4)
    for size in (1e-9, 1e9):  # of x
        moved = optimize.gradient_descent(
            lambda x, s=size: (scaled(x / s)[0], scaled(x / s)[1] / s), np.array([4.0, 4.0]) * size, jac=True,
            step=0.25 / unit * size**2,
        )  # fmt: skip
        assert moved.success
        np.testing.assert_allclose(moved.x / size, exact, atol=1e-5)


FLAT = "f is constant around x0"
SADDLE = "x is a saddle point or a maximum"
KINK = "f has a kink at x"
ENDS = {
    "maximum": (lambda x: (-x @ x, -2 * x), [0.0, 0.0], {}, 5, SADDLE),
    "fast maximum": (lambda x: (np.cos(1e9 * x[0]), -1e9 * np.sin(1e9 * x)), [0.0], {}, 5, SADDLE),
    "saddle": (lambda x: (x[0] * x[1], x[::-1]), [0.0, 0.0], {}, 5, SADDLE),
    "saddle after steps": (lambda x: (x[0] ** 2 - x[1] ** 2, np.array([2, -2]) * x), [1.0, 0.0], {}, 5, SADDLE),
    "inflection": (lambda x: (x[0] ** 3, 3 * x**2), [0.0], {}, 5, SADDLE),
    "flat": (lambda x: (3.0, 0 * x), [1.0], {}, 5, FLAT),
    "minimum": (lambda x: (x @ x, 2 * x), [0.0, 0.0], {}, 0, "the gradient is 0 at x0"),
    "tiny minimum": (lambda x: (1e-30 * x @ x, 2e-30 * x), [0.0, 0.0], {}, 0, "the gradient is 0 at x0"),
    "minimum at a kink": (lambda x: (np.abs(x).sum(), np.sign(x)), [0.0, 0.0], {}, 0, "the gradient is 0 at x0"),
    "maximum at a kink": (lambda x: (-np.abs(x).sum(), -np.sign(x)), [0.0, 0.0], {}, 5, SADDLE),
    "kink at the start": (lambda x: (np.abs(x).sum(), np.where(x < 0, -1.0, 1.0)), [0.0, 0.0], {}, 4, KINK),
    "kink": (lambda x: (abs(x[0]) + 0.5 * x[0], np.sign(x) + 0.5), [1.3], {}, 4, KINK),
    "kink, fixed steps": (lambda x: (np.abs(x).sum(), np.sign(x)), [1.3, 0.7], {"step": 0.1}, 1, KINK),
    "wrong gradient": (lambda x: (x @ x, -2 * x), [1.0, 2.0], {}, 4, "makes the value smaller"),
    "no minimum": (lambda x: (-x.sum(), -np.ones(2)), [1.0, 2.0], {"maxiter": 20}, 1, "used up"),
    "nan": (lambda x: (np.nan, x), [1.0], {}, 6, "not finite"),
}


@pytest.mark.parametrize("name", ENDS)
def test_how_a_descent_ends(name):
    fun, x0, options, status, words = ENDS[name]
    found = optimize.gradient_descent(fun, x0, jac=True, **options)
    assert (found.status, found.success) == (status, status == 0), found.message
    assert words in found.message
    assert ("kink" in found.message) == (words == KINK)


@pytest.mark.parametrize("activation, loss", [("relu", "absolute_error"), ("tanh", "absolute_error")])
def test_a_net_with_kinks_ends_at_a_kink(activation, loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    net = fb.MLP((3, 6, 1), loss=loss, activation=activation, seed=0, dtype="float64")
    objective = net.objective(X, np.abs(X[:, 0]) - X[:, 1])
    found = optimize.gradient_descent(objective.fun_and_jac, objective.x0, jac=True, step="wolfe", maxiter=3000)
    assert not found.success
    assert KINK in found.message


def test_a_net_of_dead_units_is_not_solved():
    net = fb.MLP((2, 3, 1), loss="squared_error", activation="relu", output_activation="relu", seed=0)
    net.biases[1][:] = -100
    objective = net.objective(np.eye(2), [1.0, 2.0])
    found = optimize.gradient_descent(objective.fun_and_jac, objective.x0, jac=True)
    assert not found.success
    assert FLAT in found.message


def test_directions_in_any_unit():
    for unit in (1e-300, 1e-200, 1.0, 1e200, 1e300):
        np.testing.assert_allclose(optimize.steepest_descent_direction([3 * unit, 4 * unit]), [-0.6, -0.8])
        assert optimize.is_descent_direction([unit, 0.0], [-unit, 1.0])[0]
        assert not optimize.is_descent_direction([unit, unit], [-unit, unit])[0]
    v, g = np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.3, -0.3])
    assert optimize.is_descent_direction(v, g)[0] == (np.vdot(v, g) < -1e-16)  # 0 but for rounding


@pytest.mark.parametrize("unit", UNITS)
def test_stationary_points_and_convexity_in_any_unit(unit):
    for hessian, kind in ((A, "minimum"), (-A, "maximum"), (np.diag([1.0, -2.0]), "saddle")):
        given = {"hess": unit * hessian, "jac": lambda x, h=hessian: unit * h @ x}
        assert optimize.classify_stationary_point([0.0, 0.0], **given).kind == kind
        for x in ([0.1, 0.0], [0.5, -0.3]):
            with pytest.raises(ValueError, match="the gradient at x has length"):
                optimize.classify_stationary_point(x, **given)
    cube = lambda rng: rng.uniform(-1, 1, 2)  # noqa: E731
    assert optimize.check_convexity(lambda x: unit * quadratic(x)[0], cube) is None
    x, y, a = optimize.check_convexity(lambda x: -unit * quadratic(x)[0], cube)
    between = a * x + (1 - a) * y
    assert quadratic(between)[0] < a * quadratic(x)[0] + (1 - a) * quadratic(y)[0]


@pytest.mark.parametrize("unit", UNITS)
def test_a_kink_is_a_kind_of_stationary_point(unit):
    zeros = np.zeros((2, 2))
    for jac in (np.sign, lambda x: np.where(x < 0, -1.0, 1.0), lambda x: np.array([np.sign(x[0]), x[1]])):
        for point in ([0.0, 0.0], [0.0, 1.0])[: 2 if jac is not np.sign else 1]:
            found = optimize.classify_stationary_point(point, jac=lambda x, j=jac: unit * j(x), hess=zeros)
            assert found.kind == "kink"
    smooth = optimize.classify_stationary_point([0.0], jac=lambda x: unit * np.tanh(1e4 * x), hess=[[1e4 * unit]])
    assert smooth.kind == "minimum"  # steep, not a kink
    flat = optimize.classify_stationary_point([0.0], jac=lambda x: 4 * unit * x**3, hess=[[0.0]])
    assert flat.kind == "degenerate"


def test_a_relu_net_at_the_corner_of_a_unit():
    net = fb.MLP((1, 1, 1), activation="relu", loss="squared_error", dtype="float64")
    net.params = [1.0, 0.0, 1.0, 0.0]
    for y, kind in ((-1.0, "kink"), (0.0, "degenerate")):  # at an output of 0 the slopes of both sides are 0
        objective = net.objective(np.zeros((1, 1)), [y])
        grad = lambda p, o=objective, y=y: o.jac(p) * [1, 1, 1, y == 0]  # noqa: E731  # b(2) is held
        assert optimize.classify_stationary_point(objective.x0, jac=grad, hess=np.diag([0.0, 0, 0, 1])).kind == kind
    objective = fb.MLP((1, 1, 1), activation="relu", loss="absolute_error", init="zeros").objective([[1.0]], [0.0])
    assert optimize.classify_stationary_point(objective.x0, jac=objective.jac, hess=np.zeros((4, 4))).kind == "kink"

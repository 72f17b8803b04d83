"""taylor_test: the orders of right derivatives, and wrong ones caught."""

import numpy as np
import pytest
from helpers import require

import fastbp as fb

NET = fb.MLP((5, 8, 7, 3), loss="cross_entropy", activation="tanh", dtype="float64", seed=2, l2=0.05)
X = np.random.default_rng(1).standard_normal((30, 5))
OBJECTIVE = NET.objective(X, np.random.default_rng(2).integers(0, 3, 30))
X0 = OBJECTIVE.x0 + 0.3 * np.random.default_rng(3).standard_normal(OBJECTIVE.x0.shape)


@pytest.mark.parametrize("seed", range(5))
def test_orders(seed):
    found = fb.testing.taylor_test(OBJECTIVE.fun_and_jac, X0, jac=True, hessp=OBJECTIVE.hessp, seed=seed)
    assert 1.95 <= found.orders["gradient"] <= 2.05
    assert 2.9 <= found.orders["hessian"] <= 3.1


def planted(kind, layer):
    """The derivative with one mistake in one layer's weights."""
    first = [5 * 8 + 8, 8 * 7 + 7, 7 * 3 + 3]
    begin = sum(first[:layer])
    part = slice(begin, begin + first[layer])

    def spoil(g):
        g = np.array(g)
        if kind == "factor":
            g[part] *= 2
        elif kind == "missing":
            g[part] = 0
        else:
            g[part] *= -1
        return g

    return spoil


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("kind", ["factor", "missing", "sign"])
def test_mistakes_are_caught(kind, layer):
    spoil = planted(kind, layer)
    with pytest.raises(AssertionError, match="with the gradient the remainder falls as h") as caught:
        fb.testing.taylor_test(OBJECTIVE.fun, X0, jac=lambda p: spoil(OBJECTIVE.jac(p)))
    assert 0.9 < caught.value.taylor.orders["gradient"] < 1.1
    with pytest.raises(AssertionError, match="with the hessian the remainder falls as h"):
        fb.testing.taylor_test(
            OBJECTIVE.fun, X0, jac=OBJECTIVE.jac, hessp=lambda p, v: spoil(OBJECTIVE.hessp(p, v))
        )


def test_a_function_that_is_its_own_polynomial_has_no_order():
    found = fb.testing.taylor_test(lambda x: 3 * x[0], [1.0], jac=lambda x: [3.0])
    assert np.isnan(found.orders["gradient"])
    assert found.orders["value"] == pytest.approx(1)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"the gradient has shape \(1,\), expected \(2,\)"):
        fb.testing.taylor_test(lambda x: x.sum(), [1.0, 2.0], jac=lambda x: [1.0])


@pytest.mark.frameworks
def test_plot():
    require("matplotlib").use("Agg")
    axes = fb.testing.taylor_test(OBJECTIVE.fun_and_jac, X0, jac=True).plot()
    assert [line.get_label().split(":")[0] for line in axes.get_lines()] == ["value", "gradient"]
    require("matplotlib.pyplot").close("all")


def kinked(x):
    return np.abs(x).sum() + x @ x


@pytest.mark.parametrize("jac", [np.sign, lambda x: np.where(x < 0, -1.0, 1.0)])
@pytest.mark.parametrize("at", [0.0, 1e-9, 1e-3])
def test_a_kink_is_told_from_a_wrong_gradient(jac, at):
    """At a kink of abs, or so close that the steps which count reach beyond it."""
    sharp = lambda x: np.abs(x).sum()  # noqa: E731
    with pytest.raises(AssertionError, match=r"remainder falls as h\^.*: the function has a kink at x") as caught:
        fb.testing.taylor_test(sharp, [at, 1.0], jac=jac, direction=[-1.0, 0.0])
    assert caught.value.taylor.orders["gradient"] < 1.9
    assert fb.testing.taylor_test(kinked, [0.1, 1.0], jac=lambda x: jac(x) + 2 * x).orders["gradient"] > 1.9
    with pytest.raises(AssertionError, match="the gradient is not that of the function"):
        fb.testing.taylor_test(kinked, [0.1, 1.0], jac=lambda x: jac(x) + 2.01 * x)


@pytest.mark.parametrize("inside", [np.less, np.less_equal])
def test_a_kink_of_the_slope_is_told_from_a_wrong_hessian(inside):
    """Huber's function where its parabola meets its line."""
    fun = lambda x: np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5).sum()  # noqa: E731
    options = {"jac": lambda x: np.clip(x, -1, 1), "direction": [1.0 if inside is np.less_equal else -1.0, 0.0]}
    given = lambda x, v: v * inside(np.abs(x), 1)  # noqa: E731
    with pytest.raises(AssertionError, match="the slope of the function has a kink at x"):
        fb.testing.taylor_test(fun, [1.0, 0.3], hessp=given, **options)
    with pytest.raises(AssertionError, match="the hessian is not that of the function"):
        fb.testing.taylor_test(kinked, [0.1, 1.0], jac=lambda x: np.sign(x) + 2 * x, hessp=lambda x, v: 2.2 * v)

"""check_gradient of anyone's function and check_adjoint: right ones pass, each planted mistake is caught."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.testing import check_adjoint, check_gradient
from fastbp.testing._slopes import ComplexSteps, Differences

SIZES = (5, 8, 7, 3)
NET = fb.MLP(SIZES, loss="cross_entropy", activation="tanh", dtype="float64", seed=2, l2=0.05)
X = np.random.default_rng(21).standard_normal((30, 5))
OBJECTIVE = NET.objective(X, np.random.default_rng(22).integers(0, 3, 30))


def wave(x):
    return np.sum(np.sin(x) * np.exp(-0.1 * x))


def slope_of_wave(x):
    return (np.cos(x) - 0.1 * np.sin(x)) * np.exp(-0.1 * x)


def chosen(fun, x):
    return type(ComplexSteps.where_allowed(fun, Differences(fun, np.asarray(x, dtype=float)))).__name__


def test_complex_steps_where_they_are_allowed():
    assert chosen(wave, [0.3, 2.0]) == "ComplexSteps"
    assert chosen(lambda x: float(np.sum(x**2)), [0.3, 2.0]) == "Differences"  # takes no complex numbers
    assert chosen(lambda x: np.abs(x).sum(), [0.3, 2.0]) == "Differences"  # takes them, and drops a part
    assert chosen(lambda x: np.vdot(x, x).real, [0.3, 2.0]) == "Differences"
    assert chosen(lambda x: np.asarray(x, dtype=float).sum(), [0.3]) == "Differences"  # with a warning only


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (3000,)])
def test_right_gradients_pass(shape, rng):
    x = rng.uniform(-2, 2, shape)
    assert check_gradient(wave, x, jac=slope_of_wave) < 1e-12
    assert check_gradient(lambda x: (wave(x), slope_of_wave(x)), x, jac=True) < 1e-12
    assert check_gradient(lambda x: float(wave(x)), x, jac=slope_of_wave) < 1e-7
    single = check_gradient(wave, x, jac=lambda x: slope_of_wave(x).astype(np.float32))
    assert 0 < single < 1e-6
    assert check_gradient(lambda x: np.abs(x - 5).sum(), x, jac=lambda x: np.sign(x - 5)) < 1e-6


def test_a_small_mistake_is_found_and_named(rng):
    x = rng.uniform(-2, 2, (2, 3))

    def spoilt(x, by):
        g = slope_of_wave(x)
        g[1, 2] += by
        return g

    with pytest.raises(AssertionError, match=r"differs at x\[1, 2\]: gradient .*, complex step"):
        check_gradient(wave, x, jac=lambda x: spoilt(x, 1e-8))
    with pytest.raises(AssertionError, match=r"differs at x\[1, 2\]: gradient .*, differences"):
        check_gradient(lambda x: float(wave(x)), x, jac=lambda x: spoilt(x, 1e-4))
    with pytest.raises(AssertionError, match=r"the gradient is nan at x\[1, 2\]"):
        check_gradient(wave, x, jac=lambda x: spoilt(x, np.nan))


def mistakes(g, layer):
    """The flat gradient g with each of three mistakes in one layer."""
    counts = [(a + 1) * b for a, b in zip(SIZES, SIZES[1:], strict=False)]
    begin = sum(counts[:layer])
    for factor in (2.0, 0.0, -1.0):
        spoilt = np.array(g)
        spoilt[begin : begin + counts[layer]] *= factor
        yield spoilt


@pytest.mark.parametrize("layer", range(3))
def test_mistakes_in_one_layer_are_caught(layer, rng):
    p = OBJECTIVE.x0
    assert check_gradient(OBJECTIVE.fun, p, jac=OBJECTIVE.jac) < 1e-6
    for spoilt in mistakes(OBJECTIVE.jac(p), layer):
        with pytest.raises(AssertionError, match="differs at x"):
            check_gradient(OBJECTIVE.fun, p, jac=lambda p, g=spoilt: g)
    c = rng.standard_normal((30, 3))
    pullback = NET.vjp(X)[1]
    transposed = pullback(c)[0]
    assert check_adjoint(lambda v: NET.jvp(X, v), lambda c: pullback(c)[0], NET.params.size, c.shape) < 1e-14
    for k, spoilt in enumerate(mistakes(np.ones_like(transposed), layer)):
        wrong = lambda c, s=spoilt: s * pullback(c)[0]  # noqa: E731
        with pytest.raises(AssertionError, match=r"\[check_adjoint\] c . jvp\(v\) = "):
            check_adjoint(lambda v: NET.jvp(X, v), wrong, NET.params.size, (30, 3), seed=k)


def test_adjoints_of_inputs_and_of_symmetric_products(rng):
    pullback = NET.vjp(X)[1]
    assert check_adjoint(lambda u: NET.jvp(X, u=u), lambda c: pullback(c)[1], X.shape, (30, 3)) < 1e-14
    p = OBJECTIVE.x0
    product = lambda v: OBJECTIVE.hessp(p, v)  # noqa: E731
    assert check_adjoint(product, product, p.shape, p.shape) < 1e-13  # a Hessian is its own transpose
    single = fb.MLP((4, 6, 2), activation="tanh", seed=0)
    rows = rng.standard_normal((9, 4))
    back = single.vjp(rows)[1]
    error = check_adjoint(lambda v: single.jvp(rows, v), lambda c: back(c)[0], single.params.size, (9, 2))
    assert 0 < error < 1e-6


def test_bad_input():
    with pytest.raises(TypeError, match=r"\[check_gradient\] jac is None, expected the gradient as"):
        check_gradient(wave, [1.0])
    with pytest.raises(ValueError, match=r"the gradient has shape \(1,\), expected \(2,\), as x"):
        check_gradient(wave, [1.0, 2.0], jac=lambda x: x[:1])
    with pytest.raises(TypeError, match="y, sample_weight and grad belong to a net"):
        check_gradient(wave, [1.0], [2.0], jac=slope_of_wave)
    with pytest.raises(TypeError, match="jac is given with a net"):
        check_gradient(NET, X, np.zeros(30, int), jac=slope_of_wave)
    with pytest.raises(TypeError, match=r"fun is int, expected an fb\.MLP or a function"):
        check_gradient(3, [1.0], jac=slope_of_wave)
    with pytest.raises(ValueError, match=r"\[check_adjoint\] jvp\(v\) has shape \(3,\), expected \(2,\)"):
        check_adjoint(lambda v: v, lambda c: c, 3, 2)


def test_functions_may_write_what_they_get():
    def doubled(x):
        x *= 2
        return (x**2).sum()

    assert check_gradient(doubled, [1.0, 2.0], jac=lambda x: 8 * x) < 1e-12
    fb.testing.taylor_test(doubled, [1.0, 2.0], jac=lambda x: x.__imul__(8), hessp=lambda x, v: v.__imul__(8))
    with pytest.raises(AssertionError, match=r"c . jvp\(v\) ="):
        check_adjoint(lambda v: v.__imul__(2), lambda c: c.__imul__(3), 3, 3)


def test_what_is_not_real_or_not_finite_does_not_pass():
    x = np.array([1.0, 2.0])
    with pytest.raises(TypeError, match="the gradient has dtype complex128, expected real numbers"):
        check_gradient(wave, x, jac=lambda x: slope_of_wave(x) + 5j)
    with pytest.raises(ValueError, match=r"x has shape \(0,\), expected at least one number"):
        check_gradient(wave, [], jac=slope_of_wave)
    with pytest.raises(TypeError, match=r"jvp\(v\) has dtype complex128"):
        check_adjoint(lambda v: 1j * v, lambda c: 1j * c, 3, 3)
    with pytest.raises(AssertionError, match="too large, or not finite"):
        check_adjoint(lambda v: 1e200 * v, lambda c: -1e200 * c, 3, 3)
    with pytest.raises(ValueError, match="trials is 0, expected at least 1"):
        check_adjoint(lambda v: v, lambda c: -c, 3, 3, trials=0)
    for wrong in ({"jac": lambda x: x * np.nan}, {"jac": slope_of_wave, "hessp": lambda x, v: v * np.nan}):
        with pytest.raises(AssertionError, match="is not finite"):
            fb.testing.taylor_test(wave, x, **wrong)
    with pytest.raises(AssertionError, match="fun is not finite"):
        fb.testing.taylor_test(lambda x: np.nan, x, jac=slope_of_wave)
    with pytest.raises(ValueError, match="direction has shape"):
        fb.testing.taylor_test(wave, x, jac=slope_of_wave, direction=[0.0, 0.0])
    assert check_gradient(wave, x, jac=lambda x: slope_of_wave(x).astype("f2")) < 1e-3


def half_slope(x):
    return np.where(x < 0, -1.0, 1.0)


@pytest.mark.parametrize("jac", [np.sign, half_slope, lambda x: -half_slope(-x)])
@pytest.mark.parametrize("point", [[0.0, 1.0], [2.0, 1e-12], [0.0, 0.0]])
def test_a_kink_is_told_from_a_wrong_gradient(jac, point):
    for fun in (lambda x: np.abs(x).sum(), lambda x: float(np.abs(x).sum()), lambda x: 1e-12 * np.abs(x).sum()):
        unit = fun(np.ones(2)) / 2
        with pytest.raises(AssertionError, match=r"the function has a kink at x\[[01]\]: gradient .*, slopes -"):
            check_gradient(fun, point, jac=lambda x, unit=unit: unit * jac(x))
        with pytest.raises(AssertionError, match=r"the gradient differs at x\[[01]\]"):
            check_gradient(fun, point, jac=lambda x, unit=unit: unit * (jac(x) + 3))
    assert check_gradient(lambda x: np.abs(x).sum(), [1e-4, 1.0], jac=np.sign) < 1e-9  # near a kink, not at it


def test_a_kink_among_many_entries():
    x = np.ones(3000)
    x[7] = 0
    with pytest.raises(AssertionError, match="the function has a kink"):
        check_gradient(lambda x: np.abs(x).sum(), x, jac=half_slope)


def test_kinks_of_nets():
    net = fb.MLP((2, 3, 1), loss="squared_error", activation="relu", seed=0, dtype="float64")
    with pytest.raises(AssertionError, match=r"kink at layer 1 \(biases\[0\]\)\[0\]: gradient 0, slopes 0 before and"):
        check_gradient(net, np.zeros((4, 2)), np.ones(4))
    assert check_gradient(net, np.array([[1.0, 2.0], [-0.5, 0.3]]), np.ones(2)) < 1e-7
    absolute = fb.MLP((2, 1), loss="absolute_error", init="zeros")
    with pytest.raises(AssertionError, match="the function has a kink at layer 1"):
        check_gradient(absolute, np.ones((4, 2)), np.zeros(4))  # each row's error is 0


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e12])
def test_checks_do_not_depend_on_the_unit_of_the_function(unit):
    x = np.array([0.5, 2.0])
    assert check_gradient(lambda x: unit * wave(x), x, jac=lambda x: unit * slope_of_wave(x)) < 1e-12
    assert check_gradient(lambda x: float(unit * wave(x)), x, jac=lambda x: unit * slope_of_wave(x)) < 1e-7
    with pytest.raises(AssertionError, match="the gradient differs"):
        check_gradient(lambda x: float(unit * wave(x)), x, jac=lambda x: 1.0001 * unit * slope_of_wave(x))
    fb.testing.taylor_test(lambda x: unit * wave(x), x, jac=lambda x: unit * slope_of_wave(x))
    for scale in (unit, unit**16):  # squares of the last underflow or overflow
        with pytest.raises(AssertionError, match="check_adjoint"):
            check_adjoint(lambda v, s=scale: s * v, lambda c, s=scale: 2 * s * c, 3, 3)

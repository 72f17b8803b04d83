"""The NumPy reference against hand-worked numbers, complex steps, central differences and mpmath."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest

from fastbp import reference as ref

SMOOTH = ["identity", "logistic", "tanh", "elu", ("elu", 0.7), "silu", "softplus", "sine"]
PIECEWISE = ["relu", "leaky_relu", ("leaky_relu", 0.3)]
ELEMENTWISE = [*SMOOTH, *PIECEWISE, "gelu", "exp"]
LOSSES_OF_X = ["squared_error", "huber", ("huber", 0.3), "absolute_error", "pinball"]
LOSSES_OF_X += [("pinball", [0.2, 0.5, 0.8])]  # a quantile per output
OUTPUTS = {  # every loss behind every output that it makes sense for
    "cross_entropy": ["softmax", "logistic"],
    "poisson": ["exp", "softplus", "softmax"],
    "squared_error": ["identity", "exp", "softmax", "tanh", "logistic"],
}
ANALYTIC = [(loss, out) for loss, outs in OUTPUTS.items() for out in outs]
ANALYTIC += [(loss, out) for loss in LOSSES_OF_X[1:] for out in ("identity", "softmax")]
SIZES = (4, 5, 3, 3)
STEP = 1e-30


def random_net(rng, layer_sizes=SIZES):
    """w and b as views of a flat params."""
    params = rng.normal(scale=0.7, size=sum((i + 1) * o for i, o in pairwise(layer_sizes)))
    return params, *ref.views(params, layer_sizes)


def random_targets(rng, loss, out, shape):
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(shape[1]), shape[0]) if out == "softmax" else rng.uniform(size=shape)
    if loss == "poisson":
        return rng.poisson(1.5, size=shape).astype(float)  # zeros among them
    return rng.normal(size=shape)


def relative_error(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


def complex_step(f, p):
    """df/dp for each entry of p, by Im f(p + i h) / h, exact to rounding."""
    grad = np.empty_like(p)
    for j in range(p.size):
        q = p.astype(complex)
        q.flat[j] += 1j * STEP
        grad.flat[j] = f(q).imag / STEP
    return grad


def central_difference(f, p, h=1e-3):
    """df/dp to fourth order in h."""
    grad = np.empty_like(p)
    for j in range(p.size):
        shift = np.where(np.arange(p.size) == j, h, 0.0).reshape(p.shape)
        near, far = f(p + shift) - f(p - shift), f(p + 2 * shift) - f(p - 2 * shift)
        grad.flat[j] = (8 * near - far) / (12 * h)
    return grad


def test_hand_worked_delta():
    # One input, one logistic unit, one linear output, squared error; X = 2, y = 1.
    # s(1) = 2 * 0.5 - 1 = 0, x(1) = 1/2, g'(0) = 1/4; s(2) = 4 * 1/2 + 1 = 3 = x(2).
    # e = 1/2 (3 - 1)^2 = 2; delta(2) = 2; delta(1) = 2 * 4 * 1/4 = 2.
    # de/dw(2) = 1/2 * 2 = 1, de/db(2) = 2; de/dw(1) = 2 * 2 = 4, de/db(1) = 2; de/dx(0) = 2 * 0.5 = 1.
    w, b = [np.array([[0.5]]), np.array([[4.0]])], [np.array([-1.0]), np.array([1.0])]
    g = ["logistic", "identity"]
    s, x = ref.forward(w, b, np.array([[2.0]]), g)
    assert [float(a[0, 0]) for a in s] == [0.0, 3.0]
    assert [float(a[0, 0]) for a in x] == [2.0, 0.5, 3.0]
    value, delta = ref.output_delta("squared_error", "identity", s[-1], x[-1], [1.0])
    assert (value, delta.item()) == (2.0, 2.0)
    weight_grads, bias_grads, deltas = ref.backpropagate(w, s, x, g, delta)
    assert [a.item() for a in deltas] == [2.0, 2.0]
    assert [a.item() for a in weight_grads] == [4.0, 1.0]
    assert [a.item() for a in bias_grads] == [2.0, 2.0]
    assert ref.input_grad(w, deltas).item() == 1.0


def test_logistic_regression_gradient():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.integers(0, 2, size=20)
    _, w, b = random_net(rng, (3, 1))
    r = 1 / (1 + np.exp(-(X @ w[0][:, 0] + b[0]))) - y
    _, weight_grads, bias_grads = ref.value_and_grad(w, b, X, y, ["logistic"], "cross_entropy")
    np.testing.assert_allclose(weight_grads[0][:, 0], X.T @ r / 20, rtol=1e-13)
    np.testing.assert_allclose(bias_grads[0], [r.mean()], rtol=1e-13)


@pytest.mark.parametrize("hidden", [*SMOOTH, *PIECEWISE], ids=str)
@pytest.mark.parametrize(("loss", "out"), ANALYTIC, ids=str)
def test_complex_step(hidden, loss, out):
    rng = np.random.default_rng(1)
    params, w, b = random_net(rng)
    X = rng.normal(size=(6, SIZES[0]))
    y = random_targets(rng, loss, out, (6, SIZES[-1]))
    g = [hidden, "tanh", out]
    c = rng.uniform(0.5, 2.0, size=(6, SIZES[-1]))
    for sample_weight in (None, c[:, 0], c):
        options = {"sample_weight": sample_weight, "l2": 0.1, "l1": 0.2}

        def value(q, rows=X, options=options):
            return ref.value_and_grad(*ref.views(q, SIZES), rows, y, g, loss, **options)[0]

        grads = ref.value_and_grad(w, b, X, y, g, loss, **options)[1:]
        assert relative_error(ref.flatten(*grads), complex_step(value, params)) <= 1e-12

    s, x = ref.forward(w, b, X, g)
    scale = SIZES[-1] / c.sum()  # of the last sample_weight above
    deltas = ref.backpropagate(w, s, x, g, ref.output_delta(loss, out, s[-1], x[-1], y, c, scale)[1])[2]
    by_input = complex_step(lambda rows: value(params, rows), X)
    assert relative_error(ref.input_grad(w, deltas), by_input) <= 1e-12


@pytest.mark.parametrize("spec", [*SMOOTH, *PIECEWISE, "exp"], ids=str)
def test_activation_derivative_by_complex_step(spec):
    name, a = ref.activation(spec)
    g, g_prime = ref.ACTIVATIONS[name]
    s = np.array([-30.0, -3.0, -0.5, -1e-3, 1e-3, 0.5, 3.0, 30.0])
    exact = g(s + 1j * STEP, a).imag / STEP
    np.testing.assert_allclose(g_prime(s, g(s, a), a), exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("hidden", [*PIECEWISE, "gelu", "elu"], ids=str)
@pytest.mark.parametrize("loss", LOSSES_OF_X, ids=str)
def test_central_differences(hidden, loss):
    rng = np.random.default_rng(2)
    p = 1.0 if isinstance(loss, str) else loss[1]
    g = [hidden, "gelu", "identity"]
    while True:  # a net and data away from every kink
        params, w, b = random_net(rng)
        X, y = rng.normal(size=(5, SIZES[0])), rng.normal(size=(5, SIZES[-1]))
        s, x = ref.forward(w, b, X, g)
        r = np.abs(x[-1] - y)
        if min(np.abs(s[0]).min(), r.min(), np.abs(r - p).min()) > 0.03:
            break
    _, *grads = ref.value_and_grad(w, b, X, y, g, loss)
    numeric = central_difference(lambda q: ref.value_and_grad(*ref.views(q, SIZES), X, y, g, loss)[0], params)
    assert relative_error(ref.flatten(*grads), numeric) <= 1e-8


def test_gelu_against_mpmath():
    s = np.array([-12.0, -5.0, -1.0, -1e-8, 0.0, 0.3, 1.0, 6.0])
    g, g_prime = ref.ACTIVATIONS["gelu"]
    with mpmath.workdps(40):
        exact = [float(v * mpmath.ncdf(v)) for v in map(mpmath.mpf, s.tolist())]
        exact_prime = [float(mpmath.ncdf(v) + v * mpmath.npdf(v)) for v in map(mpmath.mpf, s.tolist())]
    np.testing.assert_allclose(g(s, 0.0), exact, rtol=1e-13)
    np.testing.assert_allclose(g_prime(s, g(s, 0.0), 0.0), exact_prime, rtol=1e-12)


def test_values_at_kinks():
    zero = np.zeros((1, 1))
    assert ref.multiply_by_derivative("relu", 0.0, zero, zero, zero + 1).item() == 0.0
    assert ref.multiply_by_derivative("leaky_relu", 0.3, zero, zero, zero + 1).item() == 0.3
    for loss in ("absolute_error", ("pinball", 0.2)):
        assert ref.output_delta(loss, "identity", zero, zero, zero)[1].item() == 0.0


@pytest.mark.parametrize(
    ("loss", "e", "de"),  # r = 2 in the first output, r = -3 in the second
    [
        ("squared_error", 2.0 + 4.5, [2.0, -3.0]),
        (("huber", 2.5), 2.0 + 2.5 * (3.0 - 1.25), [2.0, -2.5]),
        ("huber", 1.5 + 2.5, [1.0, -1.0]),
        ("absolute_error", 5.0, [1.0, -1.0]),
        ("pinball", 2.5, [0.5, -0.5]),
        (("pinball", 0.25), 0.75 * 2.0 + 0.25 * 3.0, [0.75, -0.25]),
        (("pinball", [0.25, 0.5]), 0.75 * 2.0 + 0.5 * 3.0, [0.75, -0.5]),
    ],
    ids=str,
)
def test_hand_worked_losses(loss, e, de):
    x, y = np.array([[3.0, -1.0]]), np.array([[1.0, 2.0]])
    value, delta = ref.output_delta(loss, "identity", x, x, y)
    assert value == e
    assert delta.tolist() == [de]


def test_hand_worked_poisson():
    # x = e^0 = 1: e_n = 1 - 2 + 2 ln 2 and 1 - 0 + 0; delta = x - y. The same behind identity: 1 - y / x.
    s, y = np.zeros((2, 1)), np.array([2.0, 0.0])
    for out, x in (("exp", s + 1), ("identity", s + 1)):
        value, delta = ref.output_delta("poisson", out, s, x, y)
        assert value == pytest.approx(2 * math.log(2.0), rel=1e-15)
        assert delta.ravel().tolist() == [-1.0, 1.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturation(dtype):
    s = np.array([[1e4], [-1e4], [1e4], [-1e4]], dtype)
    x = ref.activate("logistic", s)
    value, delta = ref.output_delta("cross_entropy", "logistic", s, x, [1, 0, 0, 1])
    assert value == 2e4
    assert delta.ravel().tolist() == [0.0, 0.0, 1.0, -1.0]
    s = np.array([[1e4, 0.0, -1e4]] * 3, dtype)
    x = ref.activate("softmax", s)
    assert x[0].tolist() == [1.0, 0.0, 0.0]
    value, delta = ref.output_delta("cross_entropy", "softmax", s, x, np.arange(3))
    assert value == 3e4
    assert delta.tolist() == [[0.0, 0.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]
    s = np.array([-1e4, 1e4], dtype)
    slopes = {"logistic": [0, 0], "tanh": [0, 0], "identity": [1, 1], "leaky_relu": [0.01, 1]}
    limits = {"logistic": [0, 1], "tanh": [-1, 1], "leaky_relu": [-100, 1e4], "elu": [-1, 1e4], "identity": s}
    for name in ("identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus"):
        np.testing.assert_allclose(ref.activate(name, s), limits.get(name, [0, 1e4]), rtol=1e-6)
        g_prime = ref.multiply_by_derivative(*ref.activation(name), s, ref.activate(name, s), np.ones_like(s))
        np.testing.assert_allclose(g_prime, slopes.get(name, [0, 1]), rtol=1e-6)


def test_logistic_cross_entropy():
    for s, e, de in [(0.0, math.log(2.0), -0.5), (30.0, math.exp(-30.0), 0.0)]:
        s = np.array([[s]])
        value, delta = ref.output_delta("cross_entropy", "logistic", s, ref.activate("logistic", s), [1.0])
        assert value == pytest.approx(e, rel=1e-12, abs=0.0)
        assert delta.item() == pytest.approx(de, abs=1e-12)


def test_nan_is_kept():
    s = np.array([[math.nan, 1.0]])
    for spec in ELEMENTWISE:
        assert np.isnan(ref.activate(spec, s)).tolist() == [[True, False]], spec
    assert np.isnan(ref.softmax(s)).all()


def test_class_numbers_equal_one_hot():
    rng = np.random.default_rng(3)
    s, y, c = rng.normal(size=(7, 4)), rng.integers(0, 4, size=7), rng.uniform(size=7)
    x = ref.softmax(s)
    for loss in ("cross_entropy", "squared_error"):
        value, delta = ref.output_delta(loss, "softmax", s, x, y, c)
        value_one_hot, delta_one_hot = ref.output_delta(loss, "softmax", s, x, np.eye(4)[y], c)
        assert value == value_one_hot
        np.testing.assert_array_equal(delta, delta_one_hot)
    value, _ = ref.output_delta("cross_entropy", "softmax", s, x, y, c)
    assert value == pytest.approx(-np.sum(c * np.log(x[np.arange(7), y])), rel=1e-13)


@pytest.mark.parametrize(("loss", "out"), [("squared_error", "tanh"), ("cross_entropy", "softmax")])
def test_weights_repeat_and_remove_rows(loss, out):
    rng = np.random.default_rng(4)
    _, w, b = random_net(rng)
    X, y = rng.normal(size=(4, SIZES[0])), random_targets(rng, loss, out, (4, SIZES[-1]))
    g, rows = ["relu", "tanh", out], [0, 1, 1, 3, 3, 3]
    for reduction in ("mean", "sum"):
        weighted = ref.value_and_grad(w, b, X, y, g, loss, [1, 2, 0, 3], reduction)
        repeated = ref.value_and_grad(w, b, X[rows], y[rows], g, loss, None, reduction)
        assert weighted[0] == pytest.approx(repeated[0], rel=1e-13)
        assert relative_error(ref.flatten(*weighted[1:]), ref.flatten(*repeated[1:])) <= 1e-13


def test_mask_of_outputs():
    # Two outputs; the mask keeps the first of row 0 and both of row 1: the mean is over 3 / 2 rows.
    w, b, X = [np.zeros((1, 2))], [np.array([1.0, 2.0])], np.ones((2, 1))
    c, y = np.array([[1.0, 0.0], [1.0, 1.0]]), np.zeros((2, 2))
    value, _, bias_grads = ref.value_and_grad(w, b, X, y, ["identity"], "squared_error", c)
    assert value == pytest.approx((0.5 + 0.5 + 2.0) / 1.5, rel=1e-15)
    np.testing.assert_allclose(bias_grads[0], [2 / 1.5, 2 / 1.5], rtol=1e-15)


def test_reduction_and_penalties():
    rng = np.random.default_rng(5)
    _, w, b = random_net(rng)
    X, y, g = rng.normal(size=(5, SIZES[0])), rng.normal(size=(5, SIZES[-1])), ["tanh", "tanh", "identity"]
    mean = ref.value_and_grad(w, b, X, y, g, "squared_error")
    total = ref.value_and_grad(w, b, X, y, g, "squared_error", reduction="sum", l2=3.0, l1=3.0)
    assert total[0] == pytest.approx(5 * mean[0], rel=1e-14)
    np.testing.assert_allclose(ref.flatten(*total[1:]), 5 * ref.flatten(*mean[1:]), rtol=1e-12)
    penalised = ref.value_and_grad(w, b, X, y, g, "squared_error", l2=0.3, l1=0.2)
    expected = mean[0] + sum(0.15 * np.sum(v**2) + 0.2 * np.sum(np.abs(v)) for v in w)
    assert penalised[0] == pytest.approx(expected, rel=1e-14)
    for k in range(3):
        np.testing.assert_allclose(penalised[1][k], mean[1][k] + 0.3 * w[k] + 0.2 * np.sign(w[k]), rtol=1e-12)
        np.testing.assert_array_equal(penalised[2][k], mean[2][k])


def test_wrong_arguments_are_refused():
    w, b, X, one = [np.ones((1, 2))], [np.zeros(2)], np.ones((3, 1)), ["identity"]
    y = np.zeros((3, 2))
    for text, y_wrong, g, loss, more in [
        ("y has shape", np.zeros(3), one, "squared_error", {}),
        ("unknown activation 'sigmoid'", y, ["sigmoid"], "squared_error", {}),
        ("no loss 'cross_entropy' behind 'identity'", y, one, "cross_entropy", {}),
        ("not 'median'", y, one, "squared_error", {"reduction": "median"}),
        ("add up to 0", y, one, "squared_error", {"sample_weight": np.zeros(3)}),
        ("zip", y, one * 2, "squared_error", {}),  # two activations, one layer
    ]:
        with pytest.raises(ValueError, match=text):
            ref.value_and_grad(w, b, X, y_wrong, g, loss, **more)
    with pytest.raises(IndexError):
        ref.value_and_grad(w, b, X, np.array([0, 1, 2]), ["softmax"], "cross_entropy")
    with pytest.raises(ValueError, match="need 4"):
        ref.views(np.zeros(5), (1, 2))


def two_steps(step, **options):
    """p after two steps from p = 1 with gradients 1 and 3."""
    p, state, seen = np.array([1.0]), {}, []
    for grad in (1.0, 3.0):
        step([p], [np.array([grad])], state, **options)
        seen.append(p.item())
    return seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, -1.0]),
        ({"momentum": 0.5}, [0.5, -1.25]),  # buffer 1, then 0.5 * 1 + 3 = 3.5
        (
            {"momentum": 0.5, "dampening": 0.5},
            [0.5, -0.5],
        ),  # the gradient, 1, then 0.5 * 1 + (1 - 0.5) * 3 = 2
        ({"momentum": 0.5, "nesterov": True}, [0.25, -2.125]),  # 1 + 0.5 * 1 = 1.5, then 3 + 0.5 * 3.5 = 4.75
        ({"weight_decay": 2.0}, [-0.5, -1.5]),  # 1 + 2 * 1 = 3, then 3 + 2 * -0.5 = 2
    ],
)
def test_sgd_step(options, expected):
    assert two_steps(ref.sgd_step, lr=0.5, **options) == expected


def test_adam_step():
    # m = 1/2, v = 1/4 (1 - 3/4); corrected m = 1, v = 1: p = 1 - 0.1 / (1 + 0.5).
    # m = 1/4 + 3/2 = 7/4, over 1 - 1/4; v = 3/16 + 9/4 = 39/16, over 1 - 9/16.
    first = 1 - 0.1 / 1.5
    second = first - 0.1 * (7 / 4 / (3 / 4)) / (math.sqrt(39 / 16 / (7 / 16)) + 0.5)
    seen = two_steps(ref.adam_step, lr=0.1, betas=(0.5, 0.75), eps=0.5)
    assert seen == pytest.approx([first, second], rel=1e-14)
    # weight decay enters the gradient, 1 + 2 * 1 = 3: the first step is lr * 3 / (3 + eps)
    first = two_steps(ref.adam_step, lr=0.1, betas=(0.5, 0.75), eps=0.5, weight_decay=2.0)[0]
    assert first == pytest.approx(1 - 0.3 / 3.5, rel=1e-14)


def test_flatten_and_views():
    params = np.arange(11.0)
    w, b = ref.views(params, (2, 2, 1, 1))
    assert [v.tolist() for v in w] == [[[0, 1], [2, 3]], [[6], [7]], [[9]]]
    assert [v.tolist() for v in b] == [[4, 5], [8], [10]]
    np.testing.assert_array_equal(ref.flatten([np.asfortranarray(v) for v in w], b), params)
    b[1][0] = -1
    assert params[8] == -1


def test_train_meets_the_rows_in_order():
    rng = np.random.default_rng(6)
    sizes, g = (3, 4, 2), ["tanh", "softmax"]
    X, y, c = rng.normal(size=(7, 3)), rng.integers(0, 2, size=7), np.array([1, 2, 0, 1, 1, 0, 3.0])
    params, w, b = random_net(rng, sizes)
    orders = [np.array([2, 5, 0, 1, 3, 4, 6]), rng.permutation(7)]  # rows 2 and 5 weigh 0: no step
    expected, expected_losses, steps = params.copy(), [], 0
    for order in orders:
        loss_sum = 0.0
        for rows in (order[0:2], order[2:4], order[4:6], order[6:7]):
            if c[rows].sum() > 0:
                batch = *ref.views(expected, sizes), X[rows], y[rows], g, "cross_entropy", c[rows]
                loss_sum += ref.value_and_grad(*batch, "sum")[0]
                expected -= 0.5 * ref.flatten(*ref.value_and_grad(*batch, l2=0.1, l1=0.1)[1:])
                steps += 1
        expected_losses.append(loss_sum / c.sum())
    taken = []

    def step(arrays, grads):
        taken.append(len(grads))
        ref.sgd_step(arrays, grads, {}, lr=0.5)

    losses = ref.train(w, b, X, y, g, "cross_entropy", orders, step, 2, sample_weight=c, l2=0.1, l1=0.1)
    assert losses == pytest.approx(expected_losses, rel=1e-12)
    assert taken == [4] * steps
    np.testing.assert_allclose(params, expected, rtol=1e-10)


@pytest.mark.parametrize("hidden", ELEMENTWISE[:-1], ids=str)
@pytest.mark.parametrize(("loss", "out"), ANALYTIC, ids=str)
def test_float32_is_kept(hidden, loss, out):
    rng = np.random.default_rng(8)
    params, _, _ = random_net(rng)
    w, b = ref.views(params.astype(np.float32), SIZES)
    X = rng.normal(size=(3, SIZES[0])).astype(np.float32)
    y, c = random_targets(rng, loss, out, (3, SIZES[-1])), rng.uniform(0.5, 2.0, size=3)  # float64, cast down
    g = [hidden, hidden, out]
    s, x = ref.forward(w, b, X, g)
    value, delta = ref.output_delta(loss, out, s[-1], x[-1], y, c, scale=np.float64(0.5))
    weight_grads, bias_grads, deltas = ref.backpropagate(w, s, x, g, delta)
    assert isinstance(value, float)
    arrays = [*s, *x, *weight_grads, *bias_grads, *deltas, ref.input_grad(w, deltas)]
    _, weight_grads, bias_grads = ref.value_and_grad(w, b, X, y, g, loss, c, l2=0.1, l1=0.1)
    state = {}
    ref.adam_step([*w, *b], [*weight_grads, *bias_grads], state)
    ref.sgd_step([*w, *b], [*weight_grads, *bias_grads], state, lr=0.1, momentum=0.9)
    arrays += [*weight_grads, *bias_grads, *w, *b, *state["exp_avg"], *state["momentum_buffer"]]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}

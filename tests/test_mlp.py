"""MLP as its caller sees it: parameters in one memory, results by name and the identities between them."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from helpers import informative

import fastbp as fb
from fastbp.testing import check_gradient
from fastbp.testing._gradients import entry_name

SIZES = (3, 5, 4, 2)
ACTIVATIONS = ["identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus"]
ACTIVATIONS += ["sine"]
LOSSES = ["squared_error", "cross_entropy", "poisson", "huber", "absolute_error", "pinball"]
X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.random.default_rng(1).normal(size=(40, 2))
C = np.random.default_rng(2).uniform(0.5, 2.0, size=40)


def make(sizes=SIZES, **options):
    settings = {"loss": "squared_error", "activation": "tanh", "seed": 0, "dtype": "float64"}
    net = fb.MLP(sizes, **{**settings, **options})
    for k, b in enumerate(net.biases):
        b[:] = 0.1 * (k + 1)
    return net


def close(a, b, rtol=1e-12):
    b = informative(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_one_memory(dtype):
    net = make(dtype=dtype)
    assert net.params.shape == (sum((i + 1) * o for i, o in pairwise(SIZES)),)
    assert net.params.dtype == net.dtype == dtype
    assert [w.shape for w in net.weights] == [(3, 5), (5, 4), (4, 2)]
    assert [b.shape for b in net.biases] == [(5,), (4,), (2,)]
    assert len(net.weights) == len(net.biases) == 3
    assert net.layer_sizes == SIZES
    before = net.forward(X)
    net.params[:] = np.arange(net.params.size)
    flat = np.concatenate([v.ravel() for layer in zip(net.weights, net.biases, strict=True) for v in layer])
    np.testing.assert_array_equal(flat, np.arange(net.params.size))
    assert not np.array_equal(net.forward(X), before)
    net.weights[1] = np.full((5, 4), -1)
    net.biases[-1] = [7, 8]
    net.weights[0][2, 3] = 9
    np.testing.assert_array_equal(net.params[20:40], -1)
    np.testing.assert_array_equal(net.params[-2:], [7, 8])
    assert net.params[2 * 5 + 3] == 9
    memory = net.params
    net.params = np.ones(net.params.size, "i8")
    net.params -= 0.5
    assert net.params is memory
    np.testing.assert_array_equal(net.weights[2], 0.5)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n)),
                                   lambda n: n.to("cpu")])  # fmt: skip
def test_copies_are_independent(clone):
    options = {"loss": fb.Huber(0.3), "activation": [("elu", 0.7), "sine"], "output_activation": "softplus"}
    net = make(**options, l2=0.1, l1=0.2, dtype="float32", deterministic=True)
    value, grad = net.value_and_grad(X, Y)
    other = clone(net)
    assert not np.shares_memory(other.params, net.params)
    other_value, other_grad = other.value_and_grad(X, Y)
    assert other_value == value
    np.testing.assert_array_equal(other_grad, grad)
    assert repr(other) == repr(net)
    other.params += 1
    np.testing.assert_array_equal(net.value_and_grad(X, Y)[1], grad)
    other.weights[0] = np.zeros((3, 5))
    assert other.params[0] == 0
    assert net.params[0] != 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_types_of_results(dtype):
    net = make(dtype=dtype)
    assert type(net.value(X, Y)) is float
    value, grad = net.value_and_grad(X, Y)
    assert type(value) is float
    returns = ("s", "x", "deltas", "weight_grads", "bias_grads", "input_grad", "example_loss")
    r = net.backward(X, Y, returns=returns)
    assert type(r.value) is type(r.loss) is float
    assert r.x[0] is X
    assert [v.shape for v in r.x] == [(40, d) for d in SIZES]
    assert [v.shape for v in r.s] == [v.shape for v in r.deltas] == [(40, d) for d in SIZES[1:]]
    assert r.example_loss.shape == (40,)
    x, pullback = net.vjp(X)
    arrays = [net.forward(X), grad, r.grad, r.input_grad, *r.s, *r.x[1:], *r.deltas, *r.weight_grads]
    assert {a.dtype for a in [*arrays, *r.bias_grads, x, *pullback(x)]} == {np.dtype(dtype)}
    for name, part in (("weight_grads", net.weights), ("bias_grads", net.biases)):
        assert [g.shape for g in getattr(r, name)] == [v.shape for v in part]
        assert all(np.shares_memory(g, r.grad) for g in getattr(r, name))
    assert set(vars(net.backward(X, Y, returns=("s",)))) == {"s", "value", "loss"}
    found = vars(net.backward(X, Y, returns=iter(["bias_grads"])))
    assert set(found) == {"bias_grads", "grad", "value", "loss"}
    out = np.full(grad.shape, np.nan, dtype)
    assert net.value_and_grad(X, Y, out=out)[1] is out
    np.testing.assert_array_equal(out, grad)
    out = np.full((40, 2), np.nan, dtype)
    assert net.forward(X, out=out) is out
    np.testing.assert_array_equal(out, net.forward(X))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", [None, C, C[:, None] * [0.5, 2.0]], ids=["none", "rows", "outputs"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "logistic"])
def test_backward_identities(activation, weights, reduction):
    net = make(activation=activation, l2=0.3, l1=0.2)
    r = net.backward(X, Y, weights, reduction=reduction)
    full = np.ones_like(Y) if weights is None else np.broadcast_to(weights.reshape(40, -1), Y.shape)
    count = full.sum() / 2 if reduction == "mean" else 1.0
    penalties = (0.3, 0.2) if reduction == "mean" else (0.0, 0.0)
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        close(r.s[k], r.x[k] @ w + b)
        close(r.weight_grads[k], r.x[k].T @ r.deltas[k] + penalties[0] * w + penalties[1] * np.sign(w))
        close(r.bias_grads[k], r.deltas[k].sum(axis=0))
    close(r.deltas[-1], full * (r.x[-1] - Y) / count)
    close(r.input_grad, r.deltas[0] @ net.weights[0].T)
    close(r.loss, (full * 0.5 * (r.x[-1] - Y) ** 2).sum() / count)
    w = np.concatenate([w.ravel() for w in net.weights])
    close(r.value, r.loss + 0.5 * penalties[0] * w @ w + penalties[1] * np.abs(w).sum())
    value, grad = net.value_and_grad(X, Y, weights, reduction=reduction)
    close(value, r.value)
    close(grad, r.grad)
    close(net.value(X, Y, weights, reduction=reduction), r.value)
    close(r.x[-1], net.forward(X))
    e = net.backward(X, Y, weights, reduction=reduction, returns=["example_loss"]).example_loss
    close(e, 0.5 * ((r.x[-1] - Y) ** 2).sum(axis=1))


@pytest.mark.parametrize("activation", ["relu", "gelu"])  # g' from x, g' from s
@pytest.mark.parametrize("output", ["identity", "softmax", "gelu"])
def test_vjp(activation, output, rng):
    net = make(activation=activation, output_activation=output)
    y = rng.dirichlet(np.ones(2), 40)
    r = net.backward(X, y, C)
    x, pullback = net.vjp(X)
    close(x, r.x[-1])
    cotangent = C[:, None] * (x - y) / C.sum()
    grad, input_grad = pullback(cotangent)
    close(grad, r.grad)
    close(input_grad, r.input_grad)
    net.params = rng.normal(size=net.params.size)
    x[:] = np.nan  # the caller's from now on
    for form in (cotangent, cotangent.tolist(), np.asfortranarray(cotangent), cotangent[::-1].copy()[::-1]):
        again, input_again = pullback(form)
        np.testing.assert_array_equal(again, grad)
        np.testing.assert_array_equal(input_again, input_grad)
        assert again is not grad
    doubled, _ = pullback(2 * cotangent)
    close(doubled, 2 * grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accumulate_over_chunks(dtype):
    net, tolerance = make(dtype=dtype, l2=0.5), 1e-5 if dtype == "float32" else 1e-13
    signed = C * np.where(np.arange(40) % 3 == 0, -1, 1)
    value, grad = net.value_and_grad(X, Y, signed, reduction="sum")
    total, out = 0.0, np.zeros_like(grad)
    for chunk in (slice(0, 1), slice(1, 17), slice(17, 40)):
        part, same = net.value_and_grad(
            X[chunk], Y[chunk], signed[chunk], reduction="sum", out=out, accumulate=True
        )
        assert same is out
        total += part
    close(total, value, tolerance)
    close(out, grad, tolerance)
    out[:] = 1
    net.value_and_grad(X, Y, out=out, accumulate=True)
    close(out, 1 + net.value_and_grad(X, Y)[1], tolerance)


def test_masked_targets(rng):
    net, mask = make(l2=0.1), rng.random(Y.shape) < 0.6
    holes = np.where(mask, Y, np.nan)
    value, grad = net.value_and_grad(X, holes, mask)
    x = net.forward(X)
    w = np.concatenate([w.ravel() for w in net.weights])
    close(value, 0.5 * (((x - Y) ** 2)[mask].sum()) / (mask.sum() / 2) + 0.05 * w @ w)
    np.testing.assert_array_equal(grad, net.value_and_grad(X, np.where(mask, Y, 5.0), mask)[1])
    rows = np.where(mask[:, :1], Y, np.nan)
    close(net.value_and_grad(X, rows, mask[:, 0])[1], net.value_and_grad(X[mask[:, 0]], Y[mask[:, 0]])[1])
    classes = make((3, 5, 4), loss="cross_entropy")
    y = np.where(mask[:, 0], np.arange(40) % 4, [[np.nan], [-1], [9], [1e300]] * 10 and np.nan)
    kept = mask[:, 0]
    close(classes.value_and_grad(X, y, kept)[1], classes.value_and_grad(X[kept], y[kept])[1])


def squared_error(y, x):
    return 0.5 * ((x - y) ** 2).sum(axis=1), x - y


def cross_entropy(y, x):
    picked = np.arange(len(y)), y.astype(int)
    dx = np.zeros_like(x)
    dx[picked] = -1 / x[picked]
    return -np.log(x[picked]), dx


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("rows", [40, 1500])
def test_loss_functions(rows, deterministic, rng):
    x = rng.normal(size=(rows, 3))
    y, k, c = rng.normal(size=(rows, 2)), rng.integers(0, 2, size=rows), rng.uniform(size=rows)
    losses = [("squared_error", squared_error, y), ("cross_entropy", cross_entropy, k)]
    for built_in, function, target in losses:
        output = "softmax" if built_in == "cross_entropy" else "auto"
        nets = [make(loss=loss, output_activation=output, l2=0.1, deterministic=deterministic)
                for loss in (built_in, function)]  # fmt: skip
        for c_given, reduction in ((None, "mean"), (c, "mean"), (c - 0.5, "sum")):
            values = [net.value_and_grad(x, target, c_given, reduction=reduction) for net in nets]
            close(values[1][0], values[0][0], 1e-11)
            close(values[1][1], values[0][1], 1e-11)
            close(nets[1].value(x, target, c_given, reduction=reduction), values[0][0], 1e-11)
            parts = [net.backward(x, target, c_given, reduction=reduction) for net in nets]
            close(parts[1].input_grad, parts[0].input_grad, 1e-11)
        options = {"epochs": 3, "batch_size": 16, "seed": 1, "optimizer": fb.SGD(0.1)}
        histories = [net.fit(x, target, c, **options) for net in nets]
        close(histories[1].loss, histories[0].loss, 1e-10)
        close(nets[1].params, nets[0].params, 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 63, 64, 129, 1025, 5000])
def test_deterministic_sums_equal_others(rows, dtype, rng):
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))
    nets = [make(dtype=dtype, deterministic=d) for d in (True, False)]
    first = nets[0].value_and_grad(x, y)
    again = nets[0].value_and_grad(x, y)
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    other = nets[1].value_and_grad(x, y)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    close(first[0], other[0], tolerance)
    close(first[1], other[1], tolerance)
    r = nets[0].backward(x, y)
    close(r.input_grad, nets[1].backward(x, y).input_grad, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_check_gradient_passes(activation, dtype):
    limit = 1e-3 if dtype == "float32" else 1e-6
    for loss in (*LOSSES, fb.Huber(0.3), fb.Pinball((0.2, 0.7))):
        net = make(loss=loss, activation=activation, dtype=dtype, l2=0.01, l1=0.01)
        y = np.arange(40) % 2 if loss == "cross_entropy" else np.abs(Y) if loss == "poisson" else Y
        assert check_gradient(net, X, y, C) < limit
        assert check_gradient(net, X, y, C, reduction="sum") < limit
    wide = make((3, 60, 40, 2), activation=activation, dtype=dtype)
    assert check_gradient(wide, X, Y) < limit


def finds(net, X, Y, grad, i, **options):
    where = entry_name(net, i)
    with pytest.raises(AssertionError) as caught:
        check_gradient(net, X, Y, grad=grad, **options)
    assert where in str(caught.value), (where, str(caught.value))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("size", [1.0, 1e-6, 1e6])
def test_check_gradient_finds_each_planted_error(size, activation, dtype):
    net = make(dtype=dtype, activation=activation)
    x, y = X[:10], Y[:10]
    c, options = np.full(10, size), {"reduction": "sum"}
    true = net.value_and_grad(x, y, c, **options)[1]
    for i in range(true.size):
        grad = true.copy()
        grad[i] += 0.01 * np.abs(true).max()
        finds(net, x, y, grad, i, sample_weight=c, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_check_gradient_finds_errors_in_wide_nets(activation, dtype, rng):
    net = make((3, 60, 40, 2), dtype=dtype, activation=activation)
    assert net.params.size > 2000
    true = net.value_and_grad(X, Y)[1]
    chosen = [0, true.size - 1, int(np.abs(true).argmax()), *rng.integers(0, true.size, size=8).tolist()]
    for i in chosen:
        grad = true.copy()
        grad[i] += 0.01 * np.abs(true).max()
        finds(net, X, Y, grad, i)
    grad = true.copy()
    grad[chosen[2]] *= 2
    finds(net, X, Y, grad, chosen[2])
    grad[chosen[2]] = np.nan
    finds(net, X, Y, grad, chosen[2])
    grad = true.copy()
    grad[7] = 0.0  # a lost derivative
    if abs(true[7]) > 0.01 * np.abs(true).max():
        finds(net, X, Y, grad, 7)


def test_names_of_entries():
    net = make((3, 2, 1))
    assert [entry_name(net, i) for i in (0, 5, 6, 8, 10)] == [
        "layer 1 (weights[0])[0, 0]", "layer 1 (weights[0])[2, 1]", "layer 1 (biases[0])[0]",
        "layer 2 (weights[1])[0, 0]", "layer 2 (biases[1])[0]",
    ]  # fmt: skip
    with pytest.raises(IndexError):
        entry_name(net, 11)


def recipe(error, text, **options):
    return pytest.param(options, error, text, id=text)


HUGE = (2**31 - 1, 2**31 - 1)
REAL = "expected a number"
WIDTH = "expected a width from 1 to 2147483647"
RECIPES = [
    recipe(ValueError, "activation is 'rleu'.*did you mean 'relu'", activation="rleu"),
    recipe(ValueError, r"activation\[0\] is 'tanhh'.*'tanh'", activation=["tanhh"]),
    recipe(ValueError, "activation has 2 entries, expected 1", activation=["tanh", "relu"]),
    recipe(TypeError, "activation is None, expected a name", activation=None),
    recipe(ValueError, "activation is 'exp', expected one of", activation="exp"),
    recipe(ValueError, "activation is 'softmax', expected one of", activation="softmax"),
    recipe(ValueError, r"\('relu', 0\.1\), but relu takes no parameter", activation=("relu", 0.1)),
    recipe(ValueError, "parameter of leaky_relu is -1, expected a", activation=("leaky_relu", -1)),
    recipe(ValueError, "parameter nan, expected a finite", activation=("leaky_relu", np.nan)),
    recipe(ValueError, "parameter of elu is 0, expected", activation=("elu", 0)),
    recipe(TypeError, "has the parameter '1', " + REAL, activation=[("elu", "1")]),
    recipe(ValueError, "output_activation is 'sofmax'.*'softmax'", output_activation="sofmax"),
    recipe(TypeError, "output_activation is array", output_activation=np.ones(2)),
    recipe(ValueError, "softmax of one output", sizes=(3, 1), output_activation="softmax"),
    recipe(ValueError, "cross_entropy takes softmax or", loss="cross_entropy", output_activation="identity"),
    recipe(ValueError, "cross_entropy takes.* else", loss="cross_entropy", output_activation="tanh"),
    recipe(ValueError, "loss is 'squared_eror'.*'squared_error'", loss="squared_eror"),
    recipe(TypeError, "loss is 3, expected a name", loss=3),
    recipe(TypeError, "loss is <class", loss=fb.Huber),
    recipe(ValueError, "delta is 0, expected a finite number > 0", loss=fb.Huber(0)),
    recipe(TypeError, "loss has the parameter '1', " + REAL, loss=fb.Huber("1")),
    recipe(ValueError, "quantile is 0, expected", loss=fb.Pinball(0)),
    recipe(ValueError, "quantile is 1, expected", loss=fb.Pinball(1.0)),
    recipe(ValueError, "loss has 3 quantiles, expected one, or", loss=fb.Pinball((0.1, 0.2, 0.3))),
    recipe(ValueError, "init is 'glorot'.*'glorot_uniform'", init="glorot"),
    recipe(TypeError, r"layer_sizes is \(3\.0, 2\), expected a sequence of", sizes=(3.0, 2)),
    recipe(TypeError, "layer_sizes is '32'", sizes="32"),
    recipe(TypeError, r"layer_sizes is \('3', '2'\)", sizes=("3", "2")),
    recipe(TypeError, r"layer_sizes is \(True, 2\)", sizes=(True, 2)),
    recipe(TypeError, "layer_sizes is 3, expected", sizes=3),
    recipe(ValueError, r"layer_sizes is \(3,\), expected at least", sizes=(3,)),
    recipe(ValueError, r"layer_sizes\[1\] is 0, " + WIDTH, sizes=(3, 0, 2)),
    recipe(ValueError, r"layer_sizes\[0\] is -1, " + WIDTH, sizes=(-1, 2)),
    recipe(ValueError, r"layer_sizes\[0\] is 2147483648, " + WIDTH, sizes=(2**31, 2)),
    recipe(ValueError, r"layer_sizes\[1\] is 1\d+, " + WIDTH, sizes=(2, 2**70)),
    recipe(ValueError, "more parameters than can be addressed", sizes=HUGE),
    recipe(ValueError, "dtype is <class 'int'>, expected 'float32'", dtype=int),
    recipe(ValueError, "dtype is 'float16', expected 'float32'", dtype="float16"),
    recipe(ValueError, "dtype is 'garbage', expected", dtype="garbage"),
    recipe(ValueError, "dtype is '>f8', expected", dtype=">f8"),
    recipe(ValueError, "dtype is None, expected", dtype=None),
    recipe(RuntimeError, "'cuda' is not compiled", device="cuda"),
    recipe(ValueError, "device is 'tpu', expected", device="tpu"),
    recipe(TypeError, "device is None, expected", device=None),
    recipe(ValueError, "l2 is -1, expected a finite number >= 0", l2=-1),
    recipe(ValueError, "l1 is nan, expected a finite number >= 0", l1=np.nan),
    recipe(TypeError, r"l2 is '0\.1', " + REAL, l2="0.1"),
    recipe(TypeError, r"l1 is array.*, " + REAL, l1=np.ones(2)),
    recipe(TypeError, "seed is 'a', expected an integer", seed="a"),
    recipe(TypeError, r"seed is 1\.5, expected an integer", seed=1.5),
    recipe(ValueError, "seed is -1, expected an integer >= 0", seed=-1),
]


@pytest.mark.parametrize(("options", "error", "text"), RECIPES)
def test_recipes_of_nets(options, error, text):
    with pytest.raises(error, match=text):
        make(**{"sizes": (3, 4, 2), **options})

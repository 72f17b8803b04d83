"""The R-operator: products along a direction against complex steps of the NumPy reference, to the last digits."""

import numpy as np
import pytest
from helpers import informative
from test_networks import ANALYTIC, SMOOTH_LOSSES, Network

import fastbp as fb
from fastbp import reference

STEP = 1e-30  # a complex step is exact: nothing cancels


def analytic_networks(count):
    """Networks whose reference takes complex numbers."""
    found, seed = [], 0
    while len(found) < count:
        network = Network(seed)
        seed += 1
        if {*network.activations, network.output} <= ANALYTIC and network.loss in SMOOTH_LOSSES:
            found.append(network)
    return found


NETWORKS = analytic_networks(60)


def close(found, expected, tolerance=1e-10):
    scale = np.abs(informative(expected)).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(scale, 1e-8))


def gradient(network, net, X, params):
    return network.reference(net, X, params)[1]


def ids(network):
    return f"{network.seed}-{network.loss}"


@pytest.mark.parametrize("network", NETWORKS, ids=ids)
def test_products(network):
    net, rng = network.net("float64"), np.random.default_rng(network.seed)
    v, u = rng.standard_normal(net.params.shape), rng.standard_normal(network.X.shape)
    arguments = (network.X, network.y)
    hessian = np.imag(gradient(network, net, network.X, net.params + 1j * STEP * v)) / STEP
    close(net.hvp(*arguments, v, network.sample_weight), hessian)
    along_x = np.imag(gradient(network, net, network.X + 1j * STEP * u, net.params)) / STEP
    close(net.input_grad_vjp(*arguments, u, network.sample_weight), along_x)
    w, b = reference.views(net.params + 1j * STEP * v, net.layer_sizes)
    moved = reference.forward(w, b, network.X + 1j * STEP * u, net.activations)[1][-1]
    close(net.jvp(network.X, v, u), np.imag(moved) / STEP)


@pytest.mark.parametrize("seed", range(60))
def test_float32_is_float64_to_its_precision(seed):
    while True:  # until no rounding can take a unit to the other side of its kink
        network = Network(seed)
        net, twin = network.net("float32"), network.net("float64")
        if not network.near_a_kink(twin, net.params.astype(float), 1e-5):
            break
        seed += 60
    twin.params = net.params
    X = network.X.astype(np.float32)
    v = np.random.default_rng(seed).standard_normal(net.params.shape)
    for product in ("hvp", "gnvp"):
        exact = getattr(twin, product)(X.astype(float), network.y, v, network.sample_weight)
        found = getattr(net, product)(X, network.y, v, network.sample_weight)
        if product == "gnvp" and network.loss in ("absolute_error", "pinball"):
            assert not found.any()  # the loss has no curvature
        else:
            close(found, exact, 2e-4)


@pytest.mark.parametrize("loss, output", [("squared_error", "tanh"), ("cross_entropy", "softmax"), ("poisson", "exp")])
def test_gauss_newton_is_pulled_back_through_the_output(loss, output):
    """J'HJ v by its three factors: J by jvp, H by hand, J' by a pullback."""
    rng = np.random.default_rng(0)
    net = fb.MLP((5, 9, 4), loss=loss, output_activation=output, activation="tanh", dtype="float64", seed=1, l2=0.1)
    X, v = rng.standard_normal((7, 5)), rng.standard_normal(net.params.shape)
    y = rng.integers(0, 4, 7) if output == "softmax" else rng.random((7, 4))
    c = rng.random(7)
    if loss == "squared_error":
        outer, factor = net, 1.0
    else:  # these two losses are taken from s: through the same net without its last g
        outer = fb.MLP((5, 9, 4), output_activation="identity", activation="tanh", dtype="float64")
        outer.params = net.params
    s_dot = outer.jvp(X, v)
    x = net.forward(X)
    if output == "softmax":
        s_dot = x * (s_dot - (x * s_dot).sum(axis=1, keepdims=True))
    elif output == "exp":
        factor = x
        s_dot = factor * s_dot
    pulled = outer.vjp(X)[1](s_dot * (c / c.sum())[:, None])[0]
    weights = fb.MLP((5, 9, 4), dtype="float64", init="zeros")
    weights.params = v
    for b in weights.biases:
        b[:] = 0
    close(net.gnvp(X, y, v, c), pulled + 0.1 * weights.params, 1e-12)
    assert v @ net.gnvp(X, y, v, c) > 0


def test_the_hessian_is_symmetric_and_linear():
    rng = np.random.default_rng(3)
    net = fb.MLP((6, 20, 15, 3), loss="cross_entropy", activation="gelu", dtype="float64", seed=0)
    X, y = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
    v, w = rng.standard_normal((2, *net.params.shape))
    assert w @ net.hvp(X, y, v) == pytest.approx(v @ net.hvp(X, y, w), rel=1e-11)
    close(net.hvp(X, y, 2 * v - w), 2 * net.hvp(X, y, v) - net.hvp(X, y, w), 1e-12)


@pytest.mark.parametrize(
    "options, y, second",
    [
        ({"output_activation": "relu"}, -1, 0),  # at s = 0 and r = 1: g'^2 + g''
        ({"output_activation": ("leaky_relu", 0.5)}, -1, 0.25),
        ({"output_activation": ("elu", 2.0)}, -1, 6),
        ({"loss": fb.Huber(2.0)}, 2, 1),
        ({"loss": fb.Huber(2.0)}, -2, 1),
        ({"loss": "absolute_error"}, 0, 0),
        ({"loss": fb.Pinball(0.3)}, 0, 0),
        ({"l1": 1.0}, 0, 1),
    ],
)
def test_at_a_kink_the_second_derivative_is_that_of_one_side(options, y, second):
    net = fb.MLP((1, 1), **{"loss": "squared_error", **options}, init="zeros", dtype="float64")
    assert net.hvp([[1.0]], [y], [1.0, 0.0]).tolist() == [second, second]


@pytest.mark.parametrize("rows", [1, 37, 3000])
@pytest.mark.parametrize("sizes", [(30, 200, 150, 4), (300, 300, 7)])
def test_teams_of_threads(rows, sizes):
    rng = np.random.default_rng(4)
    net = fb.MLP(sizes, loss="cross_entropy", activation="tanh", dtype="float64", seed=0)
    X, y = rng.standard_normal((rows, sizes[0])), rng.integers(0, sizes[-1], rows)
    v, u = rng.standard_normal(net.params.shape), rng.standard_normal(X.shape)
    found = []
    for threads in (1, 2, 4, 4):
        with fb.set_num_threads(threads):
            found.append([net.hvp(X, y, v), net.gnvp(X, y, v), net.input_grad_vjp(X, y, u), net.jvp(X, v, u)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            close(b, a, 1e-12)
    for a, b in zip(found[2], found[3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_sums_penalties_and_out():
    rng = np.random.default_rng(5)
    net = fb.MLP((3, 4, 2), loss="squared_error", activation="tanh", dtype="float64", seed=0, l2=0.3, l1=0.2)
    plain = fb.MLP((3, 4, 2), loss="squared_error", activation="tanh", dtype="float64")
    plain.params = net.params
    X, y, c = rng.standard_normal((6, 3)), rng.standard_normal((6, 2)), rng.random(6)
    v = rng.standard_normal(net.params.shape)
    of_weights = np.concatenate([np.ones(12), np.zeros(4), np.ones(8), np.zeros(2)])
    close(net.hvp(X, y, v), plain.hvp(X, y, v) + 0.3 * v * of_weights, 1e-13)
    close(net.hvp(X, y, v, c, reduction="sum"), c.sum() * plain.hvp(X, y, v, c), 1e-13)
    out = np.full_like(net.params, np.nan)
    assert net.hvp(X, y, v, out=out) is out
    np.testing.assert_array_equal(out, net.hvp(X, y, v))
    out = np.full((6, 2), np.nan)
    assert net.jvp(X, v, out=out) is out


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda n, X, y, v: n.hvp(X, y, None), TypeError, r"\[hvp\] v is None, expected a direction"),
        (lambda n, X, y, v: n.jvp(X), TypeError, r"\[jvp\] v and u are both None"),
        (lambda n, X, y, v: n.hvp(X, y, v[:-1]), ValueError, r"\[hvp\] v has shape \(7,\), expected \(8,\)"),
        (lambda n, X, y, v: n.gnvp(X, y, v * 1j), TypeError, r"\[gnvp\] v has dtype complex128"),
        (lambda n, X, y, v: n.input_grad_vjp(X, y, X[:2]), ValueError, r"direction in X has shape \(2, 3\), expected"),
        (lambda n, X, y, v: n.hvp(X[:, :2], y, v), ValueError, r"\[hvp\] X has 2 columns"),
        (lambda n, X, y, v: n.hvp(X, y[:3], v), ValueError, r"\[hvp\] y has 3 rows"),
        (lambda n, X, y, v: n.hvp(X, y, v, out=v), ValueError, r"\[hvp\] out overlaps v in memory"),
    ],
)  # fmt: skip
def test_bad_input(call, error, text):
    net = fb.MLP((3, 2), loss="squared_error", dtype="float64")
    with pytest.raises(error, match=text):
        call(net, np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(8))


def test_a_loss_given_as_a_function_has_no_second_derivative():
    net = fb.MLP((3, 2), loss=lambda y, x: (((x - y) ** 2).sum(axis=1) / 2, x - y), dtype="float64")
    X, y = np.zeros((4, 3)), np.zeros((4, 2))
    with pytest.raises(ValueError, match="second ones need one of the named losses"):
        net.hvp(X, y, net.params)
    assert net.jvp(X, net.params).shape == (4, 2)

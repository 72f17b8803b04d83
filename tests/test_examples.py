"""Gradients of single rows and Jacobians, against the same for each row alone and complex steps."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import _examples, reference

X = np.random.default_rng(8).standard_normal((13, 5))


def make(loss="cross_entropy", **more):
    return fb.MLP((5, 7, 6, 3), loss=loss, activation="tanh", dtype="float64", seed=1, **more)


@pytest.mark.parametrize("chunk", [1, 200, 4_000_000])
def test_example_grads_are_those_of_each_row_alone(monkeypatch, chunk, rng):
    monkeypatch.setattr(_examples, "CHUNK_NUMBERS", chunk)
    net, y = make(l2=0.5), rng.integers(0, 3, 13)
    grads = net.example_grads(X, y)
    for n in range(13):
        alone = net.value_and_grad(X[n : n + 1], y[n : n + 1], reduction="sum")[1]
        np.testing.assert_allclose(grads[n], alone, rtol=0, atol=1e-14)
    out = np.full_like(grads, np.nan)
    assert net.example_grads(X, y, out=out) is out
    np.testing.assert_array_equal(out, grads)


def test_a_loss_given_as_a_function(rng):
    net = make(lambda y, x: (((x - y) ** 2).sum(axis=1) / 2, x - y))
    twin = make("squared_error")
    twin.params = net.params
    y = rng.standard_normal((13, 3))
    np.testing.assert_allclose(net.example_grads(X, y), twin.example_grads(X, y), rtol=0, atol=1e-14)


@pytest.mark.parametrize("output", ["identity", "softmax", "exp"])
def test_jacobians(output, rng):
    net = make(None, output_activation=output)
    w, b = reference.views(net.params.astype(complex), net.layer_sizes)
    by_inputs = net.jacobian(X)
    assert by_inputs.shape == (13, 3, 5)
    for i in range(5):
        step = np.zeros_like(X)
        step[:, i] = 1
        moved = reference.forward(w, b, X + 1e-30j * step, net.activations)[1][-1]
        np.testing.assert_allclose(by_inputs[:, :, i], np.imag(moved) / 1e-30, rtol=0, atol=1e-13)
    by_params = net.jacobian(X, wrt="params")
    assert by_params.shape == (13, 3, net.params.size)
    v = rng.standard_normal(net.params.shape)
    np.testing.assert_allclose(by_params @ v, net.jvp(X, v), rtol=0, atol=1e-13)


def test_bad_input():
    net = make()
    with pytest.raises(ValueError, match=r"\[example_grads\] y has 2 rows"):
        net.example_grads(X, [0, 1])
    with pytest.raises(ValueError, match=r"\[example_grads\] out has shape \(2, 2\), expected \(13, 111\)"):
        net.example_grads(X, np.zeros(13, int), out=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="wrt"):
        net.jacobian(X, wrt="weights")


def one_by_one(net, X, y, weight=None):
    """Each row's own gradient, from one call for each row."""
    rows = range(len(X))
    c = [None if weight is None else weight[n : n + 1] for n in rows]
    return np.stack([net.value_and_grad(X[n : n + 1], y[n : n + 1], c[n], reduction="sum")[1] for n in rows])


@pytest.mark.parametrize("rows, sizes", [(1, (3, 2)), (37, (5, 9, 4, 3)), (700, (20, 64, 10)), (64, (300, 128, 10))])
def test_norms_and_clipped_sums(rows, sizes):
    rng = np.random.default_rng(rows)
    net = fb.MLP(sizes, loss="cross_entropy", activation="tanh", seed=1, dtype="float64", l2=0.1)
    X, y, c = rng.standard_normal((rows, sizes[0])), rng.integers(0, sizes[-1], rows), rng.uniform(0.1, 2, rows)
    own = one_by_one(net, X, y)
    norms = np.linalg.norm(own, axis=1)
    for form in (X, np.asfortranarray(X), X[:, ::-1][:, ::-1]):
        for threads in (1, 2):
            with fb.set_num_threads(threads):
                r = net.backward(form, y, c, returns=("example_grad_norm", "example_loss", "grad", "input_grad"))
                np.testing.assert_allclose(r.example_grad_norm, norms, rtol=1e-12)
                limit = float(np.median(norms))
                clipped = own * np.minimum(1, limit / norms)[:, None]
                value, grad = net.value_and_grad(form, y, c, max_example_norm=limit)
                penalty = net.value_and_grad(X, y)[1] - own.mean(axis=0)
                np.testing.assert_allclose(grad, c @ clipped / c.sum() + penalty, rtol=1e-11, atol=1e-13)
                assert value == net.value(form, y, c)
                grad = net.value_and_grad(form, y, reduction="sum", max_example_norm=limit)[1]
                np.testing.assert_allclose(grad, clipped.sum(axis=0), rtol=1e-11, atol=1e-13)
    plain = net.backward(X, y, c, returns=("grad", "input_grad"))
    np.testing.assert_array_equal(r.grad, plain.grad)  # norms are only looked at
    np.testing.assert_array_equal(r.input_grad, plain.input_grad)


def test_rows_and_outputs_without_weight():
    rng = np.random.default_rng(3)
    net = fb.MLP((4, 6, 3), loss="squared_error", seed=0, dtype="float64")
    X, y, c = rng.standard_normal((9, 4)), rng.standard_normal((9, 3)), np.ones(9)
    own = one_by_one(net, X, y)
    c[2], y[2] = 0, np.nan
    norms = np.linalg.norm(own, axis=1) * (c > 0)
    limit = float(np.median(norms))
    r = net.backward(X, y, c, returns="example_grad_norm")
    np.testing.assert_allclose(r.example_grad_norm, norms, rtol=1e-12)
    clipped = own * np.minimum(1, limit / np.linalg.norm(own, axis=1))[:, None]
    grad = net.value_and_grad(X, y, c, max_example_norm=limit)[1]
    np.testing.assert_allclose(grad, c @ clipped / 8, rtol=1e-12)
    outputs = rng.uniform(0.5, 2, (9, 3))
    outputs[5, 1], y = 0, np.nan_to_num(y)
    own = one_by_one(net, X, y, outputs)
    r = net.backward(X, y, outputs, returns="example_grad_norm")
    np.testing.assert_allclose(r.example_grad_norm, np.linalg.norm(own, axis=1), rtol=1e-12)


def test_a_loss_function_has_norms_too():
    rng = np.random.default_rng(4)
    X, y, c = rng.standard_normal((50, 4)), rng.standard_normal((50, 2)), rng.uniform(0.5, 2, 50)
    named = fb.MLP((4, 8, 2), loss="squared_error", seed=0, dtype="float64")
    own = fb.MLP((4, 8, 2), loss=lambda y, x: (0.5 * ((x - y) ** 2).sum(1), x - y), seed=0, dtype="float64")
    expected = named.backward(X, y, c, returns=("example_grad_norm", "example_loss"))
    found = own.backward(X, y, c, returns=("example_grad_norm", "example_loss"))
    np.testing.assert_allclose(found.example_grad_norm, expected.example_grad_norm, rtol=1e-13)
    np.testing.assert_allclose(found.example_loss, expected.example_loss, rtol=1e-13)
    clipped = [net.value_and_grad(X, y, c, max_example_norm=0.7)[1] for net in (named, own)]
    np.testing.assert_allclose(clipped[1], clipped[0], rtol=1e-12)


@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.5)])
def test_fit_with_clipped_examples(optimizer):
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((70, 4)), rng.integers(0, 3, 70)
    net = fb.MLP((4, 8, 3), loss="cross_entropy", seed=0, dtype="float64")
    by_hand = net.to("cpu")
    net.fit(X, y, optimizer=optimizer, batch_size=32, epochs=3, shuffle=False, max_example_norm=0.5)
    state = optimizer.init(by_hand.params)
    for _ in range(3):
        for begin in range(0, 70, 32):
            part = slice(begin, begin + 32)
            state.update(by_hand.params, by_hand.value_and_grad(X[part], y[part], max_example_norm=0.5)[1])
    np.testing.assert_allclose(net.params, by_hand.params, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf, "1"])
def test_limits_are_checked(limit):
    net = fb.MLP((2, 1), loss="squared_error")
    for call in (net.value_and_grad, net.fit):
        with pytest.raises((TypeError, ValueError), match=r"max_example_norm is .* expected a finite number > 0"):
            call([[1.0, 2.0]], [1.0], max_example_norm=limit)


def test_a_norm_that_overflows_leaves_the_row_out():
    net = fb.MLP((1, 1, 1), loss="squared_error", activation="tanh", dtype="float64", init="zeros")
    net.weights[0] = [[1.0]]
    net.biases[1] = [100.0]
    X = np.array([[1e200], [0.5]])
    with np.errstate(all="ignore"):
        grad = net.value_and_grad(X, [0.0, 0.0], reduction="sum", max_example_norm=1.0)[1]
    alone = net.value_and_grad(X[1:], [0.0], reduction="sum", max_example_norm=1.0)[1]
    np.testing.assert_array_equal(grad, alone)


def test_out_may_not_lie_in_an_input():
    net = fb.MLP((4, 2), loss="squared_error", seed=0)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"\[example_grads\] out overlaps the parameters in memory"):
        net.example_grads(np.ones((1, 4)), np.ones((1, 2)), out=net.params.reshape(1, -1))
    np.testing.assert_array_equal(net.params, before)

"""Gradients of single rows and Jacobians, against the same for each row alone and complex steps."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import _examples, reference

RNG = np.random.default_rng(8)
X = RNG.standard_normal((13, 5))


def make(loss="cross_entropy", **more):
    return fb.MLP((5, 7, 6, 3), loss=loss, activation="tanh", dtype="float64", seed=1, **more)


@pytest.mark.parametrize("chunk", [1, 200, 4_000_000])
def test_example_grads_are_those_of_each_row_alone(monkeypatch, chunk):
    monkeypatch.setattr(_examples, "CHUNK_NUMBERS", chunk)
    net, y = make(l2=0.5), RNG.integers(0, 3, 13)
    grads = net.example_grads(X, y)
    for n in range(13):
        alone = net.value_and_grad(X[n : n + 1], y[n : n + 1], reduction="sum")[1]
        np.testing.assert_allclose(grads[n], alone, rtol=0, atol=1e-14)
    out = np.full_like(grads, np.nan)
    assert net.example_grads(X, y, out=out) is out
    np.testing.assert_array_equal(out, grads)


def test_a_loss_given_as_a_function():
    net = make(lambda y, x: (((x - y) ** 2).sum(axis=1) / 2, x - y))
    twin = make("squared_error")
    twin.params = net.params
    y = RNG.standard_normal((13, 3))
    np.testing.assert_allclose(net.example_grads(X, y), twin.example_grads(X, y), rtol=0, atol=1e-14)


@pytest.mark.parametrize("output", ["identity", "softmax", "exp"])
def test_jacobians(output):
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
    v = RNG.standard_normal(net.params.shape)
    np.testing.assert_allclose(by_params @ v, net.jvp(X, v), rtol=0, atol=1e-13)


def test_bad_input():
    net = make()
    with pytest.raises(ValueError, match=r"\[example_grads\] y has 2 rows"):
        net.example_grads(X, [0, 1])
    with pytest.raises(ValueError, match=r"\[example_grads\] out is float64\(2, 2\), expected float64\(13, 111\)"):
        net.example_grads(X, np.zeros(13, int), out=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="wrt"):
        net.jacobian(X, wrt="weights")

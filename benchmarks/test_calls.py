"""The core calls one by one, by pytest-benchmark; each answer is checked. Not part of the test suite."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference
from fastbp._bench import PROBLEMS
from fastbp._fit import Epochs

RATE = 1e-3


@pytest.fixture(params=PROBLEMS[:5], ids=lambda problem: problem.name.replace(", batch ", "x"))
def case(request):
    """A net and one mini-batch."""
    return request.param.net(), *request.param.data(request.param.batch)


def weights(net):
    return reference.views(net.params.astype(np.float64), net.layer_sizes)


def close(given, true):
    return np.linalg.norm(given - true) <= 1e-4 * np.linalg.norm(true)


def test_forward(benchmark, case):
    net, X, _ = case
    out = benchmark(net.forward, X)
    assert close(out, reference.forward(*weights(net), X, net.activations)[1][-1])


def test_value_and_grad(benchmark, case):
    net, X, y = case
    value, grad = benchmark(net.value_and_grad, X, y)
    true_value, *grads = reference.value_and_grad(*weights(net), X, y, net.activations, net.loss)
    assert value == pytest.approx(true_value, rel=1e-4)
    assert close(grad, reference.flatten(*grads))


def test_fit_step(benchmark, case):
    """A step inside fit; the first one, and the value that the loss has come down from at the end."""
    net, X, y = case
    w, b = weights(net)
    run = Epochs("fit", net, X, y, None, fb.SGD(lr=RATE).init(net.params, seed=0))

    def step():
        return run.run(len(X), shuffle=False, drop_last=False, lr=RATE)

    first = step()
    value, *grads = reference.value_and_grad(w, b, X, y, net.activations, net.loss)
    assert first == pytest.approx(value, rel=1e-4)
    assert close(net.params, reference.flatten(w, b) - RATE * reference.flatten(*grads))
    assert benchmark(step) < first

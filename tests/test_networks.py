"""Random networks: value and gradient against the NumPy reference, and the reference against differences."""

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference
from fastbp._functions import HIDDEN_ACTIVATIONS, LOSSES, RELU_LIKE

COUNT = 520
ANALYTIC = {"identity", "logistic", "tanh", "silu", "softplus", "sine", "exp", "softmax"}
SMOOTH_LOSSES = {"squared_error", "cross_entropy", "poisson"}
KINKED = {"relu", "leaky_relu", "elu"}


class Network:
    """A network drawn from a seed: 1 to 6 layers, widths 1 to 70, Glorot or He weights, N(0, 1) inputs."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng([7, seed])
        depth = int(rng.integers(1, 7))
        self.sizes = [int(d) for d in rng.integers(1, 71, depth + 1)]
        hidden, losses = list(HIDDEN_ACTIVATIONS), list(LOSSES)
        # Every activation and loss comes up in turn; what stands beside it is drawn.
        self.loss = losses[seed % len(losses)]
        self.activations = [hidden[(seed + k) % len(hidden)] for k in range(depth - 1)]
        self.output = self._output()
        if self.output == "softmax" and self.sizes[-1] == 1:
            self.sizes[-1] = 2
        self.init = ("he_normal", "glorot_uniform")[int(rng.integers(2))]
        self.rows = int(rng.integers(1, 80))
        self.X = rng.standard_normal((self.rows, self.sizes[0]))
        self.y = self._targets()
        self.sample_weight = rng.random(self.rows) + 0.1 if rng.random() < 0.3 else None
        self.seed = seed

    def _output(self):
        rng = self.rng
        if self.loss == "cross_entropy":
            return str(rng.choice(["softmax", "logistic"]))
        if self.loss == "poisson":
            return str(rng.choice(["exp", "softplus", "softmax"]))
        return str(rng.choice([*HIDDEN_ACTIVATIONS, "exp", "softmax"]))

    def _targets(self):
        rng, shape = self.rng, (self.rows, self.sizes[-1])
        if self.output == "softmax":
            if rng.random() < 0.7:
                return rng.integers(0, shape[1], shape[0])
            p = rng.random(shape)
            return p / p.sum(axis=1, keepdims=True)
        if self.loss == "cross_entropy":
            return (rng.random(shape) < 0.5).astype(float)
        if self.loss == "poisson":
            return rng.poisson(1.5, shape).astype(float)
        return rng.standard_normal(shape)

    def net(self, dtype):
        return fb.MLP(
            self.sizes, loss=self.loss, activation=self.activations, output_activation=self.output, init=self.init,
            seed=self.seed, dtype=dtype,
        )  # fmt: skip

    def reference(self, net, X, params):
        w, b = reference.views(params, net.layer_sizes)
        value, grad_w, grad_b = reference.value_and_grad(
            w, b, X, self.y, net.activations, self._loss_spec(), self.sample_weight
        )
        return value, reference.flatten(grad_w, grad_b)

    def _loss_spec(self):
        return self.loss

    def near_a_kink(self, net, params, distance):
        """Whether rounding of this size could take a unit, or a residual, to the other side of a kink."""
        w, b = reference.views(params, net.layer_sizes)
        s, x = reference.forward(w, b, self.X, net.activations)
        for s_l, (g, _) in zip(s, net.activations, strict=True):
            if g in KINKED and np.abs(s_l).min() < distance * np.abs(s_l).max():
                return True
        if self.loss in ("absolute_error", "pinball", "huber") and np.ndim(self.y) == 2:
            r = np.abs(x[-1] - self.y)
            edges = [0.0] if self.loss != "huber" else [1.0]
            return min(np.abs(r - edge).min() for edge in edges) < distance
        return False


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_agrees_with_the_reference(dtype, tolerance):
    """At least 500 networks in each type. Near a kink a gradient may jump by rounding alone: another one is drawn."""
    worst, tested, seed, seen = 0.0, 0, 0, set()
    while tested < COUNT:
        network = Network(seed)
        net = network.net(dtype)
        seed += 1
        params = net.params.astype(np.float64)
        if network.near_a_kink(net, params, 1e-5 if dtype == "float32" else 1e-13):
            continue
        network.X = network.X.astype(dtype).astype(np.float64)
        value, grad = net.value_and_grad(network.X, network.y, network.sample_weight)
        expected_value, expected = network.reference(net, network.X, params)
        errors = [
            abs(value - expected_value) / max(abs(expected_value), 1e-30),
            np.linalg.norm(grad - expected) / max(np.linalg.norm(expected), 1e-30),
        ]
        assert all(error <= tolerance for error in errors), f"seed {network.seed}: {net}, errors {errors}"
        worst = max(worst, *errors)
        tested += 1
        seen.update([*network.activations, network.output, network.loss])
    assert seen == {*HIDDEN_ACTIVATIONS, "exp", "softmax", *LOSSES}
    print(f"{tested} networks, worst relative error {worst:.2e}")


def test_the_reference_agrees_with_differences():
    """Complex step where the functions are analytic, else central differences, along random directions."""
    tested = {"complex": 0, "central": 0}
    for seed in range(300):
        network = Network(seed)
        net = network.net("float64")
        params = net.params.copy()
        value, grad = network.reference(net, network.X, params)
        names = {*network.activations, network.output}
        v = network.rng.standard_normal(params.size) / np.sqrt(params.size)
        if names <= ANALYTIC and network.loss in SMOOTH_LOSSES:
            h = 1e-30
            slope = network.reference(net, network.X.astype(complex), params + 1j * h * v)[0].imag / h
            tolerance, kind = 1e-12 * np.linalg.norm(grad) + 1e-15, "complex"
        else:
            if network.near_a_kink(net, params, 1e-4):
                continue
            h = 1e-5
            slope = (
                network.reference(net, network.X, params + h * v)[0]
                - network.reference(net, network.X, params - h * v)[0]
            ) / (2 * h)
            tolerance, kind = 1e-7 * (np.linalg.norm(grad) + abs(value)), "central"
        assert abs(slope - grad @ v) <= tolerance, f"seed {seed}: {net} by {kind} step"
        tested[kind] += 1
    assert tested["complex"] >= 20
    assert tested["central"] >= 100


def test_relu_like_is_the_set_that_he_initialises():
    assert set(HIDDEN_ACTIVATIONS) >= RELU_LIKE

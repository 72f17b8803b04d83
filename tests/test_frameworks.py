"""Against the frameworks: gradients by autograd, steps by torch.optim, the digits of scikit-learn."""

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = pytest.mark.frameworks


def rng():
    return np.random.default_rng(5)


def torch_net(torch, net):
    """The same network as an nn.Sequential, with fastbp's parameters."""
    modules = {
        "identity": torch.nn.Identity(), "tanh": torch.nn.Tanh(), "relu": torch.nn.ReLU(), "gelu": torch.nn.GELU(),
        "silu": torch.nn.SiLU(), "softplus": torch.nn.Softplus(), "logistic": torch.nn.Sigmoid(),
        "elu": torch.nn.ELU(), "leaky_relu": torch.nn.LeakyReLU(0.01), "softmax": torch.nn.Identity(),
    }  # fmt: skip
    layers = []
    for w, b, (g, _) in zip(net.weights, net.biases, net.activations, strict=True):
        linear = torch.nn.Linear(*w.shape, dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b.copy())
        layers += [linear, modules[g]]
    return torch.nn.Sequential(*layers)


def flat(parameters):
    return np.concatenate([(p.T if p.ndim == 2 else p).detach().numpy().ravel() for p in parameters])


HIDDEN = ["tanh", "relu", "gelu", "silu", "softplus", "logistic", "elu", "leaky_relu"]


@pytest.mark.parametrize("activation", HIDDEN)
def test_gradients_equal_autograd(activation):
    torch = require("torch")
    X, y = rng().standard_normal((40, 7)), rng().integers(0, 4, 40)
    net = fb.MLP((7, 19, 11, 4), loss="cross_entropy", activation=activation, seed=1, dtype="float64")
    model = torch_net(torch, net)
    loss = torch.nn.functional.cross_entropy(model(torch.tensor(X)), torch.tensor(y))
    loss.backward()
    value, grad = net.value_and_grad(X, y)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    expected = flat([p.grad for p in model.parameters()])
    assert np.linalg.norm(grad - expected) <= 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize("activation", HIDDEN)
def test_second_derivatives_equal_double_autograd(activation):
    """hvp and input_grad_vjp, to 1e-9."""
    torch = require("torch")
    X, y = torch.tensor(rng().standard_normal((40, 7)), requires_grad=True), rng().integers(0, 4, 40)
    net = fb.MLP((7, 19, 11, 4), loss="cross_entropy", activation=activation, seed=1, dtype="float64")
    model = torch_net(torch, net)
    parameters = list(model.parameters())
    v, u = rng().standard_normal(net.params.shape), rng().standard_normal((40, 7))
    views = [view for layer in zip(*fb.reference.views(v, net.layer_sizes), strict=True) for view in layer]
    directions = [torch.tensor(view.T.copy()) for view in views]
    loss = torch.nn.functional.cross_entropy(model(X), torch.tensor(y))
    *gradients, input_grad = torch.autograd.grad(loss, [*parameters, X], create_graph=True)
    along_v = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    along_u = (input_grad * torch.tensor(u)).sum()
    x = X.detach().numpy()
    for found, slope in ((net.hvp(x, y, v), along_v), (net.input_grad_vjp(x, y, u), along_u)):
        grads = torch.autograd.grad(slope, parameters, retain_graph=True, materialize_grads=True)
        expected = flat(grads)
        assert np.linalg.norm(found - expected) <= 1e-9 * np.linalg.norm(expected)


LOSSES = {
    "squared_error": lambda F, x, y: 0.5 * F.mse_loss(x, y, reduction="sum"),
    "huber": lambda F, x, y: F.huber_loss(x, y, reduction="sum"),
    "absolute_error": lambda F, x, y: F.l1_loss(x, y, reduction="sum"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_torch(loss):
    torch = require("torch")
    X, y = rng().standard_normal((30, 5)), rng().standard_normal((30, 3))
    net = fb.MLP((5, 8, 3), loss=loss, activation="tanh", seed=1, dtype="float64")
    model = torch_net(torch, net)
    value = LOSSES[loss](torch.nn.functional, model(torch.tensor(X)), torch.tensor(y))
    value.backward()
    found, grad = net.value_and_grad(X, y, reduction="sum")
    assert found == pytest.approx(value.item(), rel=1e-12)
    expected = flat([p.grad for p in model.parameters()])
    assert np.linalg.norm(grad - expected) <= 1e-12 * np.linalg.norm(expected)


OPTIMIZERS = {
    "sgd": (fb.SGD(lr=0.05), "SGD", {"lr": 0.05}),
    "momentum": (fb.SGD(lr=0.02, momentum=0.9), "SGD", {"lr": 0.02, "momentum": 0.9}),
    "damped": (
        fb.SGD(lr=0.02, momentum=0.9, dampening=0.3, weight_decay=0.01),
        "SGD",
        {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    ),
    "nesterov": (fb.SGD(lr=0.02, momentum=0.9, nesterov=True), "SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "adam": (fb.Adam(lr=0.01), "Adam", {"lr": 0.01}),
    "adam, decay": (
        fb.Adam(lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1},
    ),
}
# The other recipes have torch's own names and defaults throughout.
SAME_NAMES = {
    "rmsprop": ("RMSprop", {}),
    "rmsprop, decay": ("RMSprop", {"lr": 0.002, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.1}),
    "rmsprop, momentum": ("RMSprop", {"lr": 0.002, "momentum": 0.8}),
    "rmsprop, centered": ("RMSprop", {"lr": 0.002, "centered": True}),
    "rmsprop, all": (
        "RMSprop",
        {"lr": 0.002, "alpha": 0.95, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.7, "centered": True},
    ),
    "adagrad": ("Adagrad", {}),
    "adagrad, all": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-6},
    ),
    "adamw": ("AdamW", {}),
    "adamw, all": ("AdamW", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3}),
    "adam, defaults": ("Adam", {}),
    "rprop": ("Rprop", {}),
    "rprop, all": ("Rprop", {"lr": 0.003, "etas": (0.4, 1.3), "step_sizes": (1e-4, 0.02)}),
}
OPTIMIZERS.update({name: (getattr(fb, kind)(**given), kind, given) for name, (kind, given) in SAME_NAMES.items()})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_100_steps_equal_torch_optim(name):
    torch = require("torch")
    recipe, class_name, options = OPTIMIZERS[name]
    X, y = rng().standard_normal((100 * 8, 6)), rng().integers(0, 3, 100 * 8)
    net = fb.MLP((6, 12, 3), loss="cross_entropy", activation="tanh", seed=1, dtype="float64")
    model = torch_net(torch, net)
    optimizer = getattr(torch.optim, class_name)(model.parameters(), **options)
    history = net.fit(X, y, optimizer=recipe, batch_size=8, epochs=1, shuffle=False)
    assert history.state.step == 100
    for k in range(100):
        rows = slice(8 * k, 8 * k + 8)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.tensor(X[rows])), torch.tensor(y[rows])).backward()
        optimizer.step()
    assert np.abs(net.params - flat(model.parameters())).max() <= 1e-10


def test_the_bundled_digits_are_scikit_learns():
    datasets = require("sklearn.datasets")
    from fastbp._data import load_digits

    X, y = load_digits()
    expected = datasets.load_digits()
    np.testing.assert_array_equal(X, expected.data)
    np.testing.assert_array_equal(y, expected.target)


def test_the_demo_draws_its_curve(tmp_path):
    require("matplotlib")
    from fastbp.cli import main

    assert main(["demo", "--out", str(tmp_path)]) == 0
    (png,) = tmp_path.glob("*.png")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

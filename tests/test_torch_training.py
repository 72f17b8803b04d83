"""Training with fastbp.torch.MLP: torch.optim's steps, the fused loss, and memory that is not copied."""

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = pytest.mark.frameworks
torch, MLP = require("torch"), require("fastbp.torch").MLP
nn, F = torch.nn, require("torch.nn.functional")


def pair(dtype=torch.float32, outputs=3):
    ours = MLP((6, 12, outputs), "tanh", dtype=dtype)
    theirs = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, outputs)).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def data(rows, dtype=torch.float32, outputs=3):
    rng = np.random.default_rng(5)
    X = torch.tensor(rng.standard_normal((rows, 6)), dtype=dtype)
    y = torch.tensor(rng.integers(0, outputs, rows))
    return X, y, torch.tensor(rng.standard_normal((rows, outputs)), dtype=dtype)


OPTIMIZERS = {
    "SGD": {"lr": 0.05, "momentum": 0.9}, "Adam": {"lr": 0.01}, "LBFGS": {"lr": 0.1, "max_iter": 1},
}  # fmt: skip


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_100_steps_are_those_of_a_sequential(name, fused):
    torch.manual_seed(0)
    whole = name == "LBFGS"  # on mini-batches it diverges, here as there
    dtype = torch.float64 if whole else torch.float32
    ours, theirs = pair(dtype)
    X, y, _ = data(800, dtype)
    for model in (ours, theirs):
        optimizer = getattr(torch.optim, name)(model.parameters(), **OPTIMIZERS[name])
        for k in range(100):
            part = slice(0, 200) if whole else slice(8 * k, 8 * k + 8)

            def closure(model=model, part=part, optimizer=optimizer):
                optimizer.zero_grad()
                if fused and model is ours:
                    return model.loss(X[part], y[part])
                value = F.cross_entropy(model(X[part]), y[part])
                value.backward()
                return value.detach()

            if whole:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)


def weighted(e, c):
    return (c * e).sum() / c.sum()


LOSSES = {
    "cross_entropy": (3, lambda x, y, t, c: weighted(F.cross_entropy(x, y, reduction="none"), c)),
    "cross_entropy, one output": (
        1, lambda x, y, t, c: weighted(F.binary_cross_entropy_with_logits(x[:, 0], y.double(), reduction="none"), c)
    ),
    "squared_error": (3, lambda x, y, t, c: weighted(F.mse_loss(x, t, reduction="none").mean(1), c) * 3 / 2),
    "huber": (3, lambda x, y, t, c: weighted(F.huber_loss(x, t, reduction="none").sum(1), c)),
    "poisson": (3, lambda x, y, t, c: weighted((x.exp() - t.abs() * (x + 1 - t.abs().log())).sum(1), c)),
    "absolute_error": (3, lambda x, y, t, c: weighted(F.l1_loss(x, t, reduction="none").sum(1), c)),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [False, True])
def test_the_fused_loss_is_autograds(name, weights):
    outputs, expected = LOSSES[name]
    ours, theirs = pair(torch.float64, outputs)
    X, y, t = data(20, torch.float64, outputs)
    y = y if outputs > 1 else y % 2
    targets = {"cross_entropy": y, "cross_entropy, one output": y, "poisson": t.abs()}.get(name, t)
    c = torch.linspace(0, 2, 20, dtype=torch.float64) if weights else torch.ones(20, dtype=torch.float64)
    for _ in range(2):  # the second time it is added
        value = ours.loss(X, targets, name.partition(",")[0], c if weights else None)
        reference = expected(theirs(X), y, t, c)
        reference.backward()
        assert value == pytest.approx(reference.item(), rel=1e-12)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-12)


def test_the_fused_loss_in_sums_probabilities_and_quantiles():
    ours, theirs = pair(torch.float64)
    X, y, t = data(20, torch.float64)
    assert isinstance(ours.loss(X, y), float)
    assert ours.loss(X, y, reduction="sum") == pytest.approx(F.cross_entropy(theirs(X), y, reduction="sum").item())
    soft = t.softmax(1)
    assert ours.loss(X, soft) == pytest.approx(F.cross_entropy(theirs(X), soft).item() + (soft * 0).sum().item())
    r = theirs(X) - t
    assert ours.loss(X, t, fb.Pinball([0.2, 0.5, 0.8])) == pytest.approx(
        torch.maximum(-torch.tensor([0.2, 0.5, 0.8]) * r, torch.tensor([0.8, 0.5, 0.2]) * r).sum(1).mean().item()
    )


def test_the_fused_loss_leaves_alone_what_asks_for_no_gradient():
    ours, _ = pair()
    X, y, _ = data(8)
    ours.get_submodule("0").requires_grad_(False)
    ours.loss(X, y)
    assert [p.grad is None for p in ours.parameters()] == [True, True, False, False]
    ours.zero_grad()
    with torch.no_grad():
        assert ours.loss(X, y) > 0
    assert all(p.grad is None for p in ours.parameters())
    nn.utils.parametrizations.weight_norm(ours.get_submodule("2"))
    with pytest.raises(ValueError, match="a parameter is itself computed"):
        ours.loss(X, y)


def test_gradients_of_two_steps_are_apart():
    ours, _ = pair()
    X, y, _ = data(8)
    for step in (lambda: ours.loss(X, y), lambda: F.cross_entropy(ours(X), y).backward()):
        ours.zero_grad()
        step()
        kept = [(p.grad, p.grad.clone()) for p in ours.parameters()]
        ours.zero_grad()
        ours.loss(2 * X, y)
        assert all(torch.equal(grad, copy) for grad, copy in kept)


class Spy:
    """A core whose calls are written down."""

    def __init__(self, core, calls):
        self._core, self._calls = core, calls

    def __getattr__(self, name):
        def call(*arguments):
            self._calls.append((name, arguments))
            return getattr(self._core, name)(*arguments)

        return call


@pytest.fixture
def calls(monkeypatch):
    """The core's calls: names and arguments."""
    from fastbp.torch import _loss, _passes

    found = []
    for module in (_loss, _passes):
        core_of = module.core_of
        monkeypatch.setattr(module, "core_of", lambda *key, core_of=core_of: Spy(core_of(*key), found))
    return found


def addresses(tensors):
    return [tensor.data_ptr() for tensor in tensors]


def test_nothing_is_copied_by_autograd(calls):
    """The core reads X, the parameters and the cotangent where they lie, and writes the very output and gradients."""
    ours = pair()[0]
    X = data(8)[0].requires_grad_()
    cotangent = torch.ones(8, 3)
    out = ours(X)
    out.backward(cotangent)
    (forward, (params, x, _, written, kept)), (pull_back, again) = calls
    assert (forward, pull_back) == ("forward_at", "pull_back_at")
    assert (params, x, written) == (addresses(ours.parameters()), X.data_ptr(), out.data_ptr())
    assert again == (
        params, x, 8, kept, cotangent.data_ptr(), addresses(p.grad for p in ours.parameters()), X.grad.data_ptr(),
    )  # fmt: skip


def test_nothing_is_copied_by_the_operators(calls):
    ours, X, cotangent = pair()[0], data(8)[0], torch.ones(8, 3)
    out, pull_back = torch.func.vjp(ours, X)
    (input_grad,) = pull_back(cotangent)
    (_, (params, x, _, written, kept)), (_, again) = calls
    assert (params, x, written) == (addresses(ours.parameters()), X.data_ptr(), out.data_ptr())
    assert again[:5] == (params, x, 8, kept, cotangent.data_ptr())
    assert again[6] == input_grad.data_ptr()


def test_nothing_is_copied_by_the_fused_loss(calls):
    ours, (X, y, _) = pair()[0], data(8)
    ours.loss(X, y)
    ((_, (_, params, x, target, *_)),) = calls
    assert [p.ctypes.data for p in params] == addresses(ours.parameters())
    assert (x.ctypes.data, target.ctypes.data) == (X.data_ptr(), y.data_ptr())


def test_parameters_that_shrink_behind_autograds_back_are_refused():
    ours, X = pair()[0], data(8)[0]
    out = ours(X).sum()
    ours.get_parameter("0.weight").data = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="a parameter or what the forward pass kept has changed its form"):
        out.backward()


def test_numbers_with_a_sign_flag_are_read_with_their_sign():
    ours, X = pair()[0], data(8)[0]
    negated = torch.complex(torch.zeros_like(X), X).conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(ours(negated), ours(-X), rtol=0, atol=0)


class ByAttributes:
    """A tensor whose type has no table of functions for DLPack, as in a torch before 2.10."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __getattr__(self, name):
        return getattr(self._tensor, name)


def test_places_are_told_alike_by_the_table_and_by_attributes():
    x = torch.zeros(6, 4, requires_grad=True)
    negated = torch.complex(torch.zeros(6, 4), torch.ones(6, 4)).conj().imag
    fit = [x, x.detach()[2:], nn.Parameter(torch.zeros(1, 4)), torch.zeros(0, 4), torch.zeros(1, 9)[:, 3:7]]
    misfits = [
        torch.zeros(6, 8)[:, ::2], torch.zeros(4, 6).T, x.double(), x.view(4, 6), x.flatten(), negated, x.to("meta"),
    ]  # fmt: skip
    for tensor, fits in [*((t, True) for t in fit), *((t, False) for t in misfits)]:
        shapes = (6, 4), (len(tensor) if fits else 6, 4)
        expected = [x.data_ptr(), tensor.data_ptr()] if fits else None
        for told in (tensor, ByAttributes(tensor)):
            assert fb._core.addresses((x, told), shapes, torch.float32) == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_the_fused_loss_leaves_rows_of_weight_0_out(loss, bad):
    model, _ = pair()
    X, classes, values = data(9)
    y, c = classes if loss == "cross_entropy" else values, torch.linspace(0.5, 2, 9)
    X[4], c[4] = bad, 0
    others = torch.arange(9) != 4
    found = []
    for rows in (slice(None), others):
        model.zero_grad()
        value = model.loss(X[rows], y[rows], loss, sample_weight=c[rows])
        found.append((value, [p.grad.clone() for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1])

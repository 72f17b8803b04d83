"""fastbp.torch.MLP as a module: nn.Sequential's parameters, names and habits, and clear refusals."""

import copy
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = pytest.mark.frameworks
torch, MLP = require("torch"), require("fastbp.torch").MLP
nn = torch.nn


def sequential(sizes, activation=nn.ReLU, **options):
    layers = [
        part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b, **options), activation())
    ]
    return nn.Sequential(*layers[:-1])


def pair(sizes=(5, 8, 7, 3), activation="relu", module=nn.ReLU, **options):
    """Ours and the nn.Sequential, from the same seed."""
    torch.manual_seed(3)
    ours = MLP(sizes, activation, **options)
    torch.manual_seed(3)
    return ours, sequential(sizes, module, **options)


def same(found, expected, rtol=1e-5):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol)


def test_initial_values_names_and_states_are_those_of_a_sequential():
    ours, theirs = pair()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(isinstance(p, nn.Parameter) for p in ours.parameters())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)
    for source, target in ((ours, sequential((5, 8, 7, 3))), (sequential((5, 8, 7, 3)), ours)):
        target.load_state_dict(source.state_dict())
        x = torch.randn(4, 5)
        same(target(x), source(x))


ACTIVATIONS = {
    "identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_outputs_and_gradients_are_those_of_a_sequential(name):
    ours, theirs = pair(activation=name, module=ACTIVATIONS[name], dtype=torch.float64)
    x, c = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    found, expected = [], []
    for model, results in ((ours, found), (theirs, expected)):
        rows = x.clone().requires_grad_()
        out = model(rows)
        out.backward(c)
        results += [out, rows.grad, *(p.grad for p in model.parameters())]
    same(found, expected, 1e-10)


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 3, 5), (2, 0, 5), (1, 5)])
def test_leading_dimensions_are_those_of_linear(shape):
    ours, theirs = pair()
    found = []
    for model in (ours, theirs):
        x = torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape).requires_grad_()
        out = model(x)
        out.pow(2).sum().backward()
        found.append([out, x.grad, *(p.grad for p in model.parameters())])
    same(*found)


def test_gaps_in_memory_change_nothing():
    ours, theirs = pair()
    for x in (torch.randn(5, 6).T, torch.randn(6, 10)[:, ::2], torch.randn(1, 5).expand(6, 5)):
        same(ours(x), theirs(x))
    turned = {name: p.detach().t().contiguous().t() for name, p in theirs.named_parameters()}
    same(torch.func.functional_call(ours, turned, (x,)), theirs(x))
    ours(x).sum().backward()  # a cotangent of stride 0
    theirs(x).sum().backward()
    same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def test_copies_files_and_types():
    ours, _ = pair((5, 8, 3), "tanh", nn.Tanh)
    x = torch.randn(4, 5)
    expected, file = ours(x), io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    loaded = MLP((5, 8, 3), "tanh")
    loaded.load_state_dict(torch.load(file))
    for model in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), loaded):
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    double = copy.deepcopy(ours).double()
    assert double(x.double()).dtype == torch.float64
    same(double(x.double()).float(), expected)
    same(double.to(torch.float32)(x), expected)
    assert "tanh" in repr(ours)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), expected.detach(), rtol=0, atol=0)
    assert MLP((5, 2), device="meta")(torch.zeros(3, 5, device="meta")).shape == (3, 2)


def test_frozen_replaced_and_parametrised_parameters():
    ours, theirs = pair()
    x = torch.randn(6, 5)
    for model in (ours, theirs):
        model.get_submodule("0").requires_grad_(False)
        model.get_submodule("2").weight = nn.Parameter(torch.ones(7, 8))
        nn.utils.parametrizations.weight_norm(model.get_submodule("4"))
        model(x).pow(2).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.requires_grad == q.requires_grad
        same(p.grad, q.grad, 1e-4)
    assert ours.get_parameter("0.weight").grad is None
    for p in ours.parameters():
        p.requires_grad_(False)
    assert not ours(x).requires_grad
    x.requires_grad_()
    ours(x).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.filterwarnings("ignore")  # the older ways are told to be old
@pytest.mark.parametrize("way", ["pruned", "weight_norm", "spectral_norm"])
def test_weights_that_a_hook_computes_follow_their_parameters(way):
    ours, theirs = pair()
    x, generator = torch.randn(6, 5), torch.get_rng_state()
    for model in (ours, theirs):
        torch.set_rng_state(generator)
        layer = model.get_submodule("2")
        if way == "pruned":
            require("torch.nn.utils.prune").l1_unstructured(layer, "weight", 20)
        else:
            getattr(nn.utils, way)(layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()
    same(ours(x), theirs(x))
    same(list(ours.parameters()), list(theirs.parameters()))


def test_what_a_transform_has_left_behind_is_unwrapped():
    ours, _ = pair()
    x, left = torch.randn(6, 5), []
    torch.func.grad(lambda x: (left.append(x), x.sum())[1])(x)
    torch.testing.assert_close(ours(left[0]), ours(x), rtol=0, atol=0)


def test_what_has_changed_since_forward_is_refused():
    ours, _ = pair()
    out = ours(torch.randn(6, 5)).sum()
    with torch.no_grad():
        ours.get_parameter("2.weight").add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()
    out = ours(torch.randn(6, 5)).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_autocast_keeps_the_parameters_type():
    ours, _ = pair()
    x = torch.randn(6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ours(x.bfloat16())
    assert out.dtype == torch.float32
    same(out, ours(x.bfloat16().float()))




def quantized(*shape):
    with warnings.catch_warnings():  # of what torch will do away with
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(shape), 1, 0, torch.quint8)


REFUSED = [
    (lambda m: m(np.zeros((2, 5), "f4")), TypeError, r"\[forward\] x is ndarray, expected a Tensor"),
    (lambda m: m(torch.zeros(2, 4)), ValueError, r"\[forward\] x has shape \(2, 4\), expected \(.., 5\)"),
    (lambda m: m(torch.tensor(1.0)), ValueError, r"x has shape \(\), expected \(.., 5\)"),
    (lambda m: m(torch.zeros(2, 5, dtype=torch.float64)), TypeError, r"dtype torch.float64, expected torch.float32"),
    (lambda m: m(torch.zeros(2, 5, dtype=torch.bfloat16)), TypeError, r"dtype torch.bfloat16, expected torch.fl"),
    (lambda m: m(torch.zeros(2, 5, dtype=torch.int64)), TypeError, "x has dtype torch.int64, expected torch.float32"),
    (lambda m: m(torch.zeros(2, 5, device="meta")), ValueError, "x is on meta, expected cpu"),
    (lambda m: m(torch.zeros(2, 5).to_sparse()), TypeError, "layout torch.sparse_coo, expected torch.strided"),
    (lambda m: m(torch.zeros(2, 5).to_mkldnn()), TypeError, "layout torch._mkldnn, expected torch.strided"),
    (lambda m: m(torch.nested.nested_tensor([torch.zeros(2, 5)])), TypeError, "x is a nested tensor, expected rows"),
    (lambda m: torch.jit.trace(m, torch.zeros(2, 5)), NotImplementedError, "torch.jit.trace would keep the numbers"),
    (lambda m: m.half()(torch.zeros(2, 5).half()), TypeError, "dtype is torch.float16, expected torch.float32 or"),
    (lambda m: m.loss(torch.zeros(2, 4), torch.zeros(2)), ValueError, r"\[loss\] x has shape \(2, 4\)"),
    (lambda m: m.loss(torch.zeros(2, 5), [0, 1]), TypeError, r"\[loss\] y is list, expected a Tensor"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.tensor([0, 3])), ValueError, r"\[loss\] y"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(2, 3).bfloat16()), TypeError, "y has dtype torch.bfloat16"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(2, 3).to_sparse()), TypeError, "y has the layout torch.sparse_c"),
    (lambda m: m.loss(torch.zeros(2, 5), quantized(2, 3)), TypeError, r"y is quantized, .*: write y.dequantize\(\)"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(2, device="meta")), ValueError, "y is on meta, where there are"),
    (lambda m: m.to("meta").loss(torch.zeros(2, 5, device="meta"), torch.zeros(2)), ValueError, "X is on meta, where"),
    (
        lambda m: torch.func.vmap(lambda x: m.loss(x, torch.zeros(1)))(torch.zeros(2, 1, 5)),
        RuntimeError, "transforms of torch.func cannot look into",
    ),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(3, 3), "squared_error"), ValueError, r"\[loss\] y"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(2), "crossentropy"), ValueError, "did you mean 'cross_entropy'"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.zeros(2), None), TypeError, r"\[loss\] loss is None, expected a name"),
    (lambda m: m.loss(torch.zeros(2, 5), torch.tensor([0, 1]), reduction="none"), ValueError, "reduction is 'none'"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of torch, that what is refused here has no future there
@pytest.mark.parametrize("call, error, text", REFUSED, ids=[text for _, _, text in REFUSED])
def test_what_does_not_fit_is_refused(call, error, text):
    ours, _ = pair()
    with pytest.raises(error, match=text):
        call(ours)
    assert all(p.grad is None for p in ours.parameters())


def test_what_makes_no_module_is_refused():
    with pytest.raises(TypeError, match=r"dtype is torch.float16, expected torch.float32 or torch.float64"):
        MLP((3, 2), dtype=torch.float16)
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        MLP((3, 4, 2), "rely")
    with pytest.raises(ValueError, match="at least an input and an output width"):
        MLP((3,))


def test_replaced_parameters_that_do_not_fit_are_refused():
    ours, _ = pair((4, 4, 2))
    x = torch.zeros(1, 4)
    ours.get_submodule("2").weight = nn.Parameter(torch.zeros(4, 2))  # as many numbers, but turned
    with pytest.raises(ValueError, match=r"shapes \(4, 4\), \(4,\), \(4, 2\), \(2,\), expected \(4, 4\), \(4,\), \(2"):
        ours(x)
    ours.get_submodule("2").weight = nn.Parameter(torch.zeros(2, 4, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"a parameter is torch.float64 on cpu, expected torch.float32 on cpu"):
        ours(x)
    ours.get_submodule("2").bias = None
    with pytest.raises(ValueError, match=r"\(2, 4\), None, expected"):
        ours(x)


def test_another_device_is_refused():
    import fastbp as fb
    from fastbp.torch import _checks

    class Elsewhere:
        is_cuda = False
        device = torch.device("xpu", 0)

    class OnAGpu:
        is_cuda = True
        device = torch.device("cuda", 0)

        def get_device(self):
            return 0

    with pytest.raises(ValueError, match="x is on xpu:0, expected the CPU or a CUDA device: fastbp has no backend"):
        _checks.check_device("x", Elsewhere())
    if not fb.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"x is on cuda:0: .*cuda"):
            _checks.check_device("x", OnAGpu())


def test_a_missing_torch_is_named():
    code = "import sys; sys.modules['torch'] = None\nimport fastbp.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: fastbp.torch needs PyTorch, which is missing: pip install torch" in done.stderr


def test_fastbp_alone_imports_no_torch():
    code = "import sys, fastbp; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_outputs_that_are_no_activation_of_torchs():
    ours = MLP((3, 4), output_activation="softmax")
    same(ours(torch.randn(5, 3)).sum(1), torch.ones(5))
    torch.manual_seed(0)
    net = fb.MLP((3, 6, 2), activation="sine", seed=0, dtype="float64")
    ours = MLP((3, 6, 2), "sine", dtype=torch.float64)
    with torch.no_grad():
        parts = (net.weights[0].T, net.biases[0], net.weights[1].T, net.biases[1])
        for p, part in zip(ours.parameters(), parts, strict=True):
            p.copy_(torch.from_numpy(part))
    x = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(ours(torch.from_numpy(x)).detach(), net.forward(x), rtol=1e-12)

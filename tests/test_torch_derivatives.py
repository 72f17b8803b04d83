"""fastbp.torch.MLP under autograd, torch.func and torch.compile; what it cannot do raises."""

import pytest
from helpers import require

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
torch, MLP = require("torch"), require("fastbp.torch").MLP
forward_ad = require("torch.autograd.forward_ad")
func, nn = torch.func, torch.nn
MODULES = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU}


def pair(activation="tanh", sizes=(3, 5, 4, 2)):
    """Ours, and the nn.Sequential with its parameters; in float64."""
    ours = MLP(sizes, activation, dtype=torch.float64)
    layers = [
        part
        for a, b in zip(sizes, sizes[1:], strict=False)
        for part in (nn.Linear(a, b, dtype=torch.float64), MODULES[activation]())
    ]
    theirs = nn.Sequential(*layers[:-1])
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def rows(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parameters(model):
    return {name: p.detach() for name, p in model.named_parameters()}


def same(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def as_function(model):
    """x, and each parameter, as arguments."""
    names = [name for name, _ in model.named_parameters()]
    arguments = [rows(4, 3).requires_grad_(), *(p.detach().clone().requires_grad_() for p in model.parameters())]
    return lambda x, *given: func.functional_call(model, dict(zip(names, given, strict=True)), (x,)), arguments


@pytest.mark.parametrize(
    "activation, output", [(a, "identity") for a in MODULES] + [("sine", "softmax"), ("elu", "exp")]
)
def test_gradcheck_and_gradgradcheck(activation, output):
    torch.manual_seed(1)
    function, arguments = as_function(MLP((3, 5, 2), activation, output, dtype=torch.float64))
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


@pytest.mark.parametrize("frozen", ["x", "parameters"])
def test_second_derivatives_of_a_part(frozen):
    torch.manual_seed(1)
    function, (x, *given) = as_function(MLP((3, 5, 2), "tanh", dtype=torch.float64))
    for tensor in [x] if frozen == "x" else given:
        tensor.requires_grad_(False)
    assert torch.autograd.gradgradcheck(function, (x, *given))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_penalty_on_input_gradients_is_trained_as_in_torch(activation):
    ours, theirs = pair(activation)
    for model in (ours, theirs):
        x = rows(6, 3).requires_grad_()
        (slopes,) = torch.autograd.grad(model(x).pow(2).sum(), x, create_graph=True)
        (model(x).sum() + slopes.pow(2).sum()).backward()
    same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def transforms():
    """By name: what torch.func makes of a model, given x (4, 3) and its parameters."""

    def value(model):
        return lambda given, x: func.functional_call(model, given, (x,)).pow(3).sum()

    def twice(model):
        return lambda given, x: func.grad(lambda p: func.grad(value(model), argnums=1)(p, x).pow(2).sum())(given)

    return {
        "grad": lambda m, p, x: func.grad(value(m))(p, x),
        "grad by x": lambda m, p, x: func.grad(value(m), argnums=1)(p, x),
        "vmap over rows": lambda m, p, x: func.vmap(m)(x),
        "vmap over batches": lambda m, p, x: func.vmap(m, in_dims=1)(torch.stack([x, 2 * x], dim=1)),
        "gradients of single rows": lambda m, p, x: func.vmap(func.grad(value(m)), (None, 0))(p, x),
        "slopes of single rows": lambda m, p, x: func.vmap(func.grad(value(m), argnums=1), (None, 0))(p, x),
        "grad of vmap": lambda m, p, x: func.grad(
            lambda p: func.vmap(lambda row: func.functional_call(m, p, (row,)))(x).pow(2).sum()
        )(p),
        "vmap of vmap of grad": lambda m, p, x: func.vmap(
            func.vmap(func.grad(value(m), argnums=1), (None, 0)), (None, 0)
        )(p, torch.stack([x, 2 * x, -x])),
        "jacrev": lambda m, p, x: func.jacrev(m)(x),
        "jacrev by parameters": lambda m, p, x: func.jacrev(lambda p: func.functional_call(m, p, (x,)))(p),
        "jacrev of single rows": lambda m, p, x: func.vmap(func.jacrev(m))(x),
        "vjp": lambda m, p, x: func.vjp(m, x)[1](torch.ones(len(x), 2, dtype=x.dtype)),
        "hessian": lambda m, p, x: func.jacrev(func.jacrev(lambda x: value(m)(p, x)))(x),
        "grad of grad": lambda m, p, x: twice(m)(p, x),
        "vmap of grad of grad": lambda m, p, x: func.vmap(twice(m), (None, 0))(p, x),
        "an ensemble": lambda m, p, x: func.vmap(lambda p: func.functional_call(m, p, (x,)))(
            {name: torch.stack([t, 2 * t]) for name, t in p.items()}
        ),
        "gradients of an ensemble": lambda m, p, x: func.vmap(func.grad(value(m)), (0, 0))(
            {name: torch.stack([t, 2 * t]) for name, t in p.items()}, torch.stack([x, -x])
        ),
        "vmap over autograd.grad": lambda m, p, x: vmap_of_autograd(m, x),
    }


def vmap_of_autograd(model, x):
    x = x.clone().requires_grad_()
    out = model(x)
    return torch.vmap(lambda c: torch.autograd.grad(out, (x, *model.parameters()), c, retain_graph=True))(
        torch.eye(out.numel(), dtype=x.dtype).view(-1, *out.shape)
    )


@pytest.mark.parametrize("name", transforms())
def test_torch_func(name):
    ours, theirs = pair()
    found, expected = (transforms()[name](model, parameters(theirs), rows(4, 3)) for model in (ours, theirs))
    same(found, expected)


def test_vmap_over_nothing():
    (ours, _), x = pair(), rows(4, 3)
    assert func.vmap(ours)(x.new_empty(0, 4, 3)).shape == (0, 4, 2)
    nobody = {name: torch.zeros(0, *p.shape, dtype=p.dtype) for name, p in parameters(ours).items()}
    with pytest.raises(ValueError, match="vmap over 0 sets of parameters"):
        func.vmap(lambda p: func.functional_call(ours, p, (x,)))(nobody)


def compiled(function, backend):
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend):
    ours, theirs = pair()
    x, y = rows(6, 3), torch.tensor([0, 1, 1, 0, 1, 0])
    loss = compiled(lambda x, y: nn.functional.cross_entropy(ours(x), y), backend)
    found, expected = loss(x, y), nn.functional.cross_entropy(theirs(x), y)
    same(found, expected)
    for value in (found, expected):
        value.backward()
    same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])
    with torch.no_grad():
        same(loss(x[:4], y[:4]), nn.functional.cross_entropy(theirs(x[:4]), y[:4]))


@pytest.mark.filterwarnings("ignore")
def test_compile_of_func():
    ours, theirs = pair()
    found = compiled(lambda x: func.grad(lambda x: ours(x).pow(3).sum())(x), "aot_eager")(rows(6, 3))
    same(found, func.grad(lambda x: theirs(x).pow(3).sum())(rows(6, 3)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keep", [True, False])
def test_operators_pass_opcheck(keep):
    ours, _ = pair()
    x, given, architecture = rows(6, 3), [p.detach() for p in ours.parameters()], ours._architecture
    operators = torch.ops.fastbp
    out, kept = operators.forward(x, given, architecture, True)
    torch.library.opcheck(operators.forward.default, (x, given, architecture, keep))
    torch.library.opcheck(operators.pull_back.default, (x, out, kept if keep else kept[:0], given, architecture, keep))
    some = [*given[:2], *[None] * 4]
    directions = (x, [None] * 6) if keep else (None, some)
    torch.library.opcheck(operators.push_forward.default, (x, out, *directions, given, architecture))


def test_a_trace_has_the_operator_in_it():
    ours, _ = pair()
    traced = require("torch.fx.experimental.proxy_tensor").make_fx(ours)(rows(6, 3))
    assert "fastbp.forward" in traced.code
    same(traced(rows(6, 3, seed=1)), ours(rows(6, 3, seed=1)))


def dual(model, x):
    with forward_ad.dual_level():
        return model(forward_ad.make_dual(x, x))


def dual_cotangent(model, x):
    x.requires_grad_()
    out = model(x)
    with forward_ad.dual_level():
        return torch.autograd.grad(out, x, forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out)))


FORWARD_MODE = {
    "jvp": lambda m, x: func.jvp(m, (x,), (x,)),
    "jvp of parameters": lambda m, x: func.jvp(
        lambda p: func.functional_call(m, p, (x,)), (parameters(m),), (parameters(m),)
    ),
    "jvp of vjp": lambda m, x: func.jvp(func.vjp(m, x)[1], (m(x).detach(),), (m(x).detach(),)),
    "jacfwd": lambda m, x: func.jacfwd(m)(x),
    "hessian": lambda m, x: func.hessian(lambda x: m(x).sum())(x),
    "dual numbers": dual,
    "a dual cotangent": dual_cotangent,
}


OTHER_WAYS = (
    r"^fastbp\.torch\.MLP has no forward mode.*jacrev\(jacrev\(f\)\) for a Hessian.* jvp and hvp of fastbp\.MLP"
)


def test_the_ways_named_in_place_of_forward_mode():
    ours, theirs = pair()
    x = rows(4, 3)
    same(func.jacrev(ours)(x), func.jacfwd(theirs)(x))
    hessian = func.jacrev(func.jacrev(lambda x: ours(x).sum()))(x)
    same(hessian, func.hessian(lambda x: theirs(x).sum())(x))


@pytest.mark.parametrize(
    "name, grad_mode", [*((n, True) for n in FORWARD_MODE), ("jvp", False), ("dual numbers", False)]
)
def test_forward_mode_raises(name, grad_mode):
    with torch.set_grad_enabled(grad_mode), pytest.raises(NotImplementedError, match=OTHER_WAYS):
        FORWARD_MODE[name](pair()[0], rows(4, 3))


def test_third_derivatives_raise():
    ours, _ = pair()
    x = rows(4, 3).requires_grad_()
    (slopes,) = torch.autograd.grad(ours(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slopes.pow(2).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first and second derivatives only"):
        second.sum().backward()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["grad of a frozen net", "vmap", "jvp"])
def test_what_compile_cannot_see_into_raises(name):
    ours, _ = pair()
    ours.requires_grad_(name != "grad of a frozen net")
    function = {
        "grad of a frozen net": lambda x: func.grad(lambda x: ours(x).sum())(x),
        "vmap": lambda x: func.vmap(ours)(x),
        "jvp": lambda x: func.jvp(ours, (x,), (x,)),
    }[name]
    with pytest.raises(Exception, match=r"fastbp|forward"):
        compiled(function, "aot_eager")(rows(6, 3))


def test_a_checkpoint_computes_again():
    ours, theirs = pair()
    checkpoint = require("torch.utils.checkpoint").checkpoint
    for model in (ours, theirs):
        checkpoint(model, rows(6, 3), use_reentrant=False).pow(2).sum().backward()
    same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def test_jacobians_of_the_older_kind():
    ours, theirs = pair()
    functional, x = require("torch.autograd.functional"), rows(6, 3)
    same(functional.jacobian(ours, x), functional.jacobian(theirs, x))
    with pytest.raises(RuntimeError, match="Cannot access data pointer"):
        functional.jacobian(ours, x, vectorize=True)


def test_tensors_without_memory():
    fake_mode = require("torch._subclasses.fake_tensor").FakeTensorMode
    with fake_mode():
        ours = MLP((3, 5, 2))
        ours(torch.zeros(4, 3)).sum().backward()
        assert ours.get_parameter("0.weight").grad.shape == (5, 3)

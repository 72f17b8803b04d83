"""One backpropagate, over everything it must run on: loops, BLAS, teams of threads, kept passes, into the weights."""

import numpy as np
import pytest
from helpers import run

from fastbp import reference
from fastbp._functions import LOSSES as LOSS_NUMBERS
from fastbp._functions import OUTPUT_ACTIVATIONS as NUMBERS

G = ["tanh", "gelu", "softplus", "softmax"]
SIZES, N = (13, 24, 37, 9, 5), 53
FEW_ROWS_OF_MANY = (150, 113, 80, 131, 5), 9  # where a team cuts products along their sums


class Case:
    """A network, its data, and arrays full of nan for everything that a pass writes."""

    def __init__(self, seam, dtype=np.float64, torch_layout=False, sizes=SIZES, rows=N):
        rng = np.random.default_rng(1)
        self.seam, self.dtype, self.bits = seam, dtype, "64" if dtype == np.float64 else "32"
        shapes = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.w = [(rng.standard_normal(shape) * 0.4).astype(dtype) for shape in shapes]
        if torch_layout:
            self.w = [np.ascontiguousarray(w.T).T for w in self.w]
        self.b = [(rng.standard_normal(d) * 0.1).astype(dtype) for _, d in shapes]
        self.X = rng.standard_normal((rows, sizes[0])).astype(dtype)
        self.y = rng.integers(0, sizes[-1], rows).astype(np.int32)
        self.values = {name: [self.nan(rows, d) for d in sizes[1:]] for name in ("s", "x", "delta", "u")}
        self.grad_w = [np.full_like(w, np.nan) for w in self.w]
        self.grad_b = [self.nan(d) for d in sizes[1:]]
        self.input_grad = self.nan(rows, sizes[0])

    def nan(self, *shape):
        return np.full(shape, np.nan, self.dtype)

    def lists(self, rows=slice(None), sink=None):
        lists = self.seam.Lists()
        lists.w, lists.b, lists.g = self.w, self.b, [(NUMBERS[g], 0.0) for g in G]
        for name, arrays in self.values.items():
            setattr(lists, name, [a[rows] for a in arrays])
        lists.sink_w, lists.sink_b = sink or (self.grad_w, self.grad_b)
        return lists

    def forward(self, device="cpu", team=0, blocks=1):
        getattr(self.seam, f"forward{self.bits}")(device, team, blocks, self.lists(), self.X)

    def backward(self, device="cpu", team=0, blocks=1, rows=slice(None), seeded=True, sink=None, blend=(1.0, 0.0)):
        loss = LOSS_NUMBERS["cross_entropy"] if seeded else 0
        return getattr(self.seam, f"backward{self.bits}")(
            device, team, blocks, self.lists(rows, sink), self.X[rows], loss, None, None,
            self.y[rows] if seeded else None, None, 1 / N, blend, self.input_grad[rows],
        )  # fmt: skip

    def everything(self):
        return [*self.grad_w, *self.grad_b, self.input_grad, *self.values["s"], *self.values["delta"]]

    def expected(self):
        w, b = [a.astype(float) for a in self.w], [a.astype(float) for a in self.b]
        s, x = reference.forward(w, b, self.X.astype(float), G)
        value, delta = reference.output_delta("cross_entropy", G[-1], s[-1], x[-1], self.y, scale=1 / N)
        grad_w, grad_b, deltas = reference.backpropagate(w, s, x, G, delta)
        return value, [*grad_w, *grad_b, reference.input_grad(w, deltas), *s, *deltas]


def check(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("torch_layout", [False, True], ids=["(in, out)", "(out, in)"])
@pytest.mark.parametrize("device", ["plain", "cpu", "cuda"])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)], ids=["32", "64"])
def test_loops_and_blas_equal_the_reference(seam, device, dtype, tolerance, torch_layout):
    case = Case(seam, dtype, torch_layout)
    case.forward(device)
    value = case.backward(device)
    expected_value, expected = case.expected()
    assert value == pytest.approx(expected_value, rel=tolerance)
    check(case.everything(), expected, tolerance)


@pytest.mark.parametrize("device", ["plain", "cpu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["32", "64"])
@pytest.mark.parametrize("sizes, rows", [(SIZES, N), FEW_ROWS_OF_MANY], ids=["many rows", "few rows"])
def test_a_team_of_any_size_gives_the_bits_of_the_plan(seam, device, dtype, sizes, rows):
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for blocks in (1, 4, 7):
        results = []
        for team in (1, 2, 3):
            case = Case(seam, dtype, sizes=sizes, rows=rows)
            case.forward(device, team, blocks)
            value = case.backward(device, team, blocks)
            results.append([np.array(value), *case.everything()])
        check(results[0][1:], case.expected()[1], tolerance)
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_u_is_delta_before_the_derivative(seam):
    case = Case(seam)
    case.forward()
    case.backward()
    for k in range(len(G) - 1):
        u = case.values["delta"][k + 1] @ case.w[k + 1].T
        np.testing.assert_allclose(case.values["u"][k], u, rtol=0, atol=1e-14)


@pytest.mark.parametrize("team", [0, 2])
def test_a_kept_forward_goes_back_in_tiles(seam, team):
    """What torch and JAX need: forward for the whole batch, then the backward pass later, tile by tile."""
    case = Case(seam)
    case.forward(team=team, blocks=3)
    total = 0.0
    for begin in range(0, N, 10):
        blend = (1.0, 0.0 if begin == 0 else 1.0)
        total += case.backward(team=team, blocks=3, rows=slice(begin, begin + 10), blend=blend)
    expected_value, expected = case.expected()
    assert total == pytest.approx(expected_value, rel=1e-13)
    check(case.everything(), expected, 1e-13)


def test_the_callers_delta_seeds_the_recursion(seam):
    case = Case(seam)
    case.forward()
    case.backward()
    first = [a.copy() for a in case.everything()]
    delta = case.values["delta"][-1].copy()
    for array in [*case.grad_w, *case.grad_b, case.input_grad, *case.values["delta"][:-1]]:
        array[...] = np.nan
    case.values["delta"][-1][...] = delta
    assert case.backward(seeded=False) == 0.0
    for a, b in zip(case.everything(), first, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("device", ["plain", "cpu"])
@pytest.mark.parametrize("team", [0, 1, 2, 3])
def test_the_sink_may_be_w_itself(seam, device, team):
    """Plain SGD inside the product: every delta is known before the first weight changes."""
    lr, decay = 0.5, 0.1
    case = Case(seam)
    expected = [(1 - lr * decay) * p - lr * g for p, g in zip([*case.w, *case.b], case.expected()[1], strict=False)]
    case.forward(device, team, 4)
    case.backward(device, team, 4, sink=(case.w, case.b), blend=(-lr, 1 - lr * decay))
    check([*case.w, *case.b], expected, 1e-13)


def test_accumulating_adds(seam):
    case = Case(seam)
    case.forward()
    case.backward()
    once = [g.copy() for g in case.grad_w]
    case.backward(blend=(1.0, 1.0))
    check(case.grad_w, [2 * g for g in once], 1e-15)


def test_integers_are_exact(seam):
    """Small whole numbers, identity and relu: every sum is exact, so that any wrong index or missing term shows."""
    rng = np.random.default_rng(2)
    sizes = (40, 33, 17, 6)
    for dtype, bits in ((np.float32, "32"), (np.float64, "64")):
        for team, blocks in ((0, 1), (2, 3), (3, 4)):
            w = [rng.integers(-1, 2, shape) for shape in zip(sizes[:-1], sizes[1:], strict=True)]
            b = [rng.integers(-2, 3, d) for d in sizes[1:]]
            X, y = rng.integers(-1, 2, (29, 40)), rng.integers(-9, 10, (29, 6))
            names = ["relu", "identity", "identity"]
            s, x = reference.forward(w, b, X, names)
            grad_w, grad_b, deltas = reference.backpropagate(w, s, x, names, x[-1] - y)
            assert max(np.abs(g).max() for g in grad_w) < 2**24
            lists = seam.Lists()
            lists.w, lists.b = [a.astype(dtype) for a in w], [a.astype(dtype) for a in b]
            lists.g = [(NUMBERS[name], 0.0) for name in names]
            blank = [[np.full((29, d), np.nan, dtype) for d in sizes[1:]] for _ in range(3)]
            lists.s, lists.x, lists.delta = blank
            found_w, found_b = (
                [np.full(a.shape, np.nan, dtype) for a in w],
                [np.full(a.shape, np.nan, dtype) for a in b],
            )
            lists.sink_w, lists.sink_b = found_w, found_b
            input_grad = np.full(X.shape, np.nan, dtype)
            getattr(seam, f"forward{bits}")("cpu", team, blocks, lists, X.astype(dtype))
            getattr(seam, f"backward{bits}")(
                "cpu", team, blocks, lists, X.astype(dtype), LOSS_NUMBERS["squared_error"], None, y.astype(dtype), None,
                None, 1.0, (1.0, 0.0), input_grad,
            )  # fmt: skip
            found = [*found_w, *found_b, input_grad]
            for a, e in zip(found, [*grad_w, *grad_b, reference.input_grad(w, deltas)], strict=True):
                np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("driver", ["trace", "threads", "barriers", "fused_pass", "targets"])
def test_driver(test_build, driver):
    """C++ programs: no allocation in a pass, a fused one, threads at once, barriers of a team, looks at targets."""
    assert f"{driver}: ok" in run(test_build / driver)

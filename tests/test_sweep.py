"""Every loss behind every output activation, at summed inputs from -1e4 to 1e4, against 50-digit arithmetic."""

import math

import numpy as np
import pytest
import sweep_softmax as softmax
import sweep_truth as truth

import fastbp as fb
from fastbp import reference

DTYPES = ("float32", "float64")
LOSSES = {
    "squared_error": "squared_error", "huber": fb.Huber(truth.HUBER), "absolute_error": "absolute_error",
    "pinball": fb.Pinball(truth.PINBALL), "poisson": "poisson", "cross_entropy": "cross_entropy",
}  # fmt: skip
PAIRS = [(loss, name) for loss in LOSSES for name in truth.ACTIVATIONS if loss != "cross_entropy"]
PAIRS.append(("cross_entropy", "logistic"))


class Comparison:
    """Collect the results outside their bounds and report the worst."""

    def __init__(self, form, *labels):
        self.form, self.labels, self.worst, self.count = form, labels, [], 0

    def check(self, quantity, s, y, got, expected):
        """Compare with `expected`, a pair (admissible truths, error bound); a truth of nan admits any result."""
        options, bound = expected
        self.count += 1
        got = float(got)
        excess = min(self._excess(quantity, got, t, bound) for t in options)
        if excess > 1:
            self.worst.append((excess, quantity, s, y, got, options[0], bound))

    def check_all(self, quantity, s, y, got, expected):
        for at in zip(s.tolist(), y.tolist(), got, expected, strict=True):
            self.check(quantity, *at)

    def _excess(self, quantity, got, t, bound):
        largest = math.inf if quantity.startswith("value") else self.form.largest
        if quantity.startswith("value") and got < 0:
            return math.inf
        if math.isnan(t) or got == t:
            return 0.0
        if math.isnan(got):  # two infinite terms may meet in a curvature that overflows
            return 0.0 if abs(t) > largest and "vp" in quantity else math.inf
        if bound > largest or math.isinf(bound) or (math.isinf(got) and abs(t) + bound >= largest and got * t > 0):
            return 0.0
        return abs(got - t) / max(bound, 5e-324)

    def finish(self):
        assert self.count > 200
        if not self.worst:
            return
        self.worst.sort(key=lambda w: -w[0])
        seen = set()
        first = [w[1] in seen or seen.add(w[1]) for w in self.worst]  # False for the worst of each quantity
        worst = [w for _, w in sorted(zip(first, self.worst, strict=True), key=lambda pair: bool(pair[0]))]
        lines = [
            f"{quantity}: s = {s}, y = {y}: got {got!r}, truth {t!r}, bound {bound:.3g}"
            for _, quantity, s, y, got, t, bound in worst[:5]
        ]
        names = ", ".join(sorted({w[1] for w in self.worst}))
        head = f"{' '.join(self.labels)}: {len(self.worst)} of {self.count} results are out of bounds ({names})"
        pytest.fail("\n".join([head, *lines]), pytrace=False)


def rounded(numbers, dtype):
    with np.errstate(over="ignore"):
        return np.array([float(v) for v in numbers]).astype(dtype)


def targets(loss, name, s, dtype):
    """Return arrays with one target for each s: constants, and numbers near x."""
    x = rounded([truth.output(name, v).x for v in s.tolist()], dtype)
    if loss == "poisson":
        constants, low = (0, 1, 7, 1e6, 0.3, 1e-8), 0
    elif loss == "cross_entropy":
        constants, low = (0, 1, 0.3, 0.5, 1e-8, 1 - max(1e-8, np.finfo(dtype).epsneg)), 0
    else:
        constants, low = (0, 1, -1, 0.3, 1e-8, 1 - max(1e-8, np.finfo(dtype).epsneg)), -np.inf
    near = [x, np.nextafter(x, x.dtype.type(0.5)), x * x.dtype.type(1 + 2**-10)]
    high = 1 if loss == "cross_entropy" else np.finfo(dtype).max
    near = [np.where(np.isfinite(x), np.clip(y, low, high), 1).astype(dtype) for y in near]
    return [np.full_like(s, y) for y in constants] + near


def output_layers(loss, name, s):
    """Return a net that takes s as its rows and one that has s as its biases; both compute s exactly."""
    options = {"loss": LOSSES[loss], "output_activation": truth.ACTIVATIONS[name], "dtype": s.dtype, "init": "zeros"}
    of_rows, of_outputs = fb.MLP((1, 1), **options), fb.MLP((1, len(s)), **options)
    of_rows.params = [1, 0]
    of_outputs.biases[0][:] = s
    return of_rows, of_outputs


def measure(of_rows, of_outputs, s, y):
    """Return pairs (index into the result of `truth.elementwise`, computed values) by name."""
    n, X = len(s), s[:, None]
    v = np.concatenate([np.zeros(n), np.ones(n)])
    at_zero, row = np.zeros((1, 1), s.dtype), y[None]
    back = of_rows.backward(X, y, reduction="sum", returns=("deltas", "example_loss"))
    wide = of_outputs.backward(at_zero, row, reduction="sum", returns=("deltas",))
    one = [of_rows.value(X[k : k + 1], y[k : k + 1], reduction="sum") for k in range(n)]
    return {
        "value": (0, one),
        "value (example_loss)": (0, back.example_loss),
        "delta of a row": (1, back.deltas[0][:, 0]),
        "delta of an output": (1, wide.deltas[0][0]),
        "hvp": (2, of_outputs.hvp(at_zero, row, v, reduction="sum")[n:]),
        "gnvp": (3, of_outputs.gnvp(at_zero, row, v, reduction="sum")[n:]),
    }


def reference_loss(loss, name, s, y):
    spec = truth.ACTIVATIONS.get(name, name)
    parameter = {"huber": truth.HUBER, "pinball": truth.PINBALL}.get(loss)
    return reference.output_delta((loss, parameter), spec, s, reference.activate(spec, s), y)


class OutputCase:
    """A loss behind an elementwise output: targets and truths of each dtype, computed once for all its tests."""

    def __init__(self, loss, name):
        self.loss, self.name, self._problems = loss, name, {}

    def problems(self, dtype):
        """Return pairs (y, truths of each s with its y)."""
        if dtype not in self._problems:
            s, form = truth.summed_inputs(dtype), truth.Format(dtype)
            self._problems[dtype] = []
            for y in targets(self.loss, self.name, s, dtype):
                pairs = zip(s.tolist(), y.tolist(), strict=True)
                self._problems[dtype].append((y, [truth.elementwise(self.loss, self.name, *p, form) for p in pairs]))
        return self._problems[dtype]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def case(request):
    return OutputCase(*request.param)


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_layer(case, dtype):
    s = truth.summed_inputs(dtype)
    nets = output_layers(case.loss, case.name, s)
    found = Comparison(truth.Format(dtype), case.loss, case.name, dtype)
    for y, exact in case.problems(dtype):
        for quantity, (part, values) in measure(*nets, s, y).items():
            found.check_all(quantity, s, y, values, [truths[part] for truths in exact])
    found.finish()


def test_reference(case):
    s = truth.summed_inputs("float64")
    found = Comparison(truth.Format("float64"), "reference", case.loss, case.name)
    for y, exact in case.problems("float64"):
        with np.errstate(all="ignore"):
            deltas = reference_loss(case.loss, case.name, s[:, None], y)[1][:, 0]
            values = [reference_loss(case.loss, case.name, s[k : k + 1, None], y[k : k + 1])[0] for k in range(len(s))]
        found.check_all("value", s, y, values, [truths[0] for truths in exact])
        found.check_all("delta", s, y, deltas, [truths[1] for truths in exact])
    found.finish()


def softmax_rows(dtype):
    """Return pairs (row of three summed inputs, whether their differences are exact in the dtype)."""
    s = truth.summed_inputs(dtype).tolist()
    s.remove(0.0)
    generic = [tuple(np.array([v, 0.3, -0.7 * v]).astype(dtype).tolist()) for v in s[::6]]
    return (
        [((v, 0.0, 0.0), True) for v in s[::2]]
        + [((v, -v, 0.0), True) for v in s[1::6]]
        + [((0.0, v, v), True) for v in s[2::6]]
        + [(row, False) for row in generic]
    )


def softmax_targets(rows, dtype):
    small = float(np.finfo(dtype).epsneg)
    for y in (0, 1, (1.0, 0.0, 0.0), (0.25, 0.75, 0.0), (small, 0.0, 1 - small)):
        yield np.array([y] * len(rows), dtype if isinstance(y, tuple) else np.int64)
    yield np.array([rounded(softmax.softmax(s)[0], dtype) for s, _ in rows])


class SoftmaxCase:
    """A loss behind softmax: rows of summed inputs, targets and truths of each dtype."""

    def __init__(self, loss):
        self.loss, self._problems = loss, {}

    def problems(self, dtype):
        """Return tuples (s, y, truths), one per row."""
        if dtype not in self._problems:
            rows, form = softmax_rows(dtype), truth.Format(dtype)
            of = softmax.softmax_cross_entropy if self.loss == "cross_entropy" else softmax.softmax_losses
            self._problems[dtype] = []
            for y in softmax_targets(rows, dtype):
                whole = np.eye(3)[y] if y.ndim == 1 else y
                for (s, exact_differences), y_k, row in zip(rows, y, whole.tolist(), strict=True):
                    self._problems[dtype].append((s, y_k, of(self.loss, s, row, form, exact_differences)))
        return self._problems[dtype]


@pytest.fixture(scope="module", params=LOSSES)
def softmax_case(request):
    return SoftmaxCase(request.param)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(softmax_case, dtype):
    loss = softmax_case.loss
    net = fb.MLP((1, 3), loss=LOSSES[loss], output_activation="softmax", dtype=dtype, init="zeros")
    X, found = np.zeros((1, 1), dtype), Comparison(truth.Format(dtype), loss, "softmax", dtype)
    directions = np.eye(6, dtype=dtype)[3:]
    for s, y, (value, delta, curves, squares) in softmax_case.problems(dtype):
        net.biases[0][:] = s
        row = y[None]
        found.check("value", s, y, net.value(X, row, reduction="sum"), value)
        back = net.backward(X, row, reduction="sum", returns=("deltas",))
        for k in range(3):
            found.check(f"delta[{k}]", s, y, back.deltas[0][0, k], delta[k])
        for j, v in enumerate(directions):
            hvp, gnvp = net.hvp(X, row, v, reduction="sum"), net.gnvp(X, row, v, reduction="sum")
            for k in range(3):
                found.check(f"hvp[{k}, {j}]", s, y, hvp[3 + k], curves[j][k])
                found.check(f"gnvp[{k}, {j}]", s, y, gnvp[3 + k], squares[j][k])
    found.finish()


def test_reference_softmax(softmax_case):
    loss = softmax_case.loss
    found = Comparison(truth.Format("float64"), "reference", loss, "softmax")
    for s, y, exact in softmax_case.problems("float64"):
        with np.errstate(all="ignore"):
            value, delta = reference_loss(loss, "softmax", np.array([s]), y[None])
        found.check("value", s, y, value, exact[0])
        for k in range(3):
            found.check(f"delta[{k}]", s, y, delta[0, k], exact[1][k])
    found.finish()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, name", [*PAIRS, *((loss, "softmax") for loss in LOSSES)])
def test_nan_stays_nan(loss, name, dtype):
    spec = truth.ACTIVATIONS.get(name, name)
    width = 3 if name == "softmax" else 1
    net = fb.MLP((1, width), loss=LOSSES[loss], output_activation=spec, dtype=dtype, init="zeros")
    net.biases[0][0] = np.nan
    for y in (np.eye(width)[:1], np.eye(width)[-1:]):
        back = net.backward([[0.0]], y, reduction="sum", returns=("deltas", "example_loss"))
        assert np.isnan([back.example_loss[0], net.value([[0.0]], y), back.deltas[0][0, 0]]).all()


def slopes(name, s, form):
    """Return the truths and bounds of g' and g''; absolute bounds for tanh and logistic, which compute them from x."""
    o = truth.output(name, s)
    tail = truth.SUBNORMALS * form.subnormal * o.underflow
    if name in ("tanh", "logistic"):
        bounds = 4 * form.eps, 8 * form.eps
    elif name == "softplus" or (name in ("elu", "elu_half") and s < 0):
        bounds = form.relative * o.prime + tail, form.relative * abs(o.second) + tail
    else:
        bounds = truth.C * form.eps * o.of_prime + tail, truth.C * form.eps * o.of_second + tail
    return [truth.as_floats(((t,), bound)) for t, bound in zip((o.prime, o.second), bounds, strict=True)]


def hidden_slopes(name, s):
    """Return g' computed in four ways and g'', each as an array over s."""
    options = {"dtype": s.dtype, "init": "zeros"}
    X, n = s[:, None], len(s)
    last = fb.MLP((1, 1), output_activation=truth.ACTIVATIONS[name], **options)
    last.params = [1, 0]
    two = fb.MLP((1, 1, 1), activation=truth.ACTIVATIONS[name], **options)
    two.params = [1, 0, 1, 0]
    # The derivative of the absolute error is 1 and its second derivative 0, so the Hessian by the biases is g''.
    wide = fb.MLP((1, n, 1), activation=truth.ACTIVATIONS[name], loss="absolute_error", **options)
    wide.biases[0][:] = s
    wide.weights[1][:] = 1
    v = np.concatenate([np.zeros(n), np.ones(n), np.zeros(n + 1)])
    at_zero, y = np.zeros((1, 1), s.dtype), np.full((1, 1), -1e30, s.dtype)
    return {
        "g' by vjp": last.vjp(X)[1](np.ones_like(X))[1][:, 0],
        "g' by vjp of a hidden layer": two.vjp(X)[1](np.ones_like(X))[1][:, 0],
        "g' by jvp": last.jvp(X, u=np.ones_like(X))[:, 0],
        "g' by deltas": wide.backward(at_zero, y, reduction="sum", returns=("deltas",)).deltas[0][0],
        "g'' by hvp": wide.hvp(at_zero, y, v, reduction="sum")[n : 2 * n],
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in truth.ACTIVATIONS if name != "exp"])
def test_slopes(name, dtype):
    form, s = truth.Format(dtype), truth.summed_inputs(dtype)
    found = Comparison(form, name, dtype)
    for quantity, values in hidden_slopes(name, s).items():
        for s_k, got in zip(s.tolist(), values, strict=True):
            prime, second = slopes(name, s_k, form)
            found.check(quantity, s_k, None, got, second if quantity.startswith("g''") else prime)
    found.finish()


@pytest.mark.parametrize("name", [name for name in truth.ACTIVATIONS if name != "exp"])
def test_reference_slopes(name):
    form, s = truth.Format("float64"), truth.summed_inputs("float64")
    found = Comparison(form, "reference", name)
    activation = reference.activation(truth.ACTIVATIONS[name])
    with np.errstate(all="ignore"):
        x = reference.activate(activation, s[:, None])
        found_slopes = reference.multiply_by_derivative(*activation, s[:, None], x, np.ones_like(x))[:, 0]
    for s_k, got in zip(s.tolist(), found_slopes, strict=True):
        found.check("g'", s_k, None, got, slopes(name, s_k, form)[0])
    found.finish()

"""fastbp.diagnose: why a net does not converge."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._chunks import Data
from ._kinks import has_kink
from ._masks import counted
from ._mlp import MLP
from ._nonfinite import negative_rate, place_of_nonfinite
from ._numbers import count, limit_of
from ._objective import Objective
from ._plots import new_axes
from .optimize import is_descent_direction
from .optimize._eigenvalues import Extremes, extreme_eigenvalues
from .reference import ACTIVATIONS

Vector = NDArray[np.float64]

BOUNDED = ("logistic", "tanh")  # activations whose units saturate
FLAT = 0.01  # a part of the largest g': below it a unit passes next to nothing back
MANY = 0.5  # a part of the units or rows that is worth a finding
VANISHING = 1e-3  # ratio of the first layer's gradient to the last's, each relative to its parameters
UNEVEN = 100.0  # ratio of the scales of two inputs

# (loss, output activation) with which e is convex in s(L), and so in the parameters of a single layer.
CONVEX = {
    *((loss, "identity") for loss in ("squared_error", "huber", "absolute_error", "pinball")),
    ("cross_entropy", "softmax"), ("cross_entropy", "logistic"), ("poisson", "exp"),
}  # fmt: skip


@dataclass(frozen=True)
class LayerReport:
    """One layer: the norms of its gradient and parameters, and the shares of its units that pass nothing back."""

    name: str
    activation: str
    grad_norm: float
    params_norm: float
    dead: float
    saturated: float


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` returns; ``str()`` of it is the report.

    Attributes
    ----------
    value, grad_norm : float
        The value and the norm of its gradient.
    layers : list of LayerReport
        name, activation, grad_norm, params_norm; dead: the share of units with g' = 0, or next to it, in every row;
        saturated: of logistic and tanh layers the share of rows and units with g' below 1 % of its largest value.
    slope, measured_slope : float
        The derivative of the value along the direction of steepest descent, -abs(grad), and as a difference.
    curvature : float
        d'Hd of that direction d: the value along it is value + slope t + curvature t^2 / 2 at first. nan where the
        loss is a function, which has no second derivative.
    eigenvalues : (float, float)
        The smallest and the largest of the Hessian; nan if it is not finite. Lanczos' method stops after 2000 products
        or 30 seconds for each. If it has not converged, a finding says so, and the true ones lie at these or beyond.
    safe_step : float
        1 / L with L the larger of their magnitudes: a step of gradient descent, as far as the quadratic reaches, that
        does not overshoot. inf where L is 0.
    convex : bool
        Whether the value is a convex function of the parameters: so for a single layer with a fitting loss.
    findings : list of str
        What stands in the way; empty where nothing was found.
    """

    value: float
    grad_norm: float
    layers: list[LayerReport]
    slope: float
    measured_slope: float
    curvature: float
    eigenvalues: tuple[float, float]
    safe_step: float
    convex: bool
    findings: list[str]
    steps: Vector
    values: Vector

    def __str__(self) -> str:
        low, high = self.eigenvalues
        lines = [
            f"value {self.value:.6g}, gradient norm {self.grad_norm:.3g}",
            f"{'layer':8}{'activation':12}{'abs(grad)':>11}{'abs(params)':>13}{'dead':>7}{'saturated':>11}",
            *(
                f"{r.name:8}{r.activation:12}{r.grad_norm:11.3g}{r.params_norm:13.3g}{r.dead:7.0%}{r.saturated:11.0%}"
                for r in self.layers
            ),
            f"steepest descent: slope {self.slope:.4g}, measured {self.measured_slope:.4g}",
            f"curvature along it {self.curvature:.4g}; Hessian's eigenvalues from {low:.4g} to {high:.4g}",
            f"safe step of gradient descent 1/L = {self.safe_step:.4g}",
            "convex: every minimum is global" if self.convex else "not convex: minima may be local",
            *(f"- {finding}" for finding in self.findings or ["nothing stands in the way"]),
        ]
        return "\n".join(lines)

    def plot(self, axes: Any = None) -> Any:
        """Gradients and idle units layer by layer, and the value along the gradient. Needs matplotlib.

        Parameters
        ----------
        axes : sequence of three matplotlib axes, optional

        Returns
        -------
        sequence of matplotlib axes
        """
        axes = new_axes(3) if axes is None else axes
        names = [r.name for r in self.layers]
        axes[0].bar(names, [r.grad_norm for r in self.layers], color="tab:blue")
        axes[0].set(yscale="log", title="gradient norm")
        axes[1].bar(names, [r.dead for r in self.layers], color="tab:red", label="dead")
        axes[1].bar(names, [r.saturated for r in self.layers], color="tab:orange", alpha=0.6, label="saturated")
        axes[1].set(ylim=(0, 1), title="units that pass nothing back")
        axes[1].legend()
        t = self.steps
        axes[2].plot(t, self.values, label="value")
        axes[2].plot(t, self.value + self.slope * t + 0.5 * self.curvature * t**2, ":", label="quadratic model")
        if np.isfinite(self.safe_step):
            axes[2].axvline(self.safe_step * self.grad_norm, color="gray", linewidth=0.8, label="safe step")
        axes[2].set(title="along the steepest descent", xlabel="length of the step")
        axes[2].legend()
        return axes


def diagnose(
    net: MLP, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, lr: float | None = None,
    rows: int = 10_000, seed: int = 0,
) -> Diagnosis:  # fmt: skip
    """Look for what keeps a net from learning: at its gradients, its units and the curvature where it stands.

    Compute in float64 on at most `rows` rows, drawn at random from those with a weight above 0. The net is not changed.
    Needs SciPy.

    Parameters
    ----------
    net : MLP
        With a loss.
    X, y, sample_weight
        As for `MLP.value`.
    lr : float, optional
        The learning rate that you use, to compare with 1/L.
    rows : int
    seed : int

    Returns
    -------
    Diagnosis
        ``print`` it, or ``plot()``; its findings are sentences.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.random.default_rng(0).standard_normal((100, 3))
    >>> net = fb.MLP((3, 8, 1), loss="squared_error", seed=0)
    >>> net.biases[0][:] = -100  # no unit is ever on
    >>> fb.diagnose(net, X, X[:, 0]).findings[0]
    'layer 1: 8 of 8 units are dead: their derivative is 0 in every row'
    """
    if not isinstance(net, MLP):
        raise TypeError(f"[diagnose] net is {type(net).__name__}, expected an fb.MLP")
    rate = limit_of("diagnose", "lr", lr)
    rows, seed = count("diagnose", "rows", rows, 1), count("diagnose", "seed", seed, 0)
    given, columns = net._on_host("diagnose", X, y, sample_weight), getattr(X, "columns", None)
    function = net._row_loss("diagnose", *given[:2])
    net._core.check("diagnose", *given, False, function)  # before rows are drawn
    data = Data(*given, function, given[0].shape[0], method="diagnose", columns=columns)
    X, y, sample_weight = _drawn(*given, rows, seed)
    objective = Objective(net, X, y, sample_weight, method="diagnose")
    shadow = net._with_recipe(dtype=np.dtype(np.float64), device="cpu")
    r = shadow.backward(X, y, sample_weight, returns=("s", "x", "weight_grads", "bias_grads", "grad"))
    layers = [_layer(shadow, k, r) for k in range(len(shadow.weights))]
    p, norm = objective.x0, float(np.linalg.norm(r.grad))
    d = -r.grad / norm if norm else np.zeros_like(p)
    extremes, curvature = Extremes(np.nan, np.nan), np.nan
    if np.isfinite(r.value) and not net._loss_is_function:
        extremes = extreme_eigenvalues(p, None, objective.hessp)
        curvature = float(d @ objective.hessp(p, d))
    eigenvalues = extremes.low, extremes.high
    largest = float(np.abs(eigenvalues).max())
    safe = 1 / largest if largest else np.inf
    h = _difference_step(p, r.value, norm, safe)
    steps = np.linspace(0, 3 * norm * safe if np.isfinite(safe) and norm else 1.0, 31)
    values = np.array([objective.fun(p + t * d) for t in steps])
    slope = is_descent_direction(d, r.grad)[1]
    found = Diagnosis(
        r.value, norm, layers, slope, (objective.fun(p + h * d) - objective.fun(p - h * d)) / (2 * h), curvature,
        eigenvalues, safe, _is_convex(net), [], steps, values,
    )  # fmt: skip
    if not extremes.converged:
        found.findings.append(
            "Lanczos' method did not converge: the Hessian's eigenvalues lie at those shown or beyond, "
            "and a safe step is at most the one shown"
        )
    at_kink = bool(norm) and np.isfinite(r.value) and has_kink(objective.fun, p, h * d)
    found.findings.extend(_findings(shadow, found, X, data, rate, at_kink))
    return found


def _difference_step(p: Vector, value: float, norm: float, safe: float) -> float:
    """Return the step of the measured slope: small beside the parameters and beside a step to the minimum.

    The second matters if y or X has a small unit. Rounding of the value bounds the step from below.
    """
    usual = 1e-6 * max(1.0, float(np.linalg.norm(p)))
    if not (norm and np.isfinite(norm) and np.isfinite(value) and np.isfinite(safe)):
        return usual
    return min(usual, max(1e-4 * norm * safe, 1e3 * np.finfo(np.float64).eps * abs(value) / norm))


def _is_convex(net: MLP) -> bool:
    loss = net.loss if isinstance(net.loss, str) else type(net.loss).__name__.lower()  # Huber, Pinball
    return len(net.weights) == 1 and (loss, net.activations[0][0]) in CONVEX


def _drawn(X: Any, y: Any, c: Any, rows: int, seed: int) -> tuple[Any, Any, Any]:
    counts = counted(c)
    if counts is not None:
        weighed = counts.any(axis=1)
        X, y, c = X[weighed], y[weighed], c[weighed]
    n = X.shape[0]
    if n <= rows:
        return X, y, c
    order = np.sort(np.random.default_rng(seed).permutation(n)[:rows])
    return X[order], y[order], None if c is None else c[order]


def _layer(net: MLP, k: int, r: Any) -> LayerReport:
    name, a = net.activations[k]
    dead = saturated = 0.0
    if k + 1 < len(net.weights):  # the output's derivative is cancelled by the loss, or is the user's choice
        prime = np.abs(ACTIVATIONS[name][1](r.s[k], r.x[k + 1], a))
        dead = float((prime.max(axis=0) < 1e-6).mean())
        if name in BOUNDED:
            saturated = float((prime < FLAT * (0.25 if name == "logistic" else 1.0)).mean())
    grads, params = (r.weight_grads[k], r.bias_grads[k]), (net.weights[k], net.biases[k])
    norms = [float(np.sqrt(sum(float(np.vdot(v, v)) for v in pair))) for pair in (grads, params)]
    return LayerReport(f"layer {k + 1}", name, norms[0], norms[1], dead, saturated)


def _findings(net: MLP, d: Diagnosis, X: Any, data: Data, lr: float, at_kink: bool) -> list[str]:
    if not np.isfinite(d.value):
        place = place_of_nonfinite(net, data) or negative_rate(net, data)
        return [f"the value is not finite: {place or 'it overflows; scale X, y or the parameters down'}"]
    found = []
    for k, r in enumerate(d.layers):
        units = net.layer_sizes[k + 1]
        if r.dead:
            dead = round(r.dead * units)
            found.append(f"{r.name}: {dead} of {units} units are dead: their derivative is 0 in every row")
        if r.saturated > MANY:
            found.append(f"{r.name}: {r.saturated:.0%} of {r.activation} saturated: scale inputs or weights down")
    first, last = (r.grad_norm / (r.params_norm or 1.0) for r in (d.layers[0], d.layers[-1]))
    if len(d.layers) > 1 and first < VANISHING * last:
        ratio = f"layer 1's is {first / last:.1g} of the last one's, relative to their parameters"
        found.append(f"the gradient vanishes on its way back: {ratio}")
    if place := place_of_nonfinite(net, data):
        found.append(f"{place}, although the value is finite")
    elif not hasattr(X, "tocsr"):  # sparse columns cannot be centred, and their scale is deliberate
        found.extend(_of_inputs(np.asarray(X, dtype=np.float64)))
    low, high = d.eigenvalues
    if lr * max(abs(low), abs(high)) > 2:
        found.append(f"lr = {lr:g} is above 2 / L = {2 * d.safe_step:.3g}: plain gradient descent overshoots")
    if d.grad_norm and abs(d.slope - d.measured_slope) > 0.01 * abs(d.slope) + 1e-9 * abs(d.value):
        reason = "the value has a kink near the parameters" if at_kink else "the loss function's dx is wrong"
        found.append(f"the measured slope differs from the gradient's: {reason}")
    size = float(np.linalg.norm(net.params))
    if d.grad_norm == 0 or d.grad_norm * d.safe_step < 1e-8 * max(1.0, size):  # next to nowhere to go
        found.append(f"the gradient is 0: this is {_kind(low, high)}")
    return found


def _kind(low: float, high: float) -> str:
    """Return the kind of a stationary point from the extreme eigenvalues of its Hessian, which may be nan."""
    if low < -1e-6 * max(high, -low):
        return "a saddle or maximum: add noise or start elsewhere"
    if low > 1e-6 * high:
        return "a minimum"
    return "a minimum or a flat region, which second derivatives cannot distinguish"


def _of_inputs(X: Any) -> list[str]:
    spread = X.std(axis=0)
    moving = spread[spread > 0]
    found = []
    if len(moving) > 0 and moving.max() > UNEVEN * moving.min():
        found.append(f"columns of X spread from {moving.min():.2g} to {moving.max():.2g}: scale them alike")
    if len(moving) and (np.abs(X.mean(axis=0)) > UNEVEN * np.maximum(spread, moving.min())).any():
        found.append("a column of X lies far from 0 for its spread: subtract its mean")
    return found

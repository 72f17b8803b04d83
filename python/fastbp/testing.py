"""Checks of gradients by differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._mlp import MLP
from ._taylor import Taylor, taylor_test

__all__ = ["Taylor", "check_gradient", "taylor_test"]

Array = NDArray[Any]
Value = Callable[[Array], float]

# Above this many parameters random directions are taken, each of which weighs every parameter.
MOST_ENTRIES = 2000
DIRECTIONS = 20
STEP = 6e-6  # about the cube root of float64's rounding: where truncation and rounding of a central difference meet
EPS = float(np.finfo(np.float64).eps)


def check_gradient(
    net: MLP,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    reduction: str = "mean",
    grad: ArrayLike | None = None,
    seed: int = 0,
) -> float:
    """Compare a net's gradient with central differences of its value in float64.

    The gradient is that of the net as it is: its dtype, device and threads. The differences are taken of a float64
    shadow of the net. Up to 2000 parameters each is looked at; above, 20 random directions that weigh every
    parameter, and where one differs the entry is searched for.

    Parameters
    ----------
    net : MLP
        With a loss.
    X, y, sample_weight, reduction
        As for `MLP.value_and_grad`.
    grad : array_like (P,), optional
        The gradient to test, instead of the net's own.
    seed : int
        Of the directions.

    Returns
    -------
    float
        The largest difference found, relative to the largest entry of the gradient.

    Raises
    ------
    AssertionError
        Where they differ by more than rounding explains: with layer, index and both values.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.MLP((3, 4, 1), loss="squared_error", activation="tanh", seed=0)
    >>> fb.testing.check_gradient(net, np.eye(3), [1.0, 2.0, 3.0]) < 1e-5
    True
    """
    given = net.value_and_grad(X, y, sample_weight, reduction=reduction)[1] if grad is None else np.asarray(grad)
    if given.shape != net.params.shape:
        raise ValueError(f"[check_gradient] grad has shape {given.shape}, expected {net.params.shape}")
    if not np.isfinite(given).all():
        at = int(np.flatnonzero(~np.isfinite(given))[0])
        raise AssertionError(f"the gradient is {given[at]} at {entry_name(net, at)}")
    shadow = _Shadow(net, X, y, sample_weight, reduction)
    check = _Check(shadow, given.astype(np.float64), 1e-4 if net.dtype == np.float32 else 1e-7)
    if net.params.size <= MOST_ENTRIES:
        return max(check.entry(net, i) for i in range(net.params.size))
    rng = np.random.default_rng(seed)
    return max(check.direction(net, rng) for _ in range(DIRECTIONS))


def entry_name(net: MLP, index: int) -> str:
    """Where entry `index` of the flat parameters lies, in words: layer 1 (weights[0])[2, 3]."""
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        if index < w.size:
            row, col = divmod(index, w.shape[1])
            return f"layer {k + 1} (weights[{k}])[{row}, {col}]"
        index -= w.size
        if index < b.size:
            return f"layer {k + 1} (biases[{k}])[{index}]"
        index -= b.size
    raise IndexError(index)


class _Shadow:
    """The net's value as a function of float64 parameters."""

    def __init__(self, net: MLP, X: ArrayLike, y: ArrayLike, sample_weight: Any, reduction: str) -> None:
        self.net = net._with_recipe(dtype=np.dtype(np.float64), device="cpu")
        self.p = self.net.params.copy()
        self._data = (X, y, sample_weight, reduction)
        value = self(self.p)
        # The rounding error of a value: what it scatters by where the parameters move by their own rounding.
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (8, self.p.size))
        scatter = max(abs(self(self.p * (1 + 4 * EPS * sign)) - value) for sign in signs)
        self.noise = 20 * EPS * abs(value) + 5 * scatter

    def __call__(self, p: Array) -> float:
        X, y, sample_weight, reduction = self._data
        self.net.params = p
        return self.net.value(X, y, sample_weight, reduction=reduction)

    def slope(self, direction: Array, h: float) -> float:
        return (self(self.p + h * direction) - self(self.p - h * direction)) / (2 * h)


class _Check:
    def __init__(self, shadow: _Shadow, grad: Array, tolerance: float) -> None:
        self.shadow, self.grad, self.tolerance = shadow, grad, tolerance
        self.largest = float(np.abs(grad).max(initial=0.0))

    def mismatch(self, direction: Array) -> tuple[float, float, float]:
        """(difference beyond tolerance or 0, gradient along the direction, slope by differences).

        A smaller step is tried where they differ: a kink (of relu, of an absolute error) lies within the first, or the
        function is strongly curved.
        """
        along = float(self.grad @ direction)
        length = float(np.linalg.norm(direction))
        best, slope_at_best = np.inf, 0.0
        for h in (STEP / length, 0.1 * STEP / length, 0.01 * STEP / length):
            slope = self.shadow.slope(direction, h)
            allowed = self.tolerance * (abs(slope) + 0.01 * self.largest * length) + self.shadow.noise / h
            beyond = abs(along - slope) - allowed
            if beyond < best:
                best, slope_at_best = beyond, slope
            if best <= 0:
                break
        return max(best, 0.0), along, slope_at_best

    def entry(self, net: MLP, i: int) -> float:
        direction = np.zeros_like(self.grad)
        direction[i] = max(1.0, abs(self.shadow.p[i]))
        beyond, along, slope = self.mismatch(direction)
        if beyond > 0:
            scale = direction[i]
            raise AssertionError(
                f"the gradient differs at {entry_name(net, i)}: "
                f"gradient {along / scale:.9g}, differences {slope / scale:.9g}"
            )
        return self._relative(along, slope, direction)

    def direction(self, net: MLP, rng: np.random.Generator) -> float:
        direction = rng.choice((-1.0, 1.0), self.grad.size)
        beyond, along, slope = self.mismatch(direction)
        if beyond > 0:
            self._find(net, direction, np.arange(self.grad.size))
        return self._relative(along, slope, direction)

    def _find(self, net: MLP, direction: Array, entries: NDArray[np.intp]) -> None:
        """Halve the entries, always keeping the half that differs more, and report the last one."""
        while len(entries) > 1:
            halves = np.array_split(entries, 2)
            parts = [np.where(np.isin(np.arange(len(direction)), half), direction, 0.0) for half in halves]
            differences = [abs(self.grad @ part - self.shadow.slope(part, STEP)) for part in parts]
            entries = halves[int(np.argmax(differences))]
        self.entry(net, int(entries[0]))
        raise AssertionError(
            "the gradient differs along a direction of all parameters, "
            f"most of it at {entry_name(net, int(entries[0]))}"
        )

    def _relative(self, along: float, slope: float, direction: Array) -> float:
        size = self.largest * float(np.linalg.norm(direction))
        return abs(along - slope) / size if size else abs(along - slope)

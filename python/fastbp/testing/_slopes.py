"""A given gradient against slopes: by central differences, or by complex steps where the function allows them."""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.exceptions import ComplexWarning
from numpy.typing import NDArray

Array = NDArray[Any]
Value = Callable[[Array], Any]

STEP = 6e-6  # about the cube root of float64's rounding: where truncation and rounding of a central difference meet
JUMP = 0.01  # relative change of slope between the two sides of p that makes a kink
COMPLEX_STEP = 1e-30  # nothing is subtracted, so it may be as small as one likes
EPS = float(np.finfo(np.float64).eps)


class Slopes(Protocol):
    """The derivative of a function at p along a direction, with an uncertainty of noise / h.

    `bend` is the difference between the slopes on the two sides of p in the last call of `slope`.
    """

    p: Array
    noise: float
    bend: float

    def slope(self, direction: Array, h: float) -> float: ...

    def jump(self, direction: Array) -> tuple[float, float] | None: ...


class Differences:
    """Central differences of steps h."""

    def __init__(self, value: Value, p: Array) -> None:
        self.value, self.p = value, p
        self.at_p = at_p = value(p)
        # The rounding error of a value: what it scatters by where the parameters move by their own rounding.
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (8, p.size))
        scatter = max(abs(value(p * (1 + 4 * EPS * sign)) - at_p) for sign in signs)
        self.bend = 0.0
        self.noise = 20 * EPS * abs(at_p) + 5 * scatter

    def slope(self, direction: Array, h: float) -> float:
        behind, ahead = self.sides(direction, h)
        self.bend = abs(ahead - behind)
        return (behind + ahead) / 2

    def sides(self, direction: Array, h: float) -> tuple[float, float]:
        """Return the slopes before p and after it."""
        behind, ahead = self.value(self.p - h * direction), self.value(self.p + h * direction)
        return float(self.at_p - behind) / h, float(ahead - self.at_p) / h

    def jump(self, direction: Array) -> tuple[float, float] | None:
        """Return the slopes on the two sides of p if they differ for arbitrarily small steps, else None."""
        length = float(np.linalg.norm(direction))
        near, far = (self.sides(direction, h / length) for h in (0.01 * STEP, STEP))
        jump, uncertain = abs(near[1] - near[0]), 4 * self.noise * length / (0.01 * STEP)
        return near if jump > max(0.5 * abs(far[1] - far[0]), JUMP * max(map(abs, near)), uncertain) else None


class ComplexSteps:
    """Im f(p + i h d) / h: exact to rounding, for functions that are analytic and compute with complex numbers."""

    noise = bend = 0.0

    def __init__(self, value: Value, p: Array) -> None:
        self.value, self.p = value, p

    def slope(self, direction: Array, h: float) -> float:
        return float(np.imag(self.value(self.p + 1j * COMPLEX_STEP * direction))) / COMPLEX_STEP

    def jump(self, direction: Array) -> None:
        """Return None, because analytic functions have no kinks."""

    @classmethod
    def where_allowed(cls, value: Value, differences: Differences) -> Slopes:
        """Complex steps where the function takes them and they agree with the differences; else the differences.

        Abs, a maximum or a conjugate takes complex numbers and gives something else: hence the comparison.
        """
        found = cls(value, differences.p)
        direction = np.random.default_rng(1).standard_normal(found.p.size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ComplexWarning)
                exact = found.slope(direction, COMPLEX_STEP)
        except Exception:  # whatever a function does that was not made for them
            return differences
        if differences.jump(direction) is not None:  # a complex step gives the slope of one side only
            return differences
        h = STEP / float(np.linalg.norm(direction))
        allowed = 1e-6 * abs(exact) + differences.noise / h
        return found if abs(differences.slope(direction, h) - exact) <= allowed else differences


class Comparison:
    """Of a gradient with slopes; `name(i)` says in words which entry i is."""

    def __init__(self, slopes: Slopes, grad: Array, tolerance: float, name: Callable[[int], str]) -> None:
        self.slopes, self.grad, self.tolerance, self.name = slopes, grad, tolerance, name
        self.largest = float(np.abs(grad).max(initial=0.0))

    def mismatch(self, direction: Array) -> tuple[float, float, float]:
        """(difference beyond tolerance or 0, gradient along the direction, slope).

        A smaller step is tried where they differ: a kink (of relu, of an absolute error) lies within the first, or the
        function is strongly curved.
        """
        along = float(self.grad @ direction)
        length = float(np.linalg.norm(direction))
        best, slope_at_best = np.inf, 0.0
        for h in (STEP / length, 0.1 * STEP / length, 0.01 * STEP / length):
            slope = self.slopes.slope(direction, h)
            allowed = self.tolerance * (abs(slope) + 0.01 * self.largest * length) + self.slopes.noise / h
            beyond = abs(along - slope) - allowed
            if beyond < best:
                best, slope_at_best = beyond, slope
            if best <= 0:
                break
        return max(best, 0.0), along, slope_at_best

    def entry(self, i: int) -> float:
        """The relative difference at one entry; raises where it is too large."""
        direction = np.zeros_like(self.grad)
        direction[i] = max(1.0, abs(self.slopes.p[i]))
        beyond, along, slope = self.mismatch(direction)
        scale = direction[i]
        if beyond > 0 or self._bends(slope, direction):
            self._raise_at_kink(direction, along, f"at {self.name(i)}", scale)
        if beyond > 0:
            raise AssertionError(
                f"the gradient differs at {self.name(i)}: gradient {along / scale:.9g}, "
                f"{'complex step' if isinstance(self.slopes, ComplexSteps) else 'differences'} {slope / scale:.9g}"
            )
        return self._relative(along, slope, direction)

    def _bends(self, slope: float, direction: Array) -> bool:
        """Return whether the last slopes on the two sides of p differ so much that there may be a kink."""
        return self.slopes.bend > 0.1 * (abs(slope) + 0.01 * self.largest * float(np.linalg.norm(direction)))

    def _raise_at_kink(self, direction: Array, along: float, place: str, scale: float = 1.0) -> None:
        """Raise AssertionError if there is a kink along the direction and the gradient lies between its two slopes."""
        sides = self.slopes.jump(direction)
        if sides is None:
            return
        margin = self.tolerance * max(map(abs, sides))
        margin += 100 * self.slopes.noise * float(np.linalg.norm(direction)) / STEP
        if min(sides) - margin <= along <= max(sides) + margin:
            behind, ahead = (side / scale for side in sides)
            raise AssertionError(
                f"the function has a kink {place}: gradient {along / scale:.9g}, slopes {behind:.9g} before and "
                f"{ahead:.9g} after it; check the gradient at another point"
            )

    def direction(self, rng: "np.random.Generator") -> float:
        """The same along a random direction of all entries; where it is too large the worst entry is searched for."""
        direction = rng.choice((-1.0, 1.0), self.grad.size)
        beyond, along, slope = self.mismatch(direction)
        if beyond > 0:
            self._find(direction, np.arange(self.grad.size))
        if self._bends(slope, direction):
            self._raise_at_kink(direction, along, "along a direction of all parameters")
        return self._relative(along, slope, direction)

    def _find(self, direction: Array, entries: NDArray[np.intp]) -> None:
        """Halve the entries, always keeping the half that differs more, and report the last one."""
        while len(entries) > 1:
            halves = np.array_split(entries, 2)
            parts = [np.where(np.isin(np.arange(len(direction)), half), direction, 0.0) for half in halves]
            differences = [abs(self.grad @ part - self.slopes.slope(part, STEP)) for part in parts]
            entries = halves[int(np.argmax(differences))]
        self.entry(int(entries[0]))
        self._raise_at_kink(direction, float(self.grad @ direction), "along a direction of all parameters")
        raise AssertionError(
            "the gradient differs along a direction of all parameters, "
            f"most of it at {self.name(int(entries[0]))}"
        )

    def _relative(self, along: float, slope: float, direction: Array) -> float:
        size = self.largest * float(np.linalg.norm(direction))
        return abs(along - slope) / size if size else abs(along - slope)

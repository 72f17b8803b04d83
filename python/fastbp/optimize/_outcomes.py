"""How a search ends: the statuses of its result and their messages."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .._kinks import EPS

Vector = NDArray[np.float64]

SOLVED, STEPS_USED, AT_ROUNDING, STOPPED, STALLED, NOT_A_MINIMUM, NOT_FINITE = range(7)
SUCCESSES = (SOLVED, AT_ROUNDING)

STEPS_USED_UP = "the number of steps is used up"
STOPPED_BY_CALLBACK = "the callback stopped it"
SADDLE = "the gradient is 0, but x is a saddle point or a maximum: start elsewhere"

AXES, RANDOM = 20, 10  # largest number of axes, and number of random directions, that are searched for a lower value


def length(v: Vector) -> float:
    """Return the Euclidean norm, even if the squares overflow or underflow."""
    largest = float(np.abs(v).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(v / largest))


def values_nearby(
    value: Callable[[Vector], float], x: Vector, at_x: float, grad: Vector, reach: float
) -> tuple[float, float]:
    """Return the lowest and the highest change of the value near x, where the gradient is near 0.

    The gradient's part of each change is subtracted. The smallest step with a change above rounding represents its
    direction. A change below 0 shows that x is not a minimum and ends the search. Only axes and random directions are
    tried, so a saddle that descends in few directions may remain undetected.
    """
    rng = np.random.default_rng(0)
    axes = np.eye(x.size) if x.size <= AXES else np.eye(x.size)[:0]
    random = rng.standard_normal((RANDOM, x.size))
    directions = np.concatenate([axes, random / np.linalg.norm(random, axis=1, keepdims=True)])
    lowest = highest = 0.0
    with np.errstate(all="ignore"):
        for d in directions:
            for sign in (1.0, -1.0):
                change = _change(value, x, at_x, sign * float(grad @ d), sign * reach * d)
                lowest, highest = min(lowest, change), max(highest, change)
                if lowest < 0:
                    return lowest, highest
    return lowest, highest


def _change(value: Callable[[Vector], float], x: Vector, at_x: float, slope: float, step: Vector) -> float:
    """Return the change of the value for the smallest step that shows one; 0 if fewer than two steps do."""
    reach, changes = length(step), []
    for t in (1e-1, 1e-2, 1e-3, 1e-4):
        there = float(value(x + t * step))
        change = there - at_x - t * reach * slope
        if not abs(change) > 1e3 * EPS * (abs(there) + abs(at_x)):
            break
        changes.append(change)
    return changes[-1] if len(changes) > 1 else 0.0  # a single one may lie beyond the next maximum

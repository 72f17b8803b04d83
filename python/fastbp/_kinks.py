"""Detect kinks: points where the slope of a function along a direction jumps, as that of relu at 0."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS = float(np.finfo(np.float64).eps)
HALVINGS = 10
ROUNDING = 64 * EPS  # relative rounding error of a value


def has_kink(value: Callable[[Array], float], x: Array, direction: Array) -> bool:
    """Return whether the slope along the direction jumps between x - direction and x + direction.

    The interval is halved repeatedly. Of its left, middle and right half the one with the largest change of slope
    remains. The change of slope of a smooth function halves with the interval, while a jump stays. `value` is called at
    most 2 HALVINGS + 3 times.
    """

    def at(t: float) -> float:
        return float(value(x + t * direction))

    centre, radius = 0.0, 1.0
    with np.errstate(all="ignore"):
        values = [at(-1.0), at(0.0), at(1.0)]
        changes = [_change(values, radius)]
        for _ in range(HALVINGS):
            radius /= 2
            points = [values[0], at(centre - radius), values[1], at(centre + radius), values[2]]
            thirds = [points[k : k + 3] for k in (1, 0, 2)]  # the middle first: argmax prefers it in a tie
            found = [_change(third, radius) for third in thirds]
            if not np.isfinite(found).all():
                return False
            best = int(np.argmax(found))
            centre, values = centre + (0, -radius, radius)[best], thirds[best]
            changes.append(found[best])
            if changes[-1] * radius <= ROUNDING * max(abs(v) for v in values):
                return False
    return bool(changes[-1] > max(changes[:3]) * 2.0 ** (-HALVINGS / 2))


def _change(values: list[float], radius: float) -> float:
    """Return the change of slope at the middle of three points, `radius` apart."""
    return abs(values[0] - 2 * values[1] + values[2]) / radius

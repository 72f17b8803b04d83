"""Numbers that a caller gives, checked, with the argument named where they are refused."""

import math
import operator

from ._functions import real


def integer(value: object) -> int:
    """`value` as an int: whatever has __index__, but for bools. Raises TypeError."""
    if isinstance(value, bool):
        raise TypeError(value)
    return operator.index(value)  # type: ignore[arg-type]  # checked by trying


def count(method: str, argument: str, value: object, least: int) -> int:
    """`value` as an integer that is at least `least`; floats are refused even where they are whole."""
    try:
        number = integer(value)
    except TypeError:
        raise TypeError(f"[{method}] {argument} is {value!r}, expected an integer") from None
    if number < least:
        raise ValueError(f"[{method}] {argument} is {number}, expected at least {least}")
    return number


def finite(method: str, argument: str, value: object, *, zero: bool = True) -> float:
    """`value` as a finite number that is at least 0, or with zero=False greater."""
    expected = f"expected a finite number {'>=' if zero else '>'} 0"
    try:
        number = value if type(value) is float else real(value)
    except (TypeError, ValueError):
        raise TypeError(f"[{method}] {argument} is {value!r}, {expected}") from None
    if not (math.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise ValueError(f"[{method}] {argument} is {value!r}, {expected}")
    return number


def limit_of(method: str, argument: str, value: object) -> float:
    """A norm that must not be exceeded; None, no limit, becomes 0."""
    return 0.0 if value is None else finite(method, argument, value, zero=False)

"""Prints the coefficient tables of cpp/src/formulas/elementary.hpp.

Each table is a near-minimax fit made in 80-digit arithmetic and then rounded to the target type; the
relative error printed beside it is that of the rounded table, evaluated exactly. Run it with mpmath and
numpy installed:

    python tools/coefficients.py
"""

from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 80

Function = Callable[[mp.mpf], mp.mpf]
TYPES = {"float": np.float32, "double": np.float64}


def round_to(values: list[mp.mpf], dtype: type) -> list:
    """The nearest numbers of the target type, by way of a decimal string long enough to round once."""
    return [dtype(mp.nstr(value, 40)) for value in values]


def exact(values: list) -> list[mp.mpf]:
    return [mp.mpf(float(value)) for value in values]


def horner(coefficients: list[mp.mpf], x: mp.mpf) -> mp.mpf:
    return mp.polyval(coefficients[::-1], x)


def show(name: str, type_name: str, values: list, error: mp.mpf) -> None:
    suffix = "f" if type_name == "float" else ""
    print(f"\n{name}, {type_name}: lowest power first, relative error 2^{float(mp.log(error, 2)):.1f}")
    for value in values:
        # The shortest decimal that reads back as the same number; one beyond an integer keeps its point.
        print(f"    {value!s}{suffix},")


def largest_error(approximation: Function, truth: Function, points: list[mp.mpf]) -> mp.mpf:
    return max(abs(approximation(x) / truth(x) - 1) for x in points)


def uniform(low: mp.mpf, high: mp.mpf, count: int = 400) -> list[mp.mpf]:
    """Points of an interval without 0, where the quotients below are removable singularities."""
    return [x for x in mp.linspace(low, high, count) if abs(x) > mp.mpf("1e-12")]


def exponential_tail(r: mp.mpf) -> mp.mpf:
    """q of exp(r) = 1 + r + r^2 q(r)."""
    return (mp.expm1(r) - r) / r**2 if r else mp.mpf(1) / 2


def logarithm_tail(f: mp.mpf) -> mp.mpf:
    """q of log(1 + f) = f - f^2 / 2 + f^3 q(f)."""
    return (mp.log1p(f) - f + f**2 / 2) / f**3 if f else mp.mpf(1) / 3


def half_mills_ratio(z: mp.mpf) -> mp.mpf:
    """R of 1 - Phi(z) = exp(-z^2 / 2) R(z), which is erfcx(z / sqrt 2) / 2."""
    return mp.exp(z * z / 2) * mp.erfc(z / mp.sqrt(2)) / 2


def polynomial_table(name: str, tail: Function, rebuild: Callable, truth: Function, low, high, terms) -> None:
    """Chebyshev interpolation of the tail of a series; the error is that of the whole function."""
    for type_name, count in terms.items():
        values = round_to(mp.chebyfit(tail, [low, high], count)[::-1], TYPES[type_name])
        table = exact(values)
        error = largest_error(lambda x, table=table: rebuild(x, horner(table, x)), truth, uniform(low, high))
        show(name, type_name, values, error)


def rational_fit(function: Function, degree: int, high: mp.mpf, scale: mp.mpf, dtype: type) -> tuple[list, list]:
    """P / Q of degrees (degree, degree + 1) on [0, high], with P(0) = function(0) and Q(0) = 1.

    P - function Q = 0 in the least-squares sense, relative to P, over Chebyshev's nodes in
    t = (z - scale) / (z + scale), which spreads the half-line over an interval (Shepherd & Laframboise
    1981). The coefficients are rounded one by one, those of low powers first, and the rest are fitted anew
    each time, so that they absorb the rounding (Brisebarre & Chevillard, ARITH 2007, treat this in full).
    """
    count = 8 * degree
    last = (high - scale) / (high + scale)
    nodes = [-1 + (last + 1) / 2 * (1 + mp.cos(mp.pi * (2 * i + 1) / (2 * count))) for i in range(count)]
    points = [scale * (1 + t) / (1 - t) for t in nodes]
    values = [function(z) for z in points]
    # Column (part, power) of the linear system; the fit is repeated with the weight 1 / P of the last one.
    order = [(part, power) for power in range(degree + 2) for part in (1, 0) if power <= degree + part]
    table = [[function(mp.mpf(0))] + [mp.mpf(0)] * degree, [mp.mpf(1)] + [mp.mpf(0)] * (degree + 1)]
    weights = [1 / value / (1 + z) ** degree for z, value in zip(points, values, strict=True)]

    def solve(free: list[tuple[int, int]]) -> None:
        matrix, right = mp.matrix(count, len(free)), mp.matrix(count, 1)
        for row, (z, value, weight) in enumerate(zip(points, values, weights, strict=True)):
            for column, (part, power) in enumerate(free):
                matrix[row, column] = weight * z**power * (-value if part else 1)
            fixed = [sum(c * z**i for i, c in enumerate(table[part]) if (part, i) not in free) for part in (0, 1)]
            right[row] = weight * (value * fixed[1] - fixed[0])
        for (part, power), coefficient in zip(free, mp.lu_solve(matrix, right), strict=True):
            table[part][power] = coefficient

    free = [entry for entry in order if entry[1] > 0]
    for _ in range(3):
        solve(free)
        weights = [1 / horner(table[0], z) for z in points]
    while free:
        part, power = free.pop(0)
        table[part][power] = mp.mpf(float(round_to([table[part][power]], dtype)[0]))
        if free:
            solve(free)
    return table[0], table[1]


def mills_table(type_name: str, degree: int, high: str, scale: str) -> None:
    dtype = TYPES[type_name]
    p, q = rational_fit(half_mills_ratio, degree, mp.mpf(high), mp.mpf(scale), dtype)
    points = [mp.mpf(high) * (mp.mpf(i) / 400) ** 2 for i in range(401)]
    error = largest_error(lambda z: horner(p, z) / horner(q, z), half_mills_ratio, points)
    if min(min(p), min(q)) <= 0:
        raise ValueError("a coefficient is not positive: the sums would cancel")
    show("R, numerator", type_name, round_to(p, dtype), error)
    show("R, denominator", type_name, round_to(q, dtype), error)


def main() -> None:
    half_step = mp.log(2) / 2 * mp.mpf("1.001")
    polynomial_table(
        "q of exp(r) = 1 + r + r^2 q(r)",
        exponential_tail,
        lambda r, q: r + r * r * q,
        mp.expm1,
        -half_step,
        half_step,
        {"float": 5, "double": 10},
    )
    polynomial_table(
        "q of log(1 + f) = f - f^2 / 2 + f^3 q(f)",
        logarithm_tail,
        lambda f, q: f - f * f / 2 + f**3 * q,
        mp.log1p,
        -mp.mpf(1) / 4,
        mp.mpf(1) / 2,
        {"float": 9, "double": 20},
    )
    mills_table("float", 4, "14.5", "2.8")
    mills_table("double", 10, "39", "4")


if __name__ == "__main__":
    main()

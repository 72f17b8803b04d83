"""Compare results with the expected ones, and count the comparisons."""

from collections import Counter

import numpy as np

GRADIENTS = ("grad", "accumulated", "clipped_grad", "pullback@")


class MismatchError(AssertionError):
    """A result that is not within its bound. The text has a program that shows it."""


class Account:
    """The number of comparisons of each pair, and of the numbers that had a finite bound."""

    def __init__(self):
        self.problems = 0
        self.arrays, self.numbers, self.exact, self.unbounded = Counter(), Counter(), Counter(), Counter()

    def add(self, pair, bound):
        self.arrays[pair] += 1
        self.numbers[pair] += int(np.isfinite(bound).sum())
        self.exact[pair] += int((bound == 0).sum())
        self.unbounded[pair] += int(np.isinf(bound).sum())

    def table(self):
        width = max((len(" : ".join(pair)) for pair in self.arrays), default=0)
        lines = [f"{'pair of ways':{width}}  {'arrays':>9}  {'numbers':>12}  {'bit for bit':>12}  {'no bound':>10}"]
        for pair, arrays in sorted(self.arrays.items()):
            numbers = f"{self.numbers[pair]:>12,}  {self.exact[pair]:>12,}  {self.unbounded[pair]:>10,}"
            lines.append(f"{' : '.join(pair):{width}}  {arrays:>9,}  {numbers}")
        total = sum(self.numbers.values())
        return "\n".join([*lines, f"{self.problems:,} problems, {total:,} comparisons of numbers"])


def differences(found, expected, judges_patterns):
    """Return a mask of the results outside their bounds. A number that is not finite must be the same one."""
    found = np.asarray(found, dtype=np.float64).reshape(expected.value.shape)
    value, error = expected.value, expected.error
    with np.errstate(invalid="ignore"):
        far = ~(np.abs(found - value) <= error) & np.isfinite(value) & np.isfinite(error)
        other = ~((found == value) | (np.isnan(found) & np.isnan(value))) & ~np.isfinite(value)
    return far | other if judges_patterns else far


def wrong_entries(name, found, expected, judges_patterns):
    """A sentence about a result that differs; None if it does not."""
    if np.size(found) != expected.value.size:
        return f"{name} has shape {np.shape(found)}, expected {expected.value.shape}"
    wrong = differences(found, expected, judges_patterns)
    if not wrong.any():
        return None
    found = np.asarray(found, dtype=np.float64).reshape(expected.value.shape)
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    value, error = expected.value[at], expected.error[at]
    return (
        f"{name}: {int(wrong.sum())} of {wrong.size} entries; the first, {list(at)}, is {found[at]!r}, "
        f"expected {value!r} with an error of at most {error:.3g}"
    )


def against_truth(way, answer, truth, account):
    """Sentences about the results of one way that differ from the expected ones."""
    said = []
    if isinstance(answer, str):
        return [f"raised\n{answer}"]
    problem = truth.problem
    overflow = any(np.isinf(r.error).any() for r in truth.results.values())
    judges = problem.finite or not overflow
    for name, found in answer.items():
        if not problem.finite and name.startswith("clipped_grad"):
            continue  # a row whose norm is not finite is left out
        expected = truth.results[name.split("@")[0]]
        if not problem.finite and way.name == "compressed rows" and name.startswith(GRADIENTS):
            continue  # rows without an entry multiply nothing there, and 0 times nan in a dense one
        account.add((way.name, "expected"), expected.error)
        sentence = wrong_entries(name, found, expected, judges)
        if sentence:
            said.append(sentence)
    return said


def same_bits(answer, base, pair, account):
    """Sentences about results that are not those of another way, bit for bit."""
    said = []
    if isinstance(answer, str) or isinstance(base, str):
        return said
    for name in answer.keys() & base.keys():
        account.add(pair, np.zeros(np.shape(answer[name])))
        if not np.array_equal(answer[name], base[name], equal_nan=True):
            far = np.nanmax(np.abs(np.asarray(answer[name], float) - base[name]))
            said.append(f"{name} is not bit for bit that of {pair[1]!r}: it differs by up to {far:.3g}")
    return said

"""The ways to compute a problem. Each file has `WAYS`, and functions ``f(problem, **options) -> {result: array}``.

A result's name is that of `truth`, with the method that gave it behind an @. A way gives the results that it can give.
"""

import importlib
from dataclasses import dataclass

FILES = ("mlp", "numpy_reference", "cooperative", "torch_nets", "jax_nets")


@dataclass(frozen=True)
class Way:
    """One way: a function of this package, its options, and the environment of the process that it runs in."""

    name: str
    function: str  # "file:function"
    options: tuple = ()  # (name, value) pairs
    environment: tuple = ()  # (variable, value) pairs; ways of one environment share a process
    precision: str | None = None  # "float64" if it computes in float64 for every dtype of the problem
    same_bits_as: str | None = None  # another way, whose results it repeats bit for bit
    same_bits_if: str = "always"  # or "deterministic": for such problems alone
    needs: str | None = None  # a package, or "emulated device" or "seam"
    every: int = 1  # it computes one in so many problems, since it is slow

    @property
    def framework(self):
        """The framework that the way needs, or None."""
        return self.needs.split()[0] if self.needs and self.needs.split()[0] in ("torch", "jax") else None

    def dtype(self, problem):
        return self.precision or problem.dtype

    def compute(self, problem):
        file, function = self.function.split(":")
        module = importlib.import_module(f"differential.ways.{file}")
        return getattr(module, function)(problem, **dict(self.options))


def all_ways():
    """Every way of every file, whether or not it can run here."""
    found = [way for file in FILES for way in importlib.import_module(f"differential.ways.{file}").WAYS]
    assert len({way.name for way in found}) == len(found)
    return found

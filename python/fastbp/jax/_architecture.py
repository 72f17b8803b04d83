"""What a net is, as static data of a JAX trace."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .. import _core
from .._functions import OUTPUT_ACTIVATIONS


@dataclass(frozen=True)
class Architecture:
    """The widths d(0) .. d(L), (name, parameter) of each layer's activation, and the way to the core."""

    widths: tuple[int, ...]
    activations: tuple[tuple[str, float], ...]
    way: str

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of w(1) .. w(L)."""
        return list(zip(self.widths, self.widths[1:], strict=False))

    @property
    def part_shapes(self) -> list[tuple[int, ...]]:
        """Of w(1), b(1), .. w(L), b(L)."""
        return [shape for rows, cols in self.shapes for shape in ((rows, cols), (cols,))]

    @property
    def parameter_count(self) -> int:
        return sum((rows + 1) * cols for rows, cols in self.shapes)

    @property
    def activation_numbers(self) -> list[int]:
        return [OUTPUT_ACTIVATIONS[name] for name, _ in self.activations]

    @property
    def activation_parameters(self) -> list[float]:
        return [parameter for _, parameter in self.activations]


@cache
def core_net(net: Architecture, dtype: np.dtype[Any]) -> _core.Net:
    return _core.Net(
        list(net.widths), net.activation_numbers, net.activation_parameters, 0, None, [0.0] * len(net.activations),
        dtype, 0.0, 0.0, False, "cpu",
    )  # fmt: skip


def kept_per_row(net: Architecture) -> int:
    """How many numbers a forward pass keeps for each row, as the core says."""
    return core_net(net, np.dtype(np.float32)).kept_size(1)

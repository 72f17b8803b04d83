"""What a net is, as static data of a JAX trace."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from .. import _core
from .._functions import OUTPUT_ACTIVATIONS

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Architecture:
    """The widths d(0) .. d(L), (name, parameter) of each layer's activation, and the way to the core.

    `architecture` makes it. Equal architectures are one object, so that JAX finds compiled functions again. The object
    owns everything that is cached for it, which is freed when no JAX function uses the object any more.
    """

    widths: tuple[int, ...]
    activations: tuple[tuple[str, float], ...]
    way: str
    cache: dict[tuple[Any, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> Any:
        return architecture, (self.widths, self.activations, self.way)

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


_ALIVE: WeakValueDictionary[Hashable, Architecture] = WeakValueDictionary()


def architecture(widths: tuple[int, ...], activations: tuple[tuple[str, float], ...], way: str) -> Architecture:
    """Return the architecture with these fields; a new one only if none is alive."""
    return _ALIVE.setdefault((widths, activations, way), Architecture(widths, activations, way))


class cached_with_net(Generic[P, Result]):  # noqa: N801
    """Cache the results of a function of a net and hashable arguments as long as the net lives."""

    def __init__(self, function: Callable[Concatenate[Architecture, P], Result]) -> None:
        self._function = function

    def __call__(self, net: Architecture, *args: P.args, **kwargs: P.kwargs) -> Result:
        key = (self, args)
        if key not in net.cache:
            net.cache.setdefault(key, self._function(net, *args, **kwargs))
        result: Result = net.cache[key]
        return result

    def cache_clear(self) -> None:
        """Forget the results for all nets."""
        for net in list(_ALIVE.values()):
            for key in [key for key in net.cache if key[0] is self]:
                del net.cache[key]


@cached_with_net
def core_net(net: Architecture, dtype: np.dtype[Any]) -> _core.Net:
    return _core.Net(
        list(net.widths), net.activation_numbers, net.activation_parameters, 0, None, [0.0] * len(net.activations),
        dtype, 0.0, 0.0, False, "cpu",
    )  # fmt: skip


def kept_per_row(net: Architecture) -> int:
    """How many numbers a forward pass keeps for each row, as the core says."""
    return core_net(net, np.dtype(np.float32)).kept_size(1)

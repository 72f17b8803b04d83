"""The flat parameters: their views by layer, and how they start."""

import operator
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._device import device_of, numbers, views
from ._functions import REAL_KINDS, RELU_LIKE

if TYPE_CHECKING:
    from ._network import Network

Array = NDArray[Any]


class Views(Sequence[Array]):
    """One array per layer, each a view of the flat parameters; item assignment writes into them."""

    def __init__(self, name: str, arrays: list[Array]) -> None:
        self._name, self._arrays = name, arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, k: Any) -> Any:
        return self._arrays[k]

    def __setitem__(self, k: int, value: ArrayLike) -> None:
        mine = self._arrays[operator.index(k)]
        assign(mine, self._name, f"{self._name}[{k}]", value)

    def __iter__(self) -> Iterator[Array]:
        return iter(self._arrays)

    def __repr__(self) -> str:
        return repr(self._arrays)


def assign(mine: Array, method: str, argument: str, value: ArrayLike) -> None:
    """Write an array-like of the same shape into the net's own."""
    given = numbers(device_of(mine), method, argument, value, mine.dtype)
    if given.dtype.kind not in REAL_KINDS:
        raise TypeError(f"[{method}] {argument} is given {given.dtype}, expected real numbers")
    if given.shape != mine.shape:
        raise ValueError(f"[{method}] {argument} is given shape {given.shape}, expected {mine.shape}")
    mine[...] = given


def layer_views(grad: Array, sizes: tuple[int, ...]) -> dict[str, list[Array]]:
    weight_grads, bias_grads = views(grad, sizes)
    return {"weight_grads": weight_grads, "bias_grads": bias_grads}


def initialise(net: "Network", init: str, generator: "np.random.Generator") -> None:
    """Glorot and Bengio 2010: uniform, variance 2 / (d(l-1) + d(l)); He et al. 2015: normal, variance 2 / d(l-1)."""
    if init == "zeros":
        return
    for w, (g, _) in zip(net.weights, net.activations, strict=True):
        rows, cols = w.shape
        if init == "he_normal" or (init == "auto" and g in RELU_LIKE):
            w[...] = generator.standard_normal((rows, cols)) * np.sqrt(2 / rows)
        else:
            limit = np.sqrt(6 / (rows + cols))
            w[...] = generator.uniform(-limit, limit, (rows, cols))


def entry_name(net: "Network", index: int) -> str:
    """Return the name of entry `index` of the flat parameters, such as "layer 1 (weights[0])[2, 3]"."""
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        if index < w.size:
            row, col = divmod(index, w.shape[1])
            return f"layer {k + 1} (weights[{k}])[{row}, {col}]"
        index -= w.size
        if index < b.size:
            return f"layer {k + 1} (biases[{k}])[{index}]"
        index -= b.size
    raise IndexError(index)

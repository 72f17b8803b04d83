"""What a network's arguments may be, looked at once when it is made."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from . import _core
from ._functions import one_of, real
from ._numbers import integer

RETURNS = ("s", "x", "deltas", "weight_grads", "bias_grads", "input_grad")  # of `backward`, where nothing is said
MORE_RETURNS = ("example_loss", "example_grad_norm", "grad")


class Exporter(Protocol):
    """What shares its memory by DLPack: a NumPy array, a torch tensor."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        """A capsule with the memory, its form and its owner."""


def sizes_of(layer_sizes: object) -> tuple[int, ...]:
    try:
        sizes = tuple(integer(d) for d in layer_sizes)  # type: ignore[attr-defined]  # checked by trying
    except TypeError:
        raise TypeError(f"layer_sizes is {layer_sizes!r}, expected a sequence of integers") from None
    if len(sizes) < 2:
        raise ValueError(f"layer_sizes is {sizes}, expected at least an input and an output width")
    for k, d in enumerate(sizes):
        if not 1 <= d < 2**31:
            raise ValueError(f"layer_sizes[{k}] is {d}, expected a width from 1 to 2147483647")
    return sizes


def dtype_of(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(object if dtype is None else dtype)
    except (TypeError, ValueError, SyntaxError):
        found = np.dtype(object)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {dtype!r}, expected 'float32' or 'float64'")
    return found


def penalty_factor(name: str, value: object) -> float:
    try:
        return real(value)  # the core checks that it is >= 0
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, expected a number >= 0") from None


def generator_of(seed: object) -> "np.random.Generator":  # quoted: looking it up at import would load numpy.random
    if isinstance(seed, np.random.Generator):
        return seed
    try:
        number = None if seed is None else integer(seed)
    except TypeError:
        raise TypeError(f"seed is {seed!r}, expected an integer, a numpy.random.Generator or None") from None
    if number is not None and number < 0:
        raise ValueError(f"seed is {number}, expected an integer >= 0")
    return np.random.default_rng(number)


def as_array(method: str, argument: str, data: Any) -> Any:
    """An array-like as NumPy sees it, once for all epochs; the core looks at kinds and shapes."""
    return data if data is None or hasattr(data, "nnz") else _core.as_array(method, argument, data)


def as_rows(method: str, X: Any) -> Any:
    """X as the core takes it and slices can be taken of it; sparse matrices in compressed rows."""
    return X.tocsr() if hasattr(X, "tocsr") else as_array(method, "X", X)


def as_names(returns: object) -> tuple[str, ...]:
    """The names in whatever was given for some; a thing of another kind becomes a name that nobody knows."""
    given = returns if isinstance(returns, Iterable) and not isinstance(returns, str) else (returns,)
    return tuple(str(name) for name in given)


@lru_cache(maxsize=64)
def asked_of(returns: str | tuple[str, ...]) -> tuple[list[str], set[str]]:
    """What the core is asked for by `backward`, and which views of the gradient are made of its answer."""
    if not isinstance(returns, str | tuple):
        raise TypeError("what may change is not remembered")
    names = (returns,) if isinstance(returns, str) else returns
    wanted = {one_of("[backward] returns", name, (*RETURNS, *MORE_RETURNS)) for name in names}
    shadows = wanted & {"weight_grads", "bias_grads"}
    return sorted(wanted - shadows | ({"grad"} if shadows else set())), shadows


def dropout_rates(dropout: object, hidden: int) -> list[float]:
    """Return one rate per hidden layer, from one for all or a sequence with one for each."""
    rates = list(dropout) if isinstance(dropout, Sequence | np.ndarray) and not isinstance(dropout, str) else None
    if rates is not None and len(rates) != hidden:
        raise ValueError(f"dropout has {len(rates)} entries, expected {hidden}: one per hidden layer, or one for all")
    found = []
    for rate in [dropout] * hidden if rates is None else rates:
        try:
            number = real(rate)
        except (TypeError, ValueError):
            raise TypeError(f"dropout is {dropout!r}, expected a number from 0 to below 1, or one per layer") from None
        if not 0 <= number < 1:
            raise ValueError(f"dropout is {dropout!r}, expected a number from 0 to below 1, or one per layer")
        found.append(number)
    return found

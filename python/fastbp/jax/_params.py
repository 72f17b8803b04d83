"""Parameters as JAX's users keep them, a list of {"w", "b"}, and as the core takes them, one flat vector."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ._architecture import Architecture


def flat(net: Architecture, method: str, argument: str, params: Any) -> Any:
    """(1, P), in the order of fastbp's own `params`."""
    if not isinstance(params, Sequence) or isinstance(params, str):
        raise TypeError(f"[{method}] {argument} is a {type(params).__name__}, expected a list of {{'w', 'b'}}")
    if len(params) != len(net.shapes):
        raise ValueError(f"[{method}] {argument} has {len(params)} layers, expected {len(net.shapes)}")
    pieces = []
    for k, (layer, (rows, cols)) in enumerate(zip(params, net.shapes, strict=True)):
        if not isinstance(layer, Mapping) or set(layer) != {"w", "b"}:
            got = sorted(map(str, layer)) if isinstance(layer, Mapping) else type(layer).__name__
            raise TypeError(f"[{method}] {argument}[{k}] is {got}, expected a dict of 'w' and 'b'")
        for name, shape in (("w", (rows, cols)), ("b", (cols,))):
            pieces.append(_piece(f"[{method}] {argument}[{k}]['{name}']", layer[name], shape))
    return jnp.concatenate(pieces, axis=1)  # along rows (1, size), which XLA copies as blocks; vectors it does not


def _piece(who: str, given: Any, shape: tuple[int, ...]) -> Any:
    array = jnp.asarray(given)
    if array.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{who} has dtype {array.dtype}, expected float32 or float64")
    if array.shape != shape:
        raise ValueError(f"{who} has shape {array.shape}, expected {shape}")
    return array.reshape(1, -1)


def layers(net: Architecture, vector: Any) -> list[dict[str, Any]]:
    """A flat vector (P,) as `flat` found it."""
    found, start = [], 0
    for rows, cols in net.shapes:
        middle, end = start + rows * cols, start + (rows + 1) * cols
        found.append({"w": vector[start:middle].reshape(rows, cols), "b": vector[middle:end]})
        start = end
    return found

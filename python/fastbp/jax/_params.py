"""Parameters as JAX's users keep them, a list of {"w", "b"}, and as the operations take them.

These take the parts w(1), b(1), w(2), .. each by itself, (1, ..), with the axis of problems in front. Directions in
them, and derivatives along one, are flat vectors (1, P).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import jax.numpy as jnp

from ._architecture import Architecture


def parts(net: Architecture, method: str, argument: str, params: Any) -> tuple[Any, ...]:
    """w(1), b(1), .. of what a user gave."""
    if not isinstance(params, Sequence) or isinstance(params, str):
        raise TypeError(f"[{method}] {argument} is a {type(params).__name__}, expected a list of {{'w', 'b'}}")
    if len(params) != len(net.shapes):
        raise ValueError(f"[{method}] {argument} has {len(params)} layers, expected {len(net.shapes)}")
    found = []
    for k, (layer, (rows, cols)) in enumerate(zip(params, net.shapes, strict=True)):
        if not isinstance(layer, Mapping) or set(layer) != {"w", "b"}:
            got = sorted(map(str, layer)) if isinstance(layer, Mapping) else type(layer).__name__
            raise TypeError(f"[{method}] {argument}[{k}] is {got}, expected a dict of 'w' and 'b'")
        for name, shape in (("w", (rows, cols)), ("b", (cols,))):
            found.append(_part(f"[{method}] {argument}[{k}]['{name}']", layer[name], shape))
    dtype = jnp.result_type(*found)
    return tuple(array.astype(dtype) for array in found)


def _part(who: str, given: Any, shape: tuple[int, ...]) -> Any:
    array = jnp.asarray(given)
    if array.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"{who} has dtype {array.dtype}, expected float32 or float64")
    if array.shape != shape:
        raise ValueError(f"{who} has shape {array.shape}, expected {shape}")
    return array[None]


def layers(found: Sequence[Any]) -> list[dict[str, Any]]:
    """What `parts` was given."""
    return [{"w": w[0], "b": b[0]} for w, b in zip(found[::2], found[1::2], strict=True)]


def joined(found: Iterable[Any]) -> Any:
    """(E, P) in the order of fastbp's own `params`, of parts (E, ..) and (1, ..); XLA joins rows as blocks."""
    parts = list(found)
    problems = max(part.shape[0] for part in parts)
    rows = [jnp.broadcast_to(part.reshape(part.shape[0], -1), (problems, prod(part.shape[1:]))) for part in parts]
    return jnp.concatenate(rows, axis=1)


def divided(net: Architecture, vector: Any) -> tuple[Any, ...]:
    """The parts of what `joined` made."""
    ends = accumulate(map(prod, net.part_shapes), initial=0)
    places = zip(pairwise(ends), net.part_shapes, strict=True)
    return tuple(vector[:, begin:end].reshape(-1, *shape) for (begin, end), shape in places)

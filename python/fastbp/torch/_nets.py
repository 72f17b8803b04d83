"""The core's nets behind the modules: operators of torch take simple types alone, so a text says which net is meant."""

import ctypes
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np
import torch

from .. import _core
from .._functions import OUTPUT_ACTIVATIONS

NUMPY_DTYPES: dict[Any, Any] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
NO_LOSS: tuple[int, None] = (0, None)


def describe(sizes: Sequence[int], functions: Sequence[tuple[str, float]]) -> str:
    """The architecture as a text: sizes, and (activation, parameter) of each layer."""
    return json.dumps([sizes, functions])


def sizes_of(architecture: str) -> list[int]:
    sizes: list[int] = json.loads(architecture)[0]
    return sizes


def functions_of(architecture: str) -> list[tuple[str, float]]:
    return [(name, parameter) for name, parameter in json.loads(architecture)[1]]


@lru_cache(maxsize=256)
def core_of(
    architecture: str, dtype: torch.dtype, device: str = "cpu", loss: tuple[int, tuple[float, ...] | None] = NO_LOSS
) -> "_core.Net":
    """The net, whose parameters are a list w(1), b(1), .. with w as (d(l), d(l-1)), torch's way."""
    sizes, functions = json.loads(architecture)
    number, parameters = loss
    return _core.Net(
        sizes, [OUTPUT_ACTIVATIONS[name] for name, _ in functions], [a for _, a in functions],
        number, parameters, [0.0] * len(functions), NUMPY_DTYPES[dtype], 0.0, 0.0, False, device,
        weights_by_outputs=True, openmp=openmp_of_torch(),
    )  # fmt: skip


@lru_cache(maxsize=1)
def openmp_of_torch() -> "_core.OpenMP | None":
    """The runtime of torch's own operations, if it has one: its threads wait spinning for the next of them."""
    try:
        loaded = ctypes.CDLL(torch._C.__file__)  # names are looked up in the libraries that it needs, too
        functions = (loaded.GOMP_parallel, loaded.omp_get_thread_num, loaded.omp_get_num_threads)
    except (OSError, AttributeError):
        return None
    parallel, thread_num, num_threads = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    return _core.OpenMP(parallel, thread_num, num_threads)


@dataclass(frozen=True)
class Layout:
    """Widths, what a forward pass keeps of a row, the parameters' shapes, and where each lies in a flat gradient."""

    inputs: int
    outputs: int
    kept_per_row: int
    shapes: tuple[tuple[int, ...], ...]
    parts: tuple[slice, ...]


@lru_cache(maxsize=256)
def layout_of(architecture: str) -> Layout:
    core, sizes = core_of(architecture, torch.float32), sizes_of(architecture)
    shapes = shapes_of(sizes)
    ends = list(accumulate(map(prod, shapes), initial=0))
    return Layout(sizes[0], sizes[-1], core.kept_size(1), tuple(shapes), tuple(map(slice, ends, ends[1:])))


def shapes_of(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Those of w(1), b(1), .. in torch's layout."""
    return [shape for inputs, outputs in pairwise(sizes) for shape in ((outputs, inputs), (outputs,))]

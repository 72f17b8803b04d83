"""The core's nets behind the modules: operators of torch take simple types alone, so a text says which net is meant."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .. import _core
from .._functions import OUTPUT_ACTIVATIONS

NUMPY_DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
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
    architecture: str, dtype: torch.dtype, loss: tuple[int, tuple[float, ...] | None] = NO_LOSS
) -> "_core.Net":
    """The net, whose parameters are a list w(1), b(1), .. with w as (d(l), d(l-1)), torch's way."""
    sizes, functions = json.loads(architecture)
    number, parameters = loss
    return _core.Net(
        sizes, [OUTPUT_ACTIVATIONS[name] for name, _ in functions], [a for _, a in functions],
        number, parameters, [0.0] * len(functions), NUMPY_DTYPES[dtype], 0.0, 0.0, False, "cpu",
        weights_by_outputs=True,
    )  # fmt: skip


@lru_cache(maxsize=256)
def widths(architecture: str) -> tuple[int, int, int, int]:
    """d(0), d(L), the number of parameters, and how many numbers `forward_kept` keeps of a row."""
    core, sizes = core_of(architecture, torch.float32), sizes_of(architecture)
    no_parameters: Any = np.zeros(core.parameter_count, np.float32)
    kept = core.forward_kept(no_parameters, np.zeros((1, sizes[0]), np.float32))[1]
    return sizes[0], sizes[-1], core.parameter_count, kept.size

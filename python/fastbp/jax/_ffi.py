"""By XLA: the handlers of libfastbp_jax.so, as cpp/bindings/jax describes them."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._paths import get_library_dir
from ._architecture import Architecture

NAMES = ("forward", "pull_back", "push_forward")


@cache
def available() -> bool:
    """Registers the handlers with XLA, where they were compiled."""
    path = Path(get_library_dir()) / "libfastbp_jax.so"
    if not path.exists():
        return False
    library = ctypes.CDLL(str(path))
    for name in NAMES:
        handler = getattr(library, f"fastbp_jax_{name}")
        jax.ffi.register_ffi_target(f"fastbp_{name}", jax.ffi.pycapsule(handler), platform="cpu")
    return True


def call(net: Architecture, name: str, operands: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """The operation on arrays (None: not given), for results of these shapes (None: not wanted, and so given back)."""
    dtype = operands[0].dtype
    shapes = [jax.ShapeDtypeStruct((1, 0), dtype) if shape is None else shape for shape in results]
    arrays = [jnp.zeros((1, 0), dtype) if array is None else array for array in operands]
    found = jax.ffi.ffi_call(f"fastbp_{name}", shapes)(
        *arrays,
        widths=np.array(net.widths, np.int64),
        activations=np.array(net.activation_numbers, np.int32),
        parameters=np.array(net.activation_parameters, np.float64),
        problems=np.int64(next(shape.shape[0] for shape in results if shape is not None)),
    )
    return [None if shape is None else array for shape, array in zip(results, found, strict=True)]

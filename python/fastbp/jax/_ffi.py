"""By XLA: the handlers of libfastbp_jax.so, as cpp/bindings/jax describes them."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from weakref import finalize

import jax
import jax.numpy as jnp
import numpy as np

from .._paths import get_library_dir
from ._architecture import Architecture, cached_with_net

NAMES = ("forward", "pull_back", "push_forward")


@cache
def _library() -> ctypes.CDLL | None:
    path = Path(get_library_dir()) / "libfastbp_jax.so"
    return ctypes.CDLL(str(path)) if path.exists() else None


@cache
def available() -> bool:
    """Registers the handlers with XLA, where they were compiled."""
    library = _library()
    if library is None:
        return False
    for name in NAMES:
        handler = getattr(library, f"fastbp_jax_{name}")
        jax.ffi.register_ffi_target(f"fastbp_{name}", jax.ffi.pycapsule(handler), platform="cpu")
    return True


def call(net: Architecture, name: str, operands: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """The operation on arrays (None: not given), for results of these shapes (None: not wanted, and so given back)."""
    attributes = _attributes(net)
    dtype = operands[0].dtype
    shapes = [jax.ShapeDtypeStruct((1, 0), dtype) if shape is None else shape for shape in results]
    arrays = [jnp.zeros((1, 0), dtype) if array is None else array for array in operands]
    found = jax.ffi.ffi_call(f"fastbp_{name}", shapes)(
        *arrays,
        **attributes,
        problems=np.int64(next(shape.shape[0] for shape in results if shape is not None)),
    )
    return [None if shape is None else array for shape, array in zip(results, found, strict=True)]


@cached_with_net
def _attributes(net: Architecture) -> dict[str, Any]:
    """Return what the handlers make the net from; they free it together with `net`."""
    attributes = {
        "widths": np.array(net.widths, np.int64),
        "activations": np.array(net.activation_numbers, np.int32),
        "parameters": np.array(net.activation_parameters, np.float64),
    }
    finalize(net, _release, *attributes.values()).atexit = False
    return attributes


def _release(widths: Any, activations: Any, parameters: Any) -> None:
    library = _library()
    if library is not None:
        places = (ctypes.c_void_p(array.ctypes.data) for array in (widths, activations, parameters))
        library.fastbp_jax_release(*places, ctypes.c_int64(len(activations)))

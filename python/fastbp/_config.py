"""What fastbp runs on, and the BLAS that only Python can find."""

import ctypes
import os
import platform
from typing import Any

import numpy as np

from . import _core


def offer_scipy_blas() -> None:
    """Hand SciPy's sgemm and dgemm to the core where FASTBP_BLAS asks for them."""
    if os.environ.get("FASTBP_BLAS") != "scipy":
        return
    try:
        from scipy.linalg import cython_blas
    except ImportError:
        return  # the core says what is missing when a net is made
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsules = [cython_blas.__pyx_capi__[name] for name in ("sgemm", "dgemm")]
    sgemm, dgemm = (pointer_of(capsule, name_of(capsule)) for capsule in capsules)
    _core.offer_blas("scipy", sgemm, dgemm)


def config() -> dict[str, Any]:
    """What `show_config` shows."""
    facts, missing = _core.config(), _core.why_not("cuda")
    return {
        "fastbp": _core.__version__,
        "build": _core.build_id,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "isa": facts["isa"],
        "blas": facts["blas"],
        "blas_library": facts["blas_library"],
        "blas_core": facts["blas_core"],
        "threads": _core.get_num_threads(),
        "devices": ["cpu"] + ([] if missing else ["cuda"]),
        "cuda": missing or "available",
    }


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show what fastbp runs on: version, instruction set, BLAS.

    Parameters
    ----------
    mode : "stdout" or "dicts"
        Print, or return a dict.

    Raises
    ------
    RuntimeError, ValueError
        If what FASTBP_BLAS or FASTBP_ISA ask for cannot be had; the text says what was tried.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.show_config("dicts")["devices"]
    ['cpu']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode is {mode!r}, expected 'stdout' or 'dicts'")
    facts = config()
    if mode == "dicts":
        return facts
    width = max(map(len, facts))
    for name, fact in facts.items():
        print(f"{name:{width}}  {', '.join(fact) if isinstance(fact, list) else fact}")
    return None

"""The two ways from a JAX program to the core: handlers that XLA calls, and a callback into Python."""

from collections.abc import Callable, Sequence
from typing import Any

from .._functions import one_of
from . import _callback, _ffi
from ._architecture import Architecture

Call = Callable[[Architecture, str, Sequence[Any], Sequence[Any]], list[Any]]
CALLS: dict[str, Call] = {"ffi": _ffi.call, "callback": _callback.call}


def backend() -> str:
    """How `mlp` reaches fastbp's core where its argument ``backend`` is "auto".

    Returns
    -------
    str
        "ffi": XLA calls the core itself, through handlers that ``FASTBP_JAX=1 pip install .`` compiles;
        "callback": through Python and ``jax.pure_callback``, where they were not compiled.

    Examples
    --------
    >>> import fastbp.jax
    >>> fastbp.jax.backend() in ("ffi", "callback")
    True
    """
    return "ffi" if _ffi.available() else "callback"


def way_of(name: object) -> str:
    chosen = one_of("backend", name, ("auto", *CALLS))
    if chosen == "ffi" and not _ffi.available():
        raise RuntimeError("backend is 'ffi', but the handlers were not compiled: FASTBP_JAX=1 pip install . does")
    return backend() if chosen == "auto" else chosen

"""Nets on NVIDIA's GPUs: whether there are any, and the stream that calls follow.

A net with ``device="cuda"`` keeps its parameters on the GPU and gives its results there, as `DeviceArray`.

Examples
--------
>>> import fastbp as fb
>>> device = "cuda" if fb.cuda.is_available() else "cpu"
>>> fb.MLP((2, 1), device=device).device == device
True
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import _core

__all__ = ["is_available", "stream", "why_not"]


def is_available(device: str = "cuda") -> bool:
    """Whether nets can be made on the device.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.cuda.is_available() == (fb.cuda.why_not() == "")
    True
    """
    return not why_not(device)


def why_not(device: str = "cuda") -> str:
    """What is missing for nets on the device, and what brings it; "" where nothing is.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.cuda.why_not("cuda:99") != ""
    True
    """
    return _core.why_not(device)


@contextmanager
def stream(of: Any) -> Iterator[None]:
    """Calls of this thread follow what is enqueued on a stream, and others on that stream follow them.

    Parameters
    ----------
    of : int or object
        The address of a cudaStream_t, 0 for the default stream, or an object that has one: torch's ``cuda_stream``,
        CuPy's ``ptr``, or ``__cuda_stream__``.

    Examples
    --------
    >>> import fastbp as fb
    >>> with fb.cuda.stream(0):
    ...     pass
    """
    before = _core.get_stream()
    _core.set_stream(_address(of))
    try:
        yield
    finally:
        _core.set_stream(before)


def _address(of: Any) -> int:
    for name in ("cuda_stream", "ptr"):
        if hasattr(of, name):
            return int(getattr(of, name))
    if hasattr(of, "__cuda_stream__"):
        return int(of.__cuda_stream__()[1])
    if not isinstance(of, int) or isinstance(of, bool) or of < 0:
        raise TypeError(f"[stream] of is {of!r}, expected the address of a stream or an object that has one")
    return of

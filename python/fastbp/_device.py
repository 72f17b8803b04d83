"""Arrays on a device, as the package needs them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._core import DeviceArray
from .reference import views as numpy_views

_KINDS_THERE = "biuf"  # of dtypes that lie on a device as they are
_LINE = 64  # bytes that a cache holds together


def is_distant(device: str) -> bool:
    """Whether the memory of the device is not the process's."""
    return device.partition(":")[0] == "cuda"


def lies_there(device: str, method: str, argument: str, array: Any) -> bool:
    """Whether the array lies on a GPU, where the device is one; which GPU is the core's to look at."""
    return is_distant(device) and _core.gpu_of(method, argument, array) is not None


def full_name(device: str) -> str:
    """With the number of the GPU."""
    return "cuda:0" if device == "cuda" else device


def device_of(array: Any) -> str:
    """Of a NumPy array or a DeviceArray."""
    return array.device if isinstance(array, DeviceArray) else "cpu"


def host(array: Any) -> Any:
    """A NumPy copy of an array on a device; everything else as it is."""
    return array.numpy() if isinstance(array, DeviceArray) else array


def read_back(device: str, method: str, argument: str, array: Any) -> Any:
    """A NumPy copy of what lies on the device, of whatever library; everything else as it is."""
    there = _core.read_back(method, argument, array, device) if is_distant(device) else None
    return array if there is None else there


def at(device: str, array: Any) -> Any:
    """A NumPy array where nets of the device have theirs: itself, or a copy there."""
    return to_device(array, device) if is_distant(device) else array


def filled(device: str, shape: tuple[int, ...], value: float, dtype: np.dtype[Any]) -> Any:
    """A new array where nets of the device have theirs, from the beginning of a cache line, as registers load it."""
    count = math.prod(shape)
    memory = np.empty(count + _LINE // dtype.itemsize, dtype)
    start = -memory.ctypes.data % _LINE // dtype.itemsize
    array = memory[start : start + count].reshape(shape)
    array[...] = value
    return at(device, array)


def numbers(device: str, method: str, argument: str, value: ArrayLike, dtype: np.dtype[Any]) -> Any:
    """What was given for an array of the device's: a DeviceArray of the dtype where it lies there, else NumPy's."""
    there = _core.lent(method, argument, value, device, dtype) if is_distant(device) else None
    return _core.as_array(method, argument, host(value)) if there is None else there


def laid_out(device: str, array: Any, dtype: np.dtype[Any]) -> Any:
    """The same where arrays of the device lie, row-major and of the dtype."""
    return array if isinstance(array, DeviceArray) else at(device, np.ascontiguousarray(array, dtype=dtype))


def to_device(array: ArrayLike, device: str = "cuda") -> DeviceArray:
    """Copy an array to a device.

    Parameters
    ----------
    array : array_like
        Real numbers, integers or bools, of any dtype that the device has: not long double.
    device : str
        "cuda", which is "cuda:0", or another number.

    Returns
    -------
    DeviceArray

    Raises
    ------
    RuntimeError
        If there is no such device; the text says what is missing and what brings it.
    TypeError
        If the array holds other numbers.

    Examples
    --------
    >>> import fastbp as fb
    >>> if fb.cuda.is_available():
    ...     net = fb.MLP((784, 10), loss="cross_entropy", device="cuda")
    ...     x = net.forward(fb.to_device([[0.0] * 784])).numpy()
    """
    given = np.asarray(_core.as_array("to_device", "array", host(array)))
    if given.dtype.kind not in _KINDS_THERE or given.dtype.itemsize > 8:
        raise TypeError(f"[to_device] array holds {given.dtype}, expected real numbers, integers or bools")
    made = _core.empty_on(device, given.dtype.newbyteorder("="), list(given.shape))
    made[...] = given
    return made


def views(flat: Any, sizes: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """The views of flat parameters, or a gradient, by layer: weights and biases."""
    if not isinstance(flat, DeviceArray):
        return numpy_views(flat, sizes)
    weights, biases, at = [], [], 0
    for rows, cols in pairwise(sizes):
        weights.append(flat.part(at, [rows, cols]))
        biases.append(flat.part(at + rows * cols, [cols]))
        at += (rows + 1) * cols
    return weights, biases

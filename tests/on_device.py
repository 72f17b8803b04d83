"""The CPU's own tests on a device: nets are made there unless a test says where, and device arrays mix with NumPy's.

Loaded by conftest where FASTBP_TEST_DEVICE names a device. A user's DeviceArray is not copied unasked; here it is, so
that a test compares its results as it stands.
"""

import math
import operator

import numpy as np

import fastbp as fb

BINARY = ("add", "sub", "mul", "truediv", "matmul", "pow", "eq", "ne", "lt", "le", "gt", "ge")
IN_PLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}
NUMPY_METHODS = ("all", "any", "argmax", "astype", "max", "mean", "min", "std", "sum", "tolist", "tobytes", "view")


def host(array):
    return array.numpy() if isinstance(array, fb.DeviceArray) else array


def make_nets_there(device):
    """`device` is where nets are made from now on."""
    made = fb.MLP.__init__

    def init(self, *args, **kwargs):
        made(self, *args, **{"device": device, **kwargs})

    fb.MLP.__init__ = init


def reshape(array, *shape):
    """The same memory, as a view of NumPy's would have it."""
    (shape,) = shape if isinstance(shape[0], tuple) else (shape,)
    rest = array.size // -math.prod(shape) if -1 in shape else 0
    return array.part(0, [rest if n == -1 else n for n in shape])


def mix_with_numpy():
    """Device arrays become NumPy arrays wherever those are expected."""
    array = fb.DeviceArray
    there = array.__getitem__
    array.__array__ = lambda self, dtype=None, copy=None: np.asarray(self.numpy(), dtype=dtype)
    array.__array_priority__ = 100
    array.__iter__ = lambda self: iter(self.numpy())
    array.__bool__ = lambda self: bool(self.numpy())
    array.__float__ = lambda self: float(self.numpy())
    array.__neg__ = lambda self: -self.numpy()
    array.__abs__ = lambda self: abs(self.numpy())
    array.__hash__ = object.__hash__
    array.reshape = reshape
    array.ravel = lambda self: reshape(self, -1)
    array.real = property(host)
    array.itemsize = property(lambda self: self.dtype.itemsize)
    array.T = property(lambda self: self.numpy().T)
    array.flags = property(lambda self: self.numpy().flags)
    array.strides = property(lambda self: self.numpy().strides)

    def whole(key):
        return key is Ellipsis or (isinstance(key, slice) and key.step in (None, 1))

    def item(self, key):
        return there(self, key) if whole(key) else self.numpy()[key]

    def set_item(self, key, value):
        if whole(key):
            return fill(self, key, value)
        numbers = self.numpy()
        numbers[host(key)] = host(value)
        fill(self, Ellipsis, numbers)

    fill = array.__setitem__
    array.__getitem__, array.__setitem__ = item, set_item
    for name in BINARY:
        function = getattr(operator, name)
        setattr(array, f"__{name}__", lambda a, b, f=function: f(a.numpy(), host(b)))
        setattr(array, f"__r{name}__", lambda a, b, f=function: f(host(b), a.numpy()))
    for name, by in IN_PLACE.items():
        function = getattr(operator, by)

        def in_place(a, b, f=function):
            fill(a, Ellipsis, f(a.numpy(), host(b)))
            return a

        setattr(array, f"__{name}__", in_place)
    for name in NUMPY_METHODS:
        setattr(array, name, lambda self, *args, name=name, **kwargs: getattr(self.numpy(), name)(*args, **kwargs))

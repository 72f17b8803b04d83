"""The CPU's own tests on a device: nets are made there unless a test says where, and device arrays mix with NumPy's.

Loaded by conftest where FASTBP_TEST_DEVICE names a device. Users copy a DeviceArray with ``numpy()``; here the code of
the tests need not, so that a test compares its results as it stands. The package sees device arrays as users have
them: an attribute added here is missing if the nearest caller outside other libraries is a file of the package.
"""

import functools
import math
import operator
import sys
from pathlib import Path

import numpy as np

import fastbp as fb

BINARY = ("add", "sub", "mul", "truediv", "matmul", "pow", "eq", "ne", "lt", "le", "gt", "ge")
IN_PLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}
NUMPY_METHODS = ("all", "any", "argmax", "astype", "max", "mean", "min", "std", "sum", "tolist", "tobytes", "view")
PACKAGE, TESTS = str(Path(fb.__file__).parent), str(Path(__file__).parent)
REFERENCE = fb.reference.__file__  # computes with the arrays of its caller

# The files of tests that run on the device. Three groups of their functions are left out:
OWN_TESTS = (
    "test_device", "test_device_arrays", "test_mlp", "test_networks", "test_layouts", "test_sparse", "test_tangents",
    "test_examples", "test_dropout", "test_steps", "test_optimizers", "test_training", "test_fit", "test_chunks",
    "test_checkpoint", "test_models", "test_diagnosis", "test_lecture", "test_masks", "test_refused_gradients",
)  # fmt: skip
# tests of the kind of a result's memory, or with NumPy arrays as outputs,
ABOUT_HOST_MEMORY = (
    "test_copies_are_independent", "test_types_of_results", "test_accumulate_over_chunks", "test_recipes_of_nets",
    "test_values_of_mini_batches_with_penalties_by_their_weights", "test_only_x_may_be_sparse",
    "test_sums_penalties_and_out", "test_bad_input", "test_example_grads_are_those_of_each_row_alone", "test_no_rows",
)  # fmt: skip
# tests of teams of threads, or of results that the CPU computes on every device,
ABOUT_THE_CPU = (
    "test_teams_of_threads", "test_chunks_functions_and_objectives", "test_figures",
    "test_the_reference_agrees_with_differences",
)  # fmt: skip
# and tests with thousands of calls, for differences or copies of x(L) to the host; test_device has a short one.
MANY_CALLS = ("test_check_gradient_passes", "test_loss_functions")
LEFT_OUT = {*ABOUT_HOST_MEMORY, *ABOUT_THE_CPU, *MANY_CALLS}


def is_left_out(item):
    return getattr(item, "originalname", item.name) in LEFT_OUT


def host(array):
    return array.numpy() if isinstance(array, fb.DeviceArray) else array


def make_nets_there(device):
    """`device` is where nets are made from now on."""
    made = fb.MLP.__init__

    def init(self, *args, **kwargs):
        made(self, *args, **{"device": device, **kwargs})

    fb.MLP.__init__ = init


def called_by_the_package():
    """Return whether the nearest caller outside other libraries is the package, not a test."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE) and file != REFERENCE:
            return True
        if file.startswith(TESTS) and file != __file__:
            return False
        frame = frame.f_back
    return False


class ForTests:
    """An attribute of device arrays that the package does not see."""

    def __init__(self, name, get):
        self.name, self.get = name, get

    def __get__(self, array, kind=None):
        if array is None or called_by_the_package():
            raise AttributeError(f"'DeviceArray' object has no attribute {self.name!r}")
        return self.get(array)


def add(name, get):
    """An attribute: get(array)."""
    setattr(fb.DeviceArray, name, ForTests(name, get))


def add_special(name, method, without):
    """Add a method that Python's syntax or NumPy calls. The package gets `without`, as users do."""

    def special(self, *args, **kwargs):
        return (without if called_by_the_package() else method)(self, *args, **kwargs)

    setattr(fb.DeviceArray, name, special)


def refuse(self, *args):
    raise TypeError(f"a DeviceArray has no such operation, with {args}")


def not_implemented(self, *args):
    return NotImplemented


def reshape(array, *shape):
    """The same memory, as a view of NumPy's would have it."""
    (shape,) = shape if isinstance(shape[0], tuple) else (shape,)
    rest = array.size // -math.prod(shape) if -1 in shape else 0
    return array.part(0, [rest if n == -1 else n for n in shape])


def mix_with_numpy():
    """Let tests use device arrays as NumPy arrays."""
    array = fb.DeviceArray
    get, fill = array.__getitem__, array.__setitem__
    array.__array_priority__ = 100
    array.__hash__ = object.__hash__

    def whole(key):
        return key is Ellipsis or (isinstance(key, slice) and key.step in (None, 1))

    def item(self, key):
        return get(self, key) if whole(key) else self.numpy()[key]

    def set_item(self, key, value):
        if whole(key):
            return fill(self, key, value)
        numbers = self.numpy()
        numbers[host(key)] = host(value)
        fill(self, Ellipsis, numbers)

    add_special("__getitem__", item, get)
    add_special("__setitem__", set_item, fill)
    to_numpy = lambda self, dtype=None, copy=None: np.asarray(self.numpy(), dtype=dtype)  # noqa: E731
    add_special("__array__", to_numpy, array.__array__)
    add_special("__iter__", lambda self: iter(self.numpy()), lambda self: (get(self, k) for k in range(len(self))))
    add_special("__bool__", lambda self: bool(self.numpy()), lambda self: len(self) > 0)
    add_special("__float__", lambda self: float(self.numpy()), refuse)
    add_special("__neg__", lambda self: -self.numpy(), refuse)
    add_special("__abs__", lambda self: abs(self.numpy()), refuse)
    for name in BINARY:
        function = getattr(operator, name)
        add_special(f"__{name}__", lambda a, b, f=function: f(a.numpy(), host(b)), not_implemented)
        add_special(f"__r{name}__", lambda a, b, f=function: f(host(b), a.numpy()), not_implemented)
    for name, by in IN_PLACE.items():
        function = getattr(operator, by)

        def in_place(a, b, f=function):
            fill(a, Ellipsis, f(a.numpy(), host(b)))
            return a

        add_special(f"__{name}__", in_place, not_implemented)
    add("reshape", lambda self: functools.partial(reshape, self))
    add("ravel", lambda self: functools.partial(reshape, self, -1))
    add("real", host)
    add("itemsize", lambda self: self.dtype.itemsize)
    for name in ("T", "flags", "strides"):
        add(name, lambda self, name=name: getattr(self.numpy(), name))
    for name in NUMPY_METHODS:
        add(name, lambda self, name=name: getattr(self.numpy(), name))

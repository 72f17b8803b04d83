"""fastbp: the backpropagation core as a library.

Fast, exact gradients of fully connected networks, in the notation of a lecture on neural networks. Start with
`MLP`; `reference` is the same algorithm in NumPy, `testing` checks gradients.

Examples
--------
>>> import numpy as np, fastbp as fb
>>> net = fb.MLP((2, 8, 1), loss="squared_error", activation="tanh", seed=0)
>>> X, y = np.eye(2), np.array([0.0, 1.0])
>>> value, grad = net.value_and_grad(X, y)
>>> grad.shape == net.params.shape
True
>>> net.fit(X, y, optimizer=fb.Adam(0.05), epochs=50, seed=0).loss[-1] < value / 100
True
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import_module("._core", __name__)
except ImportError as error:
    from pathlib import Path

    from ._import_errors import explained

    raise explained(error, Path(__file__).parent) from error

from . import cuda, reference, schedules
from ._config import offer_scipy_blas, show_config
from ._core import DeviceArray, __version__
from ._device import to_device
from ._early_stopping import EarlyStopping
from ._functions import Huber, Pinball
from ._history import History
from ._mlp import MLP
from ._optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop, TrainState
from ._threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from . import optimize, testing
    from ._checkpoint import Checkpoint
    from ._diagnosis import diagnose
    from ._models import load, save
    from ._paths import get_cmake_dir, get_include
else:
    # What many programs never use is imported when it is first asked for: together as long as all the rest.
    _HOMES = {
        "Checkpoint": "_checkpoint",
        "diagnose": "_diagnosis",
        "get_cmake_dir": "_paths",
        "get_include": "_paths",
        "load": "_models",
        "optimize": "optimize",
        "save": "_models",
        "testing": "testing",
    }

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(f".{_HOMES[name]}", __name__)
        globals()[name] = found = home if _HOMES[name] == name else getattr(home, name)
        return found

    def __dir__():
        return sorted({*globals(), *_HOMES})


offer_scipy_blas()

__all__ = [
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "DeviceArray",
    "EarlyStopping",
    "History",
    "Huber",
    "Pinball",
    "RMSprop",
    "Rprop",
    "TrainState",
    "__version__",
    "cuda",
    "diagnose",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "load",
    "optimize",
    "reference",
    "save",
    "schedules",
    "set_num_threads",
    "show_config",
    "testing",
    "to_device",
]

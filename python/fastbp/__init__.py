"""fastbp: the backpropagation core as a library.

Fast, exact gradients of fully connected networks, in the notation of a lecture on neural networks. Start with
`MLP`; `reference` is the same algorithm in NumPy, `testing` checks gradients.
"""

from . import cuda, optimize, reference, schedules, testing
from ._checkpoint import Checkpoint
from ._config import offer_scipy_blas, show_config
from ._core import DeviceArray, __version__
from ._device import to_device
from ._diagnosis import diagnose
from ._early_stopping import EarlyStopping
from ._functions import Huber, Pinball
from ._history import History
from ._mlp import MLP
from ._models import load, save
from ._optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop, TrainState
from ._paths import get_cmake_dir, get_include
from ._threads import get_num_threads, set_num_threads

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

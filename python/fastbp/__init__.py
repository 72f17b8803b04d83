"""fastbp: the backpropagation core as a library.

Fast, exact gradients of fully connected networks, in the notation of a lecture on neural networks. Start with
`MLP`; `reference` is the same algorithm in NumPy, `testing` checks gradients.
"""

from . import reference, testing
from ._config import offer_scipy_blas, show_config
from ._core import __version__
from ._functions import Huber, Pinball
from ._history import History
from ._mlp import MLP
from ._optimizers import SGD, Adam, TrainState
from ._paths import get_cmake_dir, get_include

offer_scipy_blas()

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "History",
    "Huber",
    "Pinball",
    "TrainState",
    "__version__",
    "get_cmake_dir",
    "get_include",
    "reference",
    "show_config",
    "testing",
]

"""Optimisers: frozen recipes with torch.optim's names and formulas, and the caller's state of a training."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._core import DeviceArray
from ._device import at, filled, full_name, host, is_distant, laid_out, numbers
from ._functions import REAL_KINDS
from ._numbers import count


def _at_least_zero(**numbers: float) -> None:
    for name, value in numbers.items():
        if not _is_number(value):
            raise TypeError(f"{name} is {value!r}, expected a finite number >= 0")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}, expected a finite number >= 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _pair(recipe: object, name: str, fits: Callable[[Any, Any], bool], expected: str) -> None:
    values = getattr(recipe, name)
    if not isinstance(values, (tuple, list)) or not all(map(_is_number, values)):
        raise TypeError(f"{name} is {values!r}, expected two numbers {expected}")
    if len(values) != 2 or not fits(*values):
        raise ValueError(f"{name} is {values!r}, expected two numbers {expected}")
    object.__setattr__(recipe, name, tuple(values))  # a copy: the caller may change a list


@dataclass(frozen=True)
class _Optimizer:
    """What all recipes share: making a state."""

    lr: float = 1e-3
    _kind: ClassVar[int]

    def _rule(self) -> "_core.StepRule":
        """What the core needs of the recipe: lr comes with each step, the initial value with the moments."""
        numbers = {key: v for key, v in vars(self).items() if key not in ("lr", "initial_accumulator_value")}
        return _core.StepRule(kind=self._kind, **numbers)

    def _initial_moments(self) -> tuple[float, ...]:
        """What each moment is filled with before the first step."""
        return (0.0,) * self._rule().moment_count

    def init(self, params: NDArray[Any], *, seed: int | None = None) -> "TrainState":
        """A state for training `params`: moments as they are before the first step, step and epoch 0.

        Parameters
        ----------
        params : ndarray of float32 or float64, or another exporter of DLPack
            What will be trained; only its shape and dtype are used.
        seed : int, optional
            Of the random row orders. None draws a fresh one.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> p = np.ones(2)
        >>> state = fb.SGD(lr=0.5).init(p)
        >>> state.update(p, [1.0, 2.0])
        >>> p
        array([0.5, 0. ])
        """
        return TrainState(self, params, seed)


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent with the formulas of torch.optim.SGD.

    Parameters
    ----------
    lr : float
        Learning rate.
    momentum, dampening : float
        The direction is momentum times the last direction plus (1 - dampening) times the gradient.
    weight_decay : float
        Added to the gradient, times the parameters, biases included.
    nesterov : bool
        Nesterov's momentum; needs momentum > 0 and dampening = 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.SGD(lr=0.1, momentum=0.9).lr
    0.1
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    _kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, dampening=self.dampening)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum > 0 and a dampening of 0")


@dataclass(frozen=True)
class Adam(_Optimizer):
    """Adam with the formulas of torch.optim.Adam.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : (float, float)
        Decay of the running means of the gradient and of its square; each from 0 to below 1.
    eps : float
        Added to the denominator.
    weight_decay : float
        Added to the gradient, times the parameters, biases included.

    References
    ----------
    D. P. Kingma and J. Ba, Adam: a method for stochastic optimization, ICLR 2015.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.Adam().betas
    (0.9, 0.999)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    _kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr, eps=self.eps, weight_decay=self.weight_decay)
        _pair(self, "betas", lambda a, b: 0 <= a < 1 and 0 <= b < 1, "from 0 to below 1")


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, with the formulas of torch.optim.AdamW.

    Parameters
    ----------
    lr, betas, eps
        As in `Adam`.
    weight_decay : float
        Before each step the parameters, biases included, are multiplied by 1 - lr times this.

    References
    ----------
    I. Loshchilov and F. Hutter, Decoupled weight decay regularization, ICLR 2019.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.AdamW(lr=2e-3).weight_decay
    0.01
    """

    weight_decay: float = 1e-2
    _kind: ClassVar[int] = 4


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """RMSprop with the formulas of torch.optim.RMSprop.

    Parameters
    ----------
    lr, eps, weight_decay : float
        As in `Adam`.
    alpha : float
        Decay of the running mean of the squared gradient; from 0 to below 1.
    momentum : float
        The direction is momentum times the last direction plus the scaled gradient.
    centered : bool
        Scale by the running variance of the gradient instead of its mean square. The variance is a difference; it is
        0 if rounding makes it negative.

    References
    ----------
    G. Hinton, Neural networks for machine learning, lecture 6e, 2012.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> p = np.ones(2)
    >>> fb.RMSprop(lr=0.1, alpha=0.75, eps=0.0).init(p).update(p, [3.0, -0.5])
    >>> p
    array([0.8, 1.2])
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    _kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _at_least_zero(**{name: v for name, v in vars(self).items() if name != "centered"})
        if not self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha!r}, expected a number from 0 to below 1")


@dataclass(frozen=True)
class Adagrad(_Optimizer):
    """Adagrad with the formulas of torch.optim.Adagrad.

    Parameters
    ----------
    lr, eps, weight_decay : float
        As in `Adam`.
    lr_decay : float
        In step t, counted from 1, the learning rate is divided by 1 + (t - 1) lr_decay.
    initial_accumulator_value : float
        Where the sums of squared gradients start.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, Adaptive subgradient methods for online learning and stochastic optimization,
    Journal of Machine Learning Research 12, 2011.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> p = np.ones(2)
    >>> fb.Adagrad(lr=0.5, initial_accumulator_value=16.0).init(p).update(p, [3.0, 0.0])
    >>> p
    array([0.7, 1. ])
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    _kind: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr, lr_decay=self.lr_decay, weight_decay=self.weight_decay, eps=self.eps)
        _at_least_zero(initial_accumulator_value=self.initial_accumulator_value)

    def _initial_moments(self) -> tuple[float, ...]:
        return (self.initial_accumulator_value,)


@dataclass(frozen=True)
class Rprop(_Optimizer):
    """Resilient backpropagation with the formulas of torch.optim.Rprop; for steps over all rows at once.

    Parameters
    ----------
    lr : float
        Where the step sizes, one per parameter, start. As in torch.optim, later learning rates change nothing.
    etas : (float, float)
        Factors of a step size after a change of the gradient's sign, above 0 and below 1, and otherwise, above 1.
    step_sizes : (float, float)
        The least and the largest step size.

    References
    ----------
    M. Riedmiller and H. Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm,
    IEEE International Conference on Neural Networks, 1993.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> p = np.ones(2)
    >>> fb.Rprop(lr=0.5).init(p).update(p, [3.0, -0.1])
    >>> p
    array([0.5, 1.5])
    """

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    _kind: ClassVar[int] = 5

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr)
        _pair(self, "etas", lambda minus, plus: 0 < minus < 1 < plus < math.inf, "with 0 < etas[0] < 1 < etas[1]")
        _pair(self, "step_sizes", lambda least, most: 0 <= least <= most, "with 0 <= least <= largest")

    def _initial_moments(self) -> tuple[float, ...]:
        return (0.0, self.lr)


class TrainState:
    """Everything that training keeps between steps, but for the parameters: moments, counters, the random stream.

    Made by an optimiser's ``init``; owned by the caller, picklable, and enough to go on exactly where training
    stopped.

    Attributes
    ----------
    optimizer : SGD, Adam or another recipe
    moments : list of ndarray
        As the optimiser keeps them, of the shape of the parameters.
    step, epoch : int
        How many are done.
    seed : int
        Of the row orders: that of epoch k is drawn from (seed, k) alone.
    """

    def __init__(self, optimizer: _Optimizer, params: NDArray[Any], seed: int | None = None) -> None:
        gpu = _core.gpu_of("init", "params", params)
        self.device = "cpu" if gpu is None else f"cuda:{gpu}"
        given: Any = params
        if gpu is not None:
            given = _core.lent("init", "params", params, self.device, None)
        elif hasattr(params, "__dlpack__"):
            given = _core.as_array("init", "params", params)
        if not isinstance(given, (np.ndarray, DeviceArray)) or given.dtype not in (np.float32, np.float64):
            kind = getattr(given, "dtype", type(given).__name__)
            raise TypeError(f"[init] params is {kind}, expected an array of float32 or float64")
        self.optimizer = optimizer
        self.shape, self.dtype = given.shape, given.dtype
        starts = optimizer._initial_moments()
        self.moments: list[Any] = [filled(self.device, given.shape, start, given.dtype) for start in starts]
        self.step = 0
        self.epoch = 0
        self.seed = fresh_seed() if seed is None else count("init", "seed", seed, 0)

    def update(self, params: NDArray[Any], grad: ArrayLike) -> None:
        """One step of the optimiser, in place.

        Parameters
        ----------
        params : ndarray, or another exporter of DLPack
            As given to ``init``: the same shape and dtype, row-major, writable.
        grad : array_like
            The gradient, of the same shape; not changed.

        Raises
        ------
        ValueError
            If shapes or dtypes do not fit; nothing has been changed then.
        FloatingPointError
            If a number of `grad` is not finite, or its square overflows in a moment; nothing has been changed then.
        """
        rule = self.check("update")
        gradient = numbers(self.device, "update", "grad", grad, self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(f"[update] grad has shape {gradient.shape}, expected {self.shape}")
        if gradient.dtype.kind not in REAL_KINDS:
            raise TypeError(f"[update] grad holds {gradient.dtype}, expected real numbers")
        gradient = laid_out(self.device, gradient, self.dtype)
        _core.update(
            rule, self.device, self.dtype, list(self.shape), params, gradient, self.moments, self.optimizer.lr,
            self.step + 1,
        )  # fmt: skip
        self.step += 1

    def to(self, device: str) -> "TrainState":
        """The same state with its moments on the device: for a net that went there."""
        moved = copy.copy(self)
        moved.device, moved.moments = full_name(device), [at(device, host(m).copy()) for m in self.moments]
        return moved

    def check(self, method: str) -> "_core.StepRule":
        """The core's rule, if the moments are as `init` made them; attributes may have been written since."""
        rule = self.optimizer._rule()
        needed = rule.moment_count
        if len(self.moments) != needed:
            raise ValueError(
                f"[{method}] state.moments has {len(self.moments)} arrays, {self.optimizer!r} expects {needed}"
            )
        for k, moment in enumerate(self.moments):
            fits = isinstance(moment, DeviceArray if is_distant(self.device) else np.ndarray)
            fits = fits and (moment.shape, moment.dtype) == (self.shape, self.dtype)
            if not (fits and (is_distant(self.device) or moment.flags.carray)):
                raise ValueError(
                    f"[{method}] state.moments[{k}] is not a writable, row-major array of {self.dtype}{self.shape}"
                )
        return rule

    def order(self, rows: int) -> NDArray[np.int64]:
        """The random row order of the coming epoch: a permutation drawn from (seed, epoch)."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(rows)

    def __repr__(self) -> str:
        return f"TrainState({self.optimizer!r}, step={self.step}, epoch={self.epoch}, seed={self.seed})"


def fresh_seed() -> int:
    """A seed from the system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])

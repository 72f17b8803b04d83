"""Optimisers: frozen recipes with torch.optim's names and formulas, and the caller's state of a training."""

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._functions import REAL_KINDS


def _at_least_zero(**numbers: float) -> None:
    for name, value in numbers.items():
        if not _is_number(value):
            raise TypeError(f"{name} is {value!r}, expected a finite number >= 0")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}, expected a finite number >= 0")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


@dataclass(frozen=True)
class _Optimizer:
    """What all recipes share: making a state."""

    lr: float = 1e-3

    def _rule(self) -> "_core.StepRule":
        raise NotImplementedError

    def init(self, params: NDArray[Any], *, seed: int | None = None) -> "TrainState":
        """A state for training `params`: moments at zero, step and epoch 0.

        Parameters
        ----------
        params : ndarray of float32 or float64
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

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        _at_least_zero(dampening=self.dampening)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum > 0 and a dampening of 0")

    def _rule(self) -> "_core.StepRule":
        return _core.StepRule(
            kind=0,
            nesterov=bool(self.nesterov),
            momentum=self.momentum,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
            beta1=0.0,
            beta2=0.0,
            eps=0.0,
        )


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

    def __post_init__(self) -> None:
        _at_least_zero(lr=self.lr, eps=self.eps, weight_decay=self.weight_decay)
        betas: object = self.betas
        if not isinstance(betas, (tuple, list)) or not all(map(_is_number, betas)):
            raise TypeError(f"betas is {betas!r}, expected two numbers from 0 to below 1")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas is {self.betas!r}, expected two numbers from 0 to below 1")

    def _rule(self) -> "_core.StepRule":
        return _core.StepRule(
            kind=1,
            nesterov=False,
            momentum=0.0,
            dampening=0.0,
            weight_decay=self.weight_decay,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
        )


class TrainState:
    """Everything that training keeps between steps, but for the parameters: moments, counters, the random stream.

    Made by an optimiser's ``init``; owned by the caller, picklable, and enough to go on exactly where training
    stopped.

    Attributes
    ----------
    optimizer : SGD or Adam
    moments : list of ndarray
        As the optimiser keeps them, of the shape of the parameters.
    step, epoch : int
        How many are done.
    seed : int
        Of the row orders: that of epoch k is drawn from (seed, k) alone.
    """

    def __init__(self, optimizer: _Optimizer, params: NDArray[Any], seed: int | None = None) -> None:
        if not isinstance(params, np.ndarray) or params.dtype not in (np.float32, np.float64):
            kind = getattr(params, "dtype", type(params).__name__)
            raise TypeError(f"[init] params is {kind}, expected an array of float32 or float64")
        self.optimizer = optimizer
        self.shape, self.dtype = params.shape, params.dtype
        count = optimizer._rule().moment_count
        self.moments: list[NDArray[Any]] = [np.zeros(params.shape, params.dtype) for _ in range(count)]
        self.step = 0
        self.epoch = 0
        self.seed = fresh_seed() if seed is None else _seed(seed)

    def update(self, params: NDArray[Any], grad: ArrayLike) -> None:
        """One step of the optimiser, in place.

        Parameters
        ----------
        params : ndarray
            As given to ``init``: the same shape and dtype, row-major, writable.
        grad : array_like
            The gradient, of the same shape; not changed.

        Raises
        ------
        ValueError
            If shapes or dtypes do not fit; nothing has been changed then.
        """
        self.check("update")
        try:
            gradient = np.asarray(grad, order="C")
        except (TypeError, ValueError) as error:
            raise ValueError(f"[update] grad cannot be made an array of numbers: {error}") from None
        if gradient.shape != self.shape:
            raise ValueError(f"[update] grad has shape {gradient.shape}, expected {self.shape}")
        if gradient.dtype.kind not in REAL_KINDS:
            raise TypeError(f"[update] grad holds {gradient.dtype}, expected real numbers")
        gradient = gradient.astype(self.dtype, copy=False)
        rule = self.optimizer._rule()
        _core.update(
            rule, self.dtype, list(self.shape), params, gradient, self.moments, self.optimizer.lr, self.step + 1
        )
        self.step += 1

    def check(self, method: str) -> None:
        """Whether the moments are as `init` made them; attributes may have been written since."""
        needed = self.optimizer._rule().moment_count
        if len(self.moments) != needed:
            raise ValueError(
                f"[{method}] state.moments has {len(self.moments)} arrays, {self.optimizer!r} expects {needed}"
            )
        for k, moment in enumerate(self.moments):
            fits = isinstance(moment, np.ndarray) and (moment.shape, moment.dtype) == (self.shape, self.dtype)
            if not (fits and moment.flags.carray):
                raise ValueError(
                    f"[{method}] state.moments[{k}] is not a writable, row-major array of {self.dtype}{self.shape}"
                )

    def order(self, rows: int) -> NDArray[np.int64]:
        """The random row order of the coming epoch: a permutation drawn from (seed, epoch)."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(rows)

    def __repr__(self) -> str:
        return f"TrainState({self.optimizer!r}, step={self.step}, epoch={self.epoch}, seed={self.seed})"


def fresh_seed() -> int:
    """A seed from the system's entropy."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def integer(value: object) -> int:
    """`value` as an int: whatever has __index__, but for bools. Raises TypeError."""
    if isinstance(value, bool):
        raise TypeError(value)
    return operator.index(value)  # type: ignore[arg-type]  # checked by trying


def _seed(seed: object) -> int:
    try:
        number = integer(seed)
    except TypeError:
        raise TypeError(f"[init] seed is {seed!r}, expected an integer or None") from None
    if number < 0:
        raise ValueError(f"[init] seed is {seed!r}, expected an integer >= 0")
    return number

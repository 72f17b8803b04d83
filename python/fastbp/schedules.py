"""Courses of the learning rate: functions from epochs done, a fraction within an epoch, to a factor on lr.

`MLP.fit` takes any such function; these are the usual ones. Before each epoch it is asked for every step: epochs done
are those of the state, and k / steps for step k of this epoch. So a fit that goes on from a state goes on in the
schedule too. A factor that is negative or not finite is refused.

Examples
--------
>>> import numpy as np, fastbp as fb
>>> schedule = fb.schedules.warmup(2, then=fb.schedules.cosine(8))
>>> [round(schedule(done), 3) for done in (0, 1, 2, 6, 10)]
[0.0, 0.5, 1.0, 0.5, 0.0]
>>> X = np.linspace(-1, 1, 64)[:, None]
>>> net = fb.MLP((1, 8, 1), loss="squared_error", seed=0)
>>> history = net.fit(X, X**2, epochs=10, optimizer=fb.Adam(lr=0.01), schedule=lambda done: 1 / (1 + done), seed=0)
>>> history.lr[:2]
[0.01, 0.005]
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ._numbers import finite

Schedule: TypeAlias = Callable[[float], float]

# A dataclass without a docstring gets one made of its signature, which takes longer than all else in this import.


@dataclass(frozen=True)
class _Constant:
    """The factor 1."""

    def __call__(self, done: float) -> float:
        return 1.0


@dataclass(frozen=True)
class _Step:
    """A power of `factor`."""

    every: float
    factor: float

    def __call__(self, done: float) -> float:
        return float(self.factor ** (done // self.every))


@dataclass(frozen=True)
class _Cosine:
    """Half a wave of the cosine, from 1 down to `final`."""

    epochs: float
    final: float

    def __call__(self, done: float) -> float:
        fall = (1 - math.cos(math.pi * min(done / self.epochs, 1.0))) / 2
        return 1 - (1 - self.final) * fall


@dataclass(frozen=True)
class _Warmup:
    """A straight line from 0 to 1, then another schedule."""

    epochs: float
    then: Schedule

    def __call__(self, done: float) -> float:
        return done / self.epochs if done < self.epochs else self.then(done - self.epochs)


def constant() -> Schedule:
    """The factor 1 throughout.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.schedules.constant()(7.5)
    1.0
    """
    return _Constant()


def step(every: float, factor: float = 0.1) -> Schedule:
    """Multiply by `factor` after each `every` epochs: factor ** floor(done / every).

    Parameters
    ----------
    every : float
        Epochs between steps; greater than 0.
    factor : float
        At least 0.

    Examples
    --------
    >>> import fastbp as fb
    >>> schedule = fb.schedules.step(10, factor=0.5)
    >>> schedule(9.9), schedule(10), schedule(25)
    (1.0, 0.5, 0.25)
    """
    return _Step(finite("step", "every", every, zero=False), finite("step", "factor", factor))


def cosine(epochs: float, final: float = 0.0) -> Schedule:
    """Half a cosine from 1 to `final` over `epochs`, then `final`.

    Parameters
    ----------
    epochs : float
        Length of the fall; greater than 0.
    final : float
        At least 0.

    References
    ----------
    I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017.

    Examples
    --------
    >>> import fastbp as fb
    >>> schedule = fb.schedules.cosine(10, final=0.5)
    >>> schedule(0), round(schedule(5), 3), schedule(12)
    (1.0, 0.75, 0.5)
    """
    return _Cosine(finite("cosine", "epochs", epochs, zero=False), finite("cosine", "final", final))


def warmup(epochs: float, then: Schedule | None = None) -> Schedule:
    """Rise from 0 to 1 in a straight line over `epochs`, then follow another schedule from its own beginning.

    Parameters
    ----------
    epochs : float
        Length of the rise; greater than 0.
    then : callable, optional
        Given the epochs done since the rise ended; None: 1.

    Examples
    --------
    >>> import fastbp as fb
    >>> schedule = fb.schedules.warmup(2, then=fb.schedules.step(3))
    >>> schedule(0.5), schedule(2), schedule(5)
    (0.25, 1.0, 0.1)
    """
    if then is not None and not callable(then):
        raise TypeError(f"[warmup] then is {then!r}, expected a function f(epochs done) -> factor, or None")
    return _Warmup(finite("warmup", "epochs", epochs, zero=False), constant() if then is None else then)

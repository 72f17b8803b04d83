"""Early stopping: which epoch was the best, when to give up, and the way back."""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._history import History
from ._metrics import NAMED
from ._numbers import count, finite

if TYPE_CHECKING:
    from ._mlp import MLP

SMALLER_IS_BETTER = ("loss", "_error", "_deviance")
LARGER_IS_BETTER = (*NAMED, "_score")


@dataclass(frozen=True)
class EarlyStopping:
    """When `MLP.fit` gives up: after `patience` epochs in a row that were no better than the best one.

    Whenever such a fit returns, for whatever reason, the net's parameters and ``history.state`` are those that a fit
    ending with the best epoch, its callbacks included, would have left; ``history.best_epoch`` is its index into the
    history's lists, which go on to the last epoch. Where an exception ends the fit, nothing is brought back.

    Parameters
    ----------
    patience : int
        At least 1. Each fit counts anew.
    min_delta : float
        An epoch is better where it beats the best by more than this.
    monitor : str
        "val_loss", "loss", the name of a metric, or "val_" and that name. Of "accuracy", "r2" and functions whose name
        ends in _score the largest is the best, of losses and functions named .._error, .._loss or .._deviance the
        smallest: scikit-learn's names. Not a number is never better.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = fb.MLP((1, 8, 1), loss="squared_error", activation="tanh", seed=0)
    >>> history = net.fit(X, X**2, epochs=500, optimizer=fb.SGD(lr=0.5), seed=0,
    ...                   early_stopping=fb.EarlyStopping(patience=5, min_delta=1e-4, monitor="loss"))
    >>> history.stop_reason, len(history.loss) - 1 - history.best_epoch
    ('early_stopping', 5)
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str = "val_loss"

    def __post_init__(self) -> None:
        object.__setattr__(self, "patience", count("EarlyStopping", "patience", self.patience, 1))
        object.__setattr__(self, "min_delta", finite("EarlyStopping", "min_delta", self.min_delta))
        if not isinstance(self.monitor, str):
            raise TypeError(f"[EarlyStopping] monitor is {self.monitor!r}, expected a name such as 'val_loss'")


class Watch:
    """The early stopping of one fit: counts, and keeps a copy of the best."""

    def __init__(self, rule: EarlyStopping, net: "MLP", history: History) -> None:
        self.rule, self.net, self.history = rule, net, history
        self._values = monitored(history)[rule.monitor]
        self._sign = sign(rule.monitor)
        self._best = math.nan

    def look(self) -> None:
        """Whether the epoch just done is the best one: history.best_epoch."""
        value = self._sign * self._values[-1]
        if value > self._best + self.rule.min_delta or (math.isnan(self._best) and not math.isnan(value)):
            self._best = value
            self.history.best_epoch = len(self._values) - 1

    def keep(self) -> bool:
        """Copy what the epoch left if it is the best; whether patience has run out."""
        state, epochs, best = self.history.state, len(self._values), self.history.best_epoch
        if best == epochs - 1:
            self._params = self.net.params.copy()
            self._state = copy.deepcopy(state, {id(state.optimizer): state.optimizer})
        return epochs - (0 if best is None else best + 1) >= self.rule.patience

    def restore(self) -> None:
        """The best epoch's parameters and state; without one, nothing."""
        if self.history.best_epoch is not None:
            self.net.params[...] = self._params
            vars(self.history.state).update(vars(self._state))


def monitored(history: History) -> dict[str, list[float]]:
    """What may be watched, by name."""
    return {
        "loss": history.loss, "val_loss": history.val_loss, **history.metrics,
        **{f"val_{name}": values for name, values in history.val_metrics.items()},
    }  # fmt: skip


def early_stopping(given: object, history: History, has_validation: bool) -> EarlyStopping | None:
    """What fit was given for it, checked against what there is to watch."""
    if given is None:
        return None
    if not isinstance(given, EarlyStopping):
        try:
            given = EarlyStopping(count("fit", "early_stopping", given, 1))
        except TypeError:
            expected = "expected a number of epochs or fb.EarlyStopping(..)"
            raise TypeError(f"[fit] early_stopping is {given!r}, {expected}") from None
    check_monitor("[fit] early_stopping", given.monitor, history, has_validation)
    return given


def check_monitor(argument: str, monitor: str, history: History, has_validation: bool) -> None:
    """Whether there is such a thing to watch, and its name says which values are better."""
    names = [name for name in monitored(history) if has_validation or name != "val_loss"]
    if monitor not in names:
        cure = "" if has_validation or not monitor.startswith("val_") else "; validation_data is missing"
        raise ValueError(f"{argument} monitors {monitor!r}, expected one of {', '.join(names)}{cure}")
    if not _metric_of(monitor).endswith(SMALLER_IS_BETTER + LARGER_IS_BETTER):
        raise ValueError(
            f"{argument} monitors {monitor!r}, expected a function whose name says which values are better: "
            "ending in _score (large ones) or in _error, _loss or _deviance (small ones)"
        )


def sign(monitor: str) -> float:
    """By what to multiply the values of what is watched for the best to be the largest."""
    return -1.0 if _metric_of(monitor).endswith(SMALLER_IS_BETTER) else 1.0


def _metric_of(monitor: str) -> str:
    return monitor.removeprefix("val_")

"""Training: everything is checked before it starts, then one call of the core per epoch."""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import as_array
from ._history import History
from ._optimizers import TrainState, _Optimizer, integer

if TYPE_CHECKING:
    from ._mlp import MLP

Callback = Callable[["MLP", History], None]


def count(method: str, argument: str, value: object, least: int) -> int:
    """`value` as an integer that is at least `least`; floats are refused even where they are whole."""
    try:
        number = integer(value)
    except TypeError:
        raise TypeError(f"[{method}] {argument} is {value!r}, expected an integer") from None
    if number < least:
        raise ValueError(f"[{method}] {argument} is {number}, expected at least {least}")
    return number


class Epochs:
    """Runs epochs of one net on one set of data: what fit and train_step share."""

    def __init__(self, method: str, net: "MLP", X: Any, y: Any, sample_weight: Any, state: TrainState) -> None:
        if not isinstance(state, TrainState):
            raise TypeError(f"[{method}] state is {type(state).__name__}, expected a TrainState (optimizer.init)")
        if state.shape != net.params.shape or state.dtype != net.params.dtype:
            raise ValueError(
                f"[{method}] state was made for {state.dtype}{state.shape}, "
                f"the net has {net.params.dtype}{net.params.shape}"
            )
        state.check(method)
        if not net.params.flags.writeable:
            raise ValueError(f"[{method}] net.params is read-only, expected a writable array")
        self.method, self.net, self.state = method, net, state
        self.X, self.sample_weight = as_array(method, "X", X), as_array(method, "sample_weight", sample_weight)
        self.y = as_array(method, "y", y)
        self.function = net._row_loss(method, self.X, self.y)
        net._core.check(method, self.X, self.y, self.sample_weight, False, self.function)
        self.rows = len(self.X)
        self.rule = state.optimizer._rule()

    def run(self, batch_size: int, shuffle: bool, drop_last: bool, lr: float) -> float:
        """One epoch; returns its mean loss. The state has moved on by the steps done, also where this raises."""
        state, rows = self.state, self.rows
        order = state.order(rows) if shuffle else None
        steps = rows // batch_size if drop_last else -(-rows // batch_size)
        report = np.zeros(4)
        report[3] = state.step
        try:
            self.net._core.run_epoch(
                self.method, self.net.params, self.X, self.y, self.sample_weight, self.function, order, self.rule,
                state.moments, batch_size, drop_last, np.full(steps, float(lr)), state.step, report,
            )  # fmt: skip
        finally:
            state.step = int(report[3])
        state.epoch += 1
        loss_sum, weight_sum = report[:2]
        return float(loss_sum / weight_sum) if weight_sum else float("nan")


def fit(
    net: "MLP", X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, optimizer: _Optimizer,
    state: TrainState | None, batch_size: int | None, epochs: int, shuffle: bool, drop_last: bool,
    seed: int | None, validation_data: tuple[Any, ...] | None, callbacks: Iterable[Callback],
    progress: bool | str,
) -> History:  # fmt: skip
    """MLP.fit, its arguments as documented there."""
    epochs = count("fit", "epochs", epochs, 0)
    if seed is not None:
        seed = count("fit", "seed", seed, 0)
    if state is None:
        if not isinstance(optimizer, _Optimizer) or type(optimizer) is _Optimizer:
            raise TypeError(f"[fit] optimizer is {optimizer!r}, expected fb.SGD(..) or fb.Adam(..)")
        state = optimizer.init(net.params, seed=seed)
    run = Epochs("fit", net, X, y, sample_weight, state)
    size = run.rows if batch_size is None else count("fit", "batch_size", batch_size, 1)
    size = min(size, run.rows + 1)  # more than all rows is like one more, however large
    validation = _validation(net, validation_data)
    callbacks = _callables(callbacks)
    history = History(state)
    try:
        with _bar(progress, epochs) as bar:
            for _ in range(epochs):
                _epoch(run, history, size, shuffle, drop_last)
                if validation is not None:
                    history.val_loss.append(net.value(*validation, reduction="mean") - net._penalty())
                if bar is not None:
                    bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
                    bar.update()
                try:
                    for callback in callbacks:
                        callback(net, history)
                except StopIteration:
                    history.stop_reason = "callback"
                    break
    except BaseException as error:
        history.stop_reason = type(error).__name__
        error.history = history  # type: ignore[attr-defined]  # documented: the course so far goes with the exception
        raise
    return history


def _epoch(run: Epochs, history: History, batch_size: int, shuffle: bool, drop_last: bool) -> None:
    lr = run.state.optimizer.lr
    start = time.perf_counter()
    loss = run.run(batch_size, shuffle, drop_last, lr)
    seconds = time.perf_counter() - start
    history.loss.append(loss)
    history.lr.append(lr)
    history.seconds.append(seconds)
    history.rows_per_second.append(run.rows / seconds)


def _callables(callbacks: Any) -> tuple[Callback, ...]:
    found = tuple(callbacks) if isinstance(callbacks, Iterable) else (None,)
    if not all(map(callable, found)):
        raise TypeError(f"[fit] callbacks is {callbacks!r}, expected a sequence of functions f(net, history)")
    return found


def _validation(net: "MLP", data: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if data is None:
        return None
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TypeError("[fit] validation_data is not a tuple (X, y) or (X, y, sample_weight)")
    X, y = as_array("fit", "validation X", data[0]), as_array("fit", "validation y", data[1])
    weight = as_array("fit", "validation sample_weight", data[2] if len(data) == 3 else None)
    function = net._row_loss("fit: validation_data", X, y)
    net._core.check("fit: validation_data", X, y, weight, False, function)
    return X, y, weight


def _bar(progress: bool | str, epochs: int) -> Any:
    if not isinstance(progress, (bool, str)) or progress not in (True, False, "auto"):
        raise ValueError(f"[fit] progress is {progress!r}, expected True, False or 'auto'")
    if progress is False or (progress == "auto" and not sys.stderr.isatty()):
        return nullcontext()
    from tqdm.auto import tqdm

    return tqdm(total=epochs, unit="epoch")

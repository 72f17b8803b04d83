"""Training: everything is checked before it starts, then one call of the core per epoch and chunk."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._chunks import Chunks, Data, Held, Streamed, checked, source_of, weightless, without_steps
from ._core import StepRule
from ._device import full_name
from ._early_stopping import EarlyStopping, Watch, early_stopping
from ._functions import one_of
from ._history import History
from ._metrics import Metric, Metrics
from ._nonfinite import cause_in_data, explained
from ._numbers import count, finite, limit_of
from ._optimizers import Adam, TrainState, _Optimizer
from ._progress import ProgressBar, shows_bar
from .schedules import Schedule

if TYPE_CHECKING:
    from ._mlp import MLP

_ALL_ROWS = 2**62  # a batch size beyond any number of rows

Callback = Callable[["MLP", History], None]
GradHook = Callable[[int, NDArray[Any]], None]


class Epochs:
    """Runs epochs of one net on one set of data."""

    def __init__(
        self, method: str, net: "MLP", X: Any, y: Any, sample_weight: Any, state: TrainState, *, chunks: bool = False
    ) -> None:
        self.rule = _trainable(method, net, state)
        self.method, self.net, self.state = method, net, state
        self.source: Held | Streamed
        if chunks:
            self.source = source_of(net, X, y, sample_weight)
        else:
            self.source = Held([checked(method, net, X, y, sample_weight)])
        self.rows = sum(data.rows for data in self.source.known)
        self.last_lr = state.optimizer.lr
        self.nonfinite = False
        self.first_step = state.step
        self.max_grad_norm = self.max_example_norm = 0.0  # not clipped
        self.grad_hook: GradHook | None = None
        self.progress: Callable[[float], None] | None = None  # called with the part of an epoch that is done

    def run(self, batch_size: int | None, shuffle: bool, drop_last: bool, lr: float | NDArray[np.float64]) -> float:
        """One epoch; returns its mean loss. The state has moved on by the steps done, also where this raises.

        `lr` is one rate, or one for each step. Afterwards `rows` and `last_lr` are those of this epoch.
        """
        loss = weight = 0.0
        self.rows = done = most = 0
        can_step = False
        for data in self.source.parts():
            size, steps = data.batches(batch_size, drop_last)
            can_step = can_step or data.can_step(batch_size, shuffle, drop_last)
            if data.weighs:
                most = max(most, data.rows)
                order = _order(self.state, data) if shuffle else None
                sums = self._steps(data, order, size, drop_last, _part(lr, done, steps))
                loss += sums[0]
                weight += sums[1]
            self.rows += data.rows
            done += steps
            del data  # memory is one chunk's: let go of it before the next is made
        if not can_step and self.state.step == self.first_step:
            raise without_steps(most, batch_size) if most else weightless()
        self.state.epoch += 1
        self.last_lr = float(_part(lr, max(done, 1) - 1, 1)[0]) if isinstance(lr, np.ndarray) else float(lr)
        return loss / weight if weight else float("nan")

    def _steps(
        self, data: Data, order: Any, batch_size: int, drop_last: bool, lr: NDArray[np.float64]
    ) -> tuple[float, float]:
        try:
            return run_steps(
                self.method, self.net, self.state, self.rule, data, order, batch_size, drop_last, lr,
                self.max_grad_norm, self.max_example_norm, self.grad_hook, self._reporter(len(lr)),
            )  # fmt: skip
        except FloatingPointError as error:
            self.nonfinite = True
            state = self.state
            when, first = f"epoch {state.epoch + 1}, step {state.step + 1}", state.step == self.first_step
            cure = f"use a smaller lr than {state.optimizer.lr:g}, or max_grad_norm"
            if self.grad_hook is not None:
                cure += ", or look for nan in what grad_hook writes"
            raise explained(error, self.net, data, when, first, cure) from None

    def _reporter(self, steps: int) -> Callable[[int], None] | None:
        """What the core calls with the number of steps done; nothing for a stream, whose length nobody knows."""
        progress = self.progress
        if progress is None or not isinstance(self.source, Held):
            return None
        return lambda done: progress(done / max(steps, 1))


def run_steps(
    method: str, net: "MLP", state: TrainState, rule: StepRule, data: Data, order: Any, batch_size: int,
    drop_last: bool, lr: NDArray[np.float64], max_grad_norm: float = 0.0, max_example_norm: float = 0.0,
    grad_hook: GradHook | None = None, progress: Callable[[int], None] | None = None, *,
    penalties_by_weight: bool = False, values: NDArray[np.float64] | None = None,
) -> tuple[float, float]:  # fmt: skip
    """One call of the core; returns the sums of the weighted losses and of the weights.

    `values` is filled with the value of each mini-batch before its step; where one weighs nothing, with 0.
    """
    report = np.zeros(6)
    report[3] = state.step
    X, y, sample_weight = data.at(net.device)
    try:
        net._core.run_epoch(
            method, net.params, X, y, sample_weight, data.function, order, rule, state.moments,
            batch_size, drop_last, lr, state.step, report, max_grad_norm, max_example_norm, grad_hook,
            state.seed % 2**64, progress, penalties_by_weight, values,
        )  # fmt: skip
    finally:
        state.step = int(report[3])
    return float(report[0]), float(report[1])


def train_step(net: "MLP", X: Any, y: Any, sample_weight: Any, state: TrainState) -> float:
    """MLP.train_step: one mini-batch, and no epoch: the row orders of a later fit stay as they were."""
    rule = _trainable("train_step", net, state)
    columns = getattr(X, "columns", None)
    X, y = net._rows("train_step", X), net._array("train_step", "y", y)
    weight = net._array("train_step", "sample_weight", sample_weight)
    data = Data(X, y, weight, net._row_loss("train_step", X, y), rows=0, method="train_step", columns=columns)
    values = np.empty(1)
    lr = np.array([state.optimizer.lr], dtype=np.float64)
    try:
        run_steps("train_step", net, state, rule, data, None, _ALL_ROWS, False, lr, values=values)
    except FloatingPointError as error:
        cure = f"use a smaller lr than {lr[0]:g}"
        raise explained(error, net, data, f"step {state.step + 1}", state.step == 0, cure) from None
    return float(values[0])


@dataclass(frozen=True)
class _Course:
    """What a fit does, checked: `Epochs`, and all that surrounds one."""

    run: Epochs
    history: History
    batch_size: int | None
    epochs: int
    shuffle: bool
    drop_last: bool
    validation: Data | None
    metrics: Metrics
    watch: Watch | None
    schedule: Schedule | None
    callbacks: tuple[Callback, ...]
    deadline: float
    stops_at_nonfinite: bool

    def go(self, bar: ProgressBar) -> str:
        """All epochs; why they ended."""
        steps = 1
        if self.schedule is not None and self.epochs:
            steps = self.run.source.steps(self.batch_size, self.drop_last)
        for epoch in range(self.epochs):
            if bar.is_shown:
                self.run.progress = lambda part, done=epoch: bar.move(done + part)
            try:
                self._train(steps)
                self._measure()
            except FloatingPointError:
                if self.stops_at_nonfinite and self.run.nonfinite:
                    return "nonfinite"
                raise
            losses = {"loss": self.history.loss, "val_loss": self.history.val_loss}
            bar.move(epoch + 1, {name: values[-1] for name, values in losses.items() if values})
            reason = self._after()
            if reason:
                return reason
        return "epochs"

    def _train(self, steps: int) -> None:
        run, history = self.run, self.history
        rates = learning_rates(run.state, self.schedule, steps)
        start = time.perf_counter()
        loss = run.run(self.batch_size, self.shuffle, self.drop_last, rates)
        seconds = time.perf_counter() - start
        history.loss.append(loss)
        history.lr.append(run.last_lr)
        history.seconds.append(seconds)
        history.rows_per_second.append(run.rows / seconds)

    def _measure(self) -> None:
        net, history, metrics, data = self.run.net, self.history, self.metrics, self.validation
        if metrics.names():
            for name, value in metrics.measure(self.run.source.parts()).items():
                history.metrics[name].append(value)
        if data is not None:
            loss = net.backward(data.X, data.y, data.sample_weight, returns=()).loss
            history.val_loss.append(loss)
            if len(history.val_loss) == 1 and not np.isfinite(loss):
                self._refuse_validation(data)
            for name, value in metrics.measure([data]).items():
                history.val_metrics[name].append(value)

    def _refuse_validation(self, data: Data) -> None:
        """Raise FloatingPointError if a number in the data makes every validation loss nan or inf."""
        found = cause_in_data(self.run.net, data)
        if found:
            self.run.nonfinite = True
            raise FloatingPointError(f"[{data.method}] {found[0]}: the validation loss is not finite. {found[1]}")

    def _after(self) -> str:
        """Callbacks, and whether an end has come: its reason, or nothing."""
        reason = ""
        if self.watch is not None:
            self.watch.look()
        try:
            for callback in self.callbacks:
                callback(self.run.net, self.history)
        except StopIteration:
            reason = "callback"
        if self.watch is not None and self.watch.keep():
            reason = reason or "early_stopping"
        if time.monotonic() >= self.deadline:
            reason = reason or "time_limit"
        return reason


def fit(
    net: "MLP", X: ArrayLike | Chunks, y: ArrayLike | None, sample_weight: ArrayLike | None,
    optimizer: _Optimizer | None, state: TrainState | None, batch_size: int | None, epochs: int, shuffle: bool,
    drop_last: bool, seed: int | None, validation_data: tuple[Any, ...] | None, metrics: Iterable[Metric],
    stopping: int | EarlyStopping | None, schedule: Schedule | None, callbacks: Iterable[Callback],
    time_limit: float | None, on_nonfinite: str, progress: bool | str, max_grad_norm: float | None,
    max_example_norm: float | None, grad_hook: GradHook | None,
) -> History:  # fmt: skip
    """MLP.fit, its arguments as documented there."""
    begin = time.monotonic()
    epochs = count("fit", "epochs", epochs, 0)
    size = None if batch_size is None else count("fit", "batch_size", batch_size, 1)
    limit = float("inf") if time_limit is None else finite("fit", "time_limit", time_limit)
    if schedule is not None and not callable(schedule):
        expected = "expected a function f(epochs done) -> factor, such as fb.schedules.cosine(10)"
        raise TypeError(f"[fit] schedule is {schedule!r}, {expected}")
    stops = one_of("[fit] on_nonfinite", on_nonfinite, ("raise", "stop")) == "stop"
    clip = limit_of("fit", "max_grad_norm", max_grad_norm)
    example_clip = limit_of("fit", "max_example_norm", max_example_norm)
    if grad_hook is not None and not callable(grad_hook):
        raise TypeError(f"[fit] grad_hook is {grad_hook!r}, expected a function f(k, g) or None")
    shows = shows_bar(progress)
    found = _callables(callbacks)
    measures = Metrics(net, metrics)
    state = _state_of(net, state, optimizer, seed)
    validation = _validation(net, validation_data, measures)
    history = History(state, metrics={name: [] for name in measures.names()})
    history.val_metrics = {name: [] for name in measures.names() if validation is not None}
    rule = early_stopping(stopping, history, validation is not None)
    run = Epochs("fit", net, X, y, sample_weight, state, chunks=True)
    run.max_grad_norm, run.max_example_norm, run.grad_hook = clip, example_clip, grad_hook
    measures.check("fit", run.source.known)
    if epochs:
        run.source.check_steps(size, shuffle, drop_last)
    watch = None if rule is None else Watch(rule, net, history)
    course = _Course(
        run, history, size, epochs, shuffle, drop_last, validation, measures, watch, schedule, found, begin + limit,
        stops,
    )  # fmt: skip
    for callback in found:
        if epochs and hasattr(callback, "_begin_fit"):  # a Checkpoint
            callback._begin_fit(history, validation is not None)
    try:
        with ProgressBar(shows, epochs) as bar:
            history.stop_reason = course.go(bar)
    except BaseException as error:
        history.stop_reason = type(error).__name__
        error.history = history  # type: ignore[attr-defined]  # documented: the course so far goes with the exception
        raise
    if watch is not None:
        watch.restore()
    return history


def _state_of(net: "MLP", state: TrainState | None, optimizer: _Optimizer | None, seed: int | None) -> TrainState:
    """Return the given state, or a new one of the optimizer; raise ValueError if both are given."""
    if seed is not None:
        seed = count("fit", "seed", seed, 0)
    if state is None:
        optimizer = Adam() if optimizer is None else optimizer
        if not isinstance(optimizer, _Optimizer) or type(optimizer) is _Optimizer:
            raise TypeError(f"[fit] optimizer is {optimizer!r}, expected an optimizer such as fb.Adam(lr=1e-3)")
        return optimizer.init(net.params, seed=seed)
    if optimizer is not None or seed is not None:
        name = "seed" if optimizer is None else "optimizer"
        raise ValueError(
            f"[fit] {name} is given with state, which has one (state.{name}): leave out {name} to resume, or state to "
            "start a new training"
        )
    return state


def learning_rates(state: TrainState, schedule: Schedule | None, steps: int) -> float | NDArray[np.float64]:
    """The rate of each of the coming epoch's steps, at least one; without a schedule, one for all."""
    lr = state.optimizer.lr
    if schedule is None:
        return lr
    factors = np.ones(max(steps, 1))
    for k, done in enumerate((state.epoch + np.arange(len(factors)) / len(factors)).tolist()):
        factors[k] = finite("fit", f"schedule({done:g})", schedule(done))
    with np.errstate(over="ignore"):
        rates: NDArray[np.float64] = lr * factors
    if not np.isfinite(rates).all():
        raise ValueError(f"[fit] schedule makes the learning rate {rates.max()}, expected a finite number >= 0")
    return rates


def _part(lr: float | NDArray[np.float64], begin: int, steps: int) -> NDArray[np.float64]:
    """The rates of so many steps, which the core needs to be that many: where they end, the last one goes on."""
    if isinstance(lr, np.ndarray):
        return lr.take(np.arange(begin, begin + steps), mode="clip")
    return np.full(steps, float(lr))


def _order(state: TrainState, data: Data) -> NDArray[np.int64]:
    """Of a chunk's rows; the first chunk has the order of whole arrays."""
    if data.number == 0:
        return state.order(data.rows)
    return np.random.default_rng([state.seed, state.epoch, data.number]).permutation(data.rows)


def check_state(method: str, net: "MLP", state: TrainState) -> StepRule:
    """The core's rule of the state, if that is one of such a net's."""
    if not isinstance(state, TrainState):
        raise TypeError(f"[{method}] state is {type(state).__name__}, expected a TrainState (optimizer.init)")
    if state.shape != net.params.shape or state.dtype != net.params.dtype:
        raise ValueError(
            f"[{method}] state was made for {state.dtype}{state.shape}, "
            f"the net has {net.params.dtype}{net.params.shape}"
        )
    if state.device != full_name(net.device):
        cure = f"take state.to('{net.device}')"
        raise ValueError(f"[{method}] state was made on {state.device}, the net is on {net.device}: {cure}")
    return state.check(method)


def _trainable(method: str, net: "MLP", state: TrainState) -> StepRule:
    rule = check_state(method, net, state)
    if isinstance(net.params, np.ndarray) and not net.params.flags.writeable:
        raise ValueError(f"[{method}] net.params is read-only, expected a writable array")
    return rule


def _callables(callbacks: Any) -> tuple[Callback, ...]:
    found = tuple(callbacks) if isinstance(callbacks, Iterable) else (None,)
    if not all(map(callable, found)):
        raise TypeError(f"[fit] callbacks is {callbacks!r}, expected a sequence of functions f(net, history)")
    return found


def _validation(net: "MLP", data: tuple[Any, ...] | None, metrics: Metrics) -> Data | None:
    if data is None:
        return None
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TypeError("[fit] validation_data is not a tuple (X, y) or (X, y, sample_weight)")
    found = checked("fit: validation_data", net, data[0], data[1], data[2] if len(data) == 3 else None)
    metrics.check("fit: validation_data", [found])
    return found

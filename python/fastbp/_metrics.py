"""Metrics of a net on data: by name or as functions of targets and outputs, chunk by chunk."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._arguments import as_array
from ._device import host, read_back
from ._functions import one_of, real
from ._masks import counted

if TYPE_CHECKING:
    from ._chunks import Data
    from ._mlp import MLP

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Metric: TypeAlias = str | Callable[[Any, Array], float]


class Meter(Protocol):
    """Compute a metric from the targets and outputs of one chunk after the other.

    Rows of weight 0 are left out beforehand. `counts` (N, d(L)) marks the outputs with a weight above 0; None: all.
    """

    def add(self, y: Any, x: Array, counts: Mask | None) -> None: ...
    def value(self) -> float: ...


class Accuracy:
    """The part of the rows whose classes are right; with several logistic outputs, all of a row's."""

    def __init__(self, softmax: bool) -> None:
        self._softmax, self._right, self._rows = softmax, 0, 0

    def add(self, y: Array, x: Array, counts: Mask | None) -> None:
        if self._softmax:
            right = x.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))
        else:
            outputs_right = (x > 0.5) == (y.reshape(x.shape) > 0.5)
            right = (outputs_right if counts is None else outputs_right | ~counts).all(axis=1)
        self._right += int(np.count_nonzero(right))
        self._rows += len(x)

    def value(self) -> float:
        return self._right / self._rows


class R2:
    """Coefficient of determination, the mean over outputs; a constant target counts 1 if met exactly, else 0.

    Outputs with fewer than two targets are left out of the mean. Means and square sums of chunks are merged as by Chan,
    Golub and LeVeque 1983.
    """

    def __init__(self) -> None:
        self._rows: Any = 0  # number of targets of each output
        self._mean: Any = 0.0
        self._spread: Any = 0.0
        self._error: Any = 0.0

    def add(self, y: Array, x: Array, counts: Mask | None) -> None:
        target = np.asarray(y, dtype=np.float64).reshape(x.shape)
        rows: Any = len(target)
        if counts is not None:
            target, x, rows = np.where(counts, target, 0), np.where(counts, x, 0), counts.sum(axis=0)
        mean = target.sum(axis=0) / np.maximum(rows, 1)
        total = np.maximum(self._rows + rows, 1)
        shift = mean - self._mean
        spread = ((target - mean) ** 2).sum(axis=0, where=True if counts is None else counts)
        self._spread = self._spread + spread + shift**2 * (self._rows * rows / total)
        self._mean = self._mean + shift * (rows / total)
        self._error = self._error + ((target - x) ** 2).sum(axis=0)
        self._rows = self._rows + rows

    def value(self) -> float:
        enough = self._rows >= 2
        if not np.any(enough):
            return float("nan")
        spread, error = self._spread, self._error
        constant = spread == 0
        r2 = np.where(constant, error == 0, 1 - error / np.where(constant, 1.0, spread))
        return float(r2.mean(where=enough))


class Function:
    """A caller's function, which sees all rows at once: targets and outputs are kept until then."""

    def __init__(self, name: str, function: Callable[[Any, Array], float]) -> None:
        self._name, self._function = name, function
        self._parts: list[tuple[Any, Array]] = []

    def add(self, y: Any, x: Array, counts: Mask | None) -> None:
        self._parts.append((np.array(y), x))  # a copy: the memory of a chunk may be filled anew with the next

    def value(self) -> float:
        targets, outputs = zip(*self._parts, strict=True)
        y, x = (part[0] if len(part) == 1 else np.concatenate(part) for part in (targets, outputs))
        found = self._function(y, x.reshape(-1) if x.shape[1] == 1 and np.ndim(y) == 1 else x)
        try:
            return real(found)
        except (TypeError, ValueError):
            raise TypeError(f"[fit] the metric {self._name} returned {found!r}, expected a number") from None


NAMED = ("accuracy", "r2")


class Metrics:
    """What fit was asked to measure, by name, in its order."""

    def __init__(self, net: "MLP", given: Any) -> None:
        self._net = net
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(f"[fit] metrics is {given!r}, expected a sequence such as ['accuracy']")
        self._metrics: dict[str, Metric] = {}
        for metric in given:
            name = metric_name(metric)
            if name in self._metrics or name in ("loss", "val_loss"):
                raise ValueError(f"[fit] metrics has another {name!r}, expected names that differ")
            self._metrics[name] = metric
        self._softmax = net.activations[-1][0] == "softmax"
        if "accuracy" in self._metrics and net.activations[-1][0] not in ("softmax", "logistic"):
            g = net.activations[-1][0]
            raise ValueError(f"[fit] metrics has 'accuracy', but outputs are {g}, expected softmax or logistic ones")

    def names(self) -> list[str]:
        return list(self._metrics)

    def check(self, method: str, parts: Iterable["Data"]) -> None:
        """Whether the named metrics can use such targets."""
        for data in parts:
            self._check(method, data)

    def _check(self, method: str, data: "Data") -> None:
        shape, outputs = tuple(data.y.shape), self._net.layer_sizes[-1]
        fits = shape == (data.rows, outputs)
        vector = shape == (data.rows,)
        if "accuracy" in self._metrics and not (fits or (vector and (self._softmax or outputs == 1))):
            raise ValueError(f"[{method}] y has shape {shape}, which the metric 'accuracy' cannot use")
        if "r2" in self._metrics and not (fits or (vector and outputs == 1)):
            raise ValueError(
                f"[{method}] y has shape {shape}, the metric 'r2' expects targets like the outputs, "
                f"{(data.rows, outputs)}"
            )

    def measure(self, parts: Iterable["Data"]) -> dict[str, float]:
        """The metrics of the net on all parts together; each part is let go before the next is asked for."""
        meters = {name: self._meter(name, metric) for name, metric in self._metrics.items()}
        for data in parts:
            self._check("fit", data)
            x = host(self._net.forward(data.X))
            y = as_array("fit", "y", read_back(self._net.device, "fit", "y", data.y))
            counts = counted(read_back(self._net.device, "fit", "sample_weight", data.sample_weight), x.shape[1])
            if counts is not None:
                rows = counts.any(axis=1)
                y, x, counts = y[rows], x[rows], counts[rows]
            for meter in meters.values():
                meter.add(y, x, counts)
            del data
        return {name: meter.value() for name, meter in meters.items()}

    def _meter(self, name: str, metric: Metric) -> Meter:
        if callable(metric):
            return Function(name, metric)
        return R2() if metric == "r2" else Accuracy(self._softmax)


def metric_name(metric: object) -> str:
    """The name under which a metric stands in the history: a function's own."""
    if not callable(metric):
        return one_of("[fit] metrics", metric, NAMED)
    function = getattr(metric, "func", metric)  # functools.partial
    return str(getattr(function, "__name__", type(function).__name__))

"""Names, parameters and numbers of activations and losses: what a caller may write, turned into what the core takes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ActivationSpec: TypeAlias = str | tuple[str, float]
LossFunction: TypeAlias = Callable[[Any, NDArray[Any]], tuple[Any, Any]]

# The numbers are those of fastbp.h.
HIDDEN_ACTIVATIONS = {
    name: number
    for number, name in enumerate(
        ["identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sine"]
    )
}
OUTPUT_ACTIVATIONS = {**HIDDEN_ACTIVATIONS, "exp": 10, "softmax": 11}
ACTIVATION_PARAMETERS = {"leaky_relu": 0.01, "elu": 1.0}
LOSSES = {
    "squared_error": 1,
    "cross_entropy": 2,
    "poisson": 3,
    "huber": 4,
    "absolute_error": 5,
    "pinball": 6,
}
REAL_KINDS = "fiub"  # NumPy's letters of floats, integers and bools
RELU_LIKE = {"relu", "leaky_relu", "elu", "gelu", "silu"}


@dataclass(frozen=True)
class Huber:
    """Huber's loss: 1/2 r^2 where abs(r) <= delta, else delta (abs(r) - delta / 2), with r = x - y.

    Parameters
    ----------
    delta : float
        Where the square turns into the straight line; greater than 0.

    References
    ----------
    P. J. Huber, Robust estimation of a location parameter, 1964.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.MLP((3, 1), loss=fb.Huber(delta=2.0)).loss
    Huber(delta=2.0)
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", _own(self.delta))


@dataclass(frozen=True)
class Pinball:
    """The quantile loss: max(-q r, (1 - q) r) with r = x - y; its minimum is the q-quantile of y given x.

    Parameters
    ----------
    quantile : float or sequence of float
        q between 0 and 1; one, or one per output.

    References
    ----------
    R. Koenker and G. Bassett, Regression quantiles, 1978.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.MLP((3, 2), loss=fb.Pinball(quantile=(0.1, 0.9))).loss
    Pinball(quantile=(0.1, 0.9))
    """

    quantile: float | Sequence[float] = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantile", _own(self.quantile))


def _own(parameter: Any) -> Any:
    """Return a list or an array as a tuple, because the caller may change it later; MLP checks the numbers."""
    if isinstance(parameter, np.ndarray):
        parameter = parameter.tolist()
    return tuple(parameter) if isinstance(parameter, list) else parameter


LossSpec: TypeAlias = str | Huber | Pinball | LossFunction | None


def one_of(argument: str, given: object, known: Iterable[str]) -> str:
    """`given`, if it is one of the known names; else a ValueError that suggests the nearest."""
    names = list(known)
    if isinstance(given, str) and given in names:
        return given
    import difflib  # not worth its time at import

    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{argument} is {given!r}, expected one of {', '.join(names)}{hint}")


def _activation(argument: str, spec: object, known: dict[str, int]) -> tuple[str, float]:
    if isinstance(spec, str):
        name = one_of(argument, spec, known)
        return name, ACTIVATION_PARAMETERS.get(name, 0.0)
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], str):
        name = one_of(argument, spec[0], known)
        if name not in ACTIVATION_PARAMETERS:
            raise ValueError(f"{argument} is {spec!r}, but {name} takes no parameter")
        return name, _real(argument, spec[1])
    raise TypeError(f"{argument} is {spec!r}, expected a name or a (name, parameter) pair")


def activation_spec(name: str, parameter: float) -> ActivationSpec:
    """Return the argument that specifies a checked activation: its name, or its name and parameter."""
    return (name, parameter) if name in ACTIVATION_PARAMETERS else name


def real(value: object) -> float:
    """`value` as a float: whatever has __float__, so no text. Raises TypeError."""
    if isinstance(value, (str, bytes)) or np.ndim(value) != 0:  # type: ignore[arg-type]  # any object has a ndim
        raise TypeError(value)
    return float(value)  # type: ignore[arg-type]  # checked by trying


def _real(argument: str, value: object) -> float:
    try:
        number = real(value)
    except (TypeError, ValueError):
        raise TypeError(f"{argument} has the parameter {value!r}, expected a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{argument} has the parameter {value!r}, expected a finite number")
    return number


def hidden_activations(spec: object, count: int) -> list[tuple[str, float]]:
    """One (name, parameter) per hidden layer, from one spec for all or a sequence of specs."""
    pair = isinstance(spec, tuple) and len(spec) == 2 and not isinstance(spec[1], (str, tuple))
    if isinstance(spec, str) or pair or not isinstance(spec, Sequence):
        return [_activation("activation", spec, HIDDEN_ACTIVATIONS)] * count
    if len(spec) != count:
        raise ValueError(
            f"activation has {len(spec)} entries, expected {count}: one per hidden layer, or one for all"
        )
    return [_activation(f"activation[{k}]", entry, HIDDEN_ACTIVATIONS) for k, entry in enumerate(spec)]


def output_activation(spec: object, loss: LossSpec, outputs: int) -> tuple[str, float]:
    """(name, parameter) of the last layer; "auto" goes by the loss and the number of outputs."""
    if not isinstance(spec, str) or spec != "auto":
        return _activation("output_activation", spec, OUTPUT_ACTIVATIONS)
    if loss == "cross_entropy":
        return ("softmax" if outputs > 1 else "logistic"), 0.0
    return ("exp" if loss == "poisson" else "identity"), 0.0


def loss_number(loss: LossSpec, outputs: int) -> tuple[int, list[float] | None]:
    """The core's number of a loss, and its parameter for each output."""
    if loss is None or (callable(loss) and not isinstance(loss, type)):
        return 0, None
    if isinstance(loss, Huber):
        return LOSSES["huber"], [_real("loss", loss.delta)] * outputs
    if isinstance(loss, Pinball):
        return LOSSES["pinball"], _quantiles(loss.quantile, outputs)
    if not isinstance(loss, str):
        raise TypeError(f"loss is {loss!r}, expected a name, fb.Huber(..), fb.Pinball(..), a function or None")
    name = one_of("loss", loss, LOSSES)
    default = {"huber": 1.0, "pinball": 0.5}
    return LOSSES[name], [default[name]] * outputs if name in default else None


def _quantiles(quantile: object, outputs: int) -> list[float]:
    if not isinstance(quantile, (Sequence, np.ndarray)) or isinstance(quantile, str):
        return [_real("loss", quantile)] * outputs
    if len(quantile) != outputs:
        raise ValueError(f"loss has {len(quantile)} quantiles, expected one, or one for each of {outputs} outputs")
    return [_real("loss", q) for q in quantile]


def row_loss(
    method: str, loss: LossFunction, X: Any, y: Any, dtype: np.dtype[Any]
) -> Callable[[Any, NDArray[Any]], tuple[Any, Any]]:
    """A loss function f(y, x) -> (e, dx) as the core calls it: with row numbers, its answer checked and converted.

    X and y are arrays; of X the number of rows is looked at, all else is the core's to check.
    """
    if y is None:
        raise ValueError(f"[{method}] y is missing: the loss needs a target")
    if isinstance(y, np.ma.MaskedArray):
        cure = "fill it first; a weight of 0 masks a row"
        raise TypeError(f"[{method}] y is a masked array, expected a plain one: {cure}")
    rows, targets = np.shape(X)[:1], np.shape(y)[:1]
    if rows and rows != targets:
        raise ValueError(f"[{method}] y has shape {np.shape(y)}, X has {rows[0]} rows")

    def call(rows: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        answer = loss(y[rows], x)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(
                f"[{method}] the loss function returned {type(answer).__name__}, expected a tuple (e, dx)"
            )
        return part("e", answer[0], x.shape[:1], np.dtype(np.float64)), part("dx", answer[1], x.shape, dtype)

    def part(name: str, given: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        array = np.asarray(given)
        if array.dtype.kind not in REAL_KINDS:
            raise TypeError(
                f"[{method}] the loss function returned {name} of dtype {array.dtype}, expected real numbers"
            )
        if array.shape != shape:
            raise ValueError(
                f"[{method}] the loss function returned {name} of shape {array.shape}, expected {shape}"
            )
        return np.ascontiguousarray(array, dtype=dtype)

    return call

"""What the estimators' parameters may be: scikit-learn's own limits, and those of what is added."""

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import Any

import numpy as np
from sklearn import get_config

from .._arguments import dropout_rates
from .._functions import LOSSES, Huber, Pinball, hidden_activations, one_of

Fits = Callable[[Any], bool]
WHOLE = (int, np.integer)
REGRESSION_LOSSES = [name for name in LOSSES if name != "cross_entropy"]


class InvalidParameterError(ValueError, TypeError):
    """A parameter out of its limits; both kinds of error, as scikit-learn's own."""


def _among(*names: str) -> tuple[Fits, str]:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


def _number(expected: str, fits: Fits) -> tuple[Fits, str]:
    return lambda value: isinstance(value, Real) and fits(value), f"a number {expected}"


def _count(value: Any) -> bool:
    return isinstance(value, WHOLE) and not isinstance(value, bool) and bool(value >= 1)


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_random_state(value: Any) -> bool:
    if isinstance(value, WHOLE):
        return bool(0 <= value < 2**32)
    return value is None or isinstance(value, np.random.RandomState)


def _is_class_weight(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(isinstance(entry, dict) for entry in value)
    return value is None or isinstance(value, dict) or (isinstance(value, str) and value == "balanced")


def _or_none(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


NOT_NEGATIVE = _number(">= 0", lambda value: 0 <= value < inf)
POSITIVE = _number("> 0", lambda value: 0 < value < inf)
PART = _number("from 0 to below 1", lambda value: 0 <= value < 1)
COUNT = (_count, "an integer >= 1")
FLAG = (_is_flag, "True or False")

LIMITS: dict[str, tuple[Fits, str]] = {
    "solver": _among("lbfgs", "sgd", "adam"),
    "alpha": NOT_NEGATIVE,
    "batch_size": (lambda value: value == "auto" if isinstance(value, str) else _count(value), "'auto' or " + COUNT[1]),
    "learning_rate": _among("constant", "invscaling", "adaptive"),
    "learning_rate_init": POSITIVE,
    "power_t": NOT_NEGATIVE,
    "max_iter": COUNT,
    "shuffle": FLAG,
    "random_state": (_is_random_state, "an integer from 0 to 2**32 - 1, a numpy.random.RandomState or None"),
    "tol": NOT_NEGATIVE,
    "verbose": (
        lambda value: _is_flag(value) or (isinstance(value, WHOLE) and bool(value >= 0)), "a bool or an integer >= 0",
    ),
    "warm_start": (
        lambda value: value == "exact" if isinstance(value, str) else _is_flag(value), "True, False or 'exact'",
    ),
    "momentum": _number("from 0 to 1", lambda value: 0 <= value <= 1),
    "nesterovs_momentum": FLAG,
    "early_stopping": FLAG,
    "validation_fraction": PART,
    "beta_1": PART,
    "beta_2": PART,
    "epsilon": POSITIVE,
    "n_iter_no_change": (
        lambda value: _count(value) or (isinstance(value, Real) and value == inf), COUNT[1] + " or inf",
    ),
    "max_fun": COUNT,
    "class_weight": (
        _is_class_weight, "a dict of class to weight, a list of such dicts (one for each label), 'balanced' or None",
    ),
    "time_limit": (_or_none(POSITIVE[0]), "seconds > 0 or None"),
    "n_threads": (_or_none(_count), COUNT[1] + " or None"),
    "device": (lambda value: isinstance(value, str), "a name such as 'cpu'"),
    "progress": (lambda value: value == "auto" if isinstance(value, str) else _is_flag(value), "True, False or 'auto'"),
}  # fmt: skip


def check_parameters(estimator: Any) -> None:
    """Raise InvalidParameterError for the first parameter that does not fit."""
    if get_config()["skip_parameter_validation"]:
        return
    name = type(estimator).__name__
    for parameter, value in vars(estimator).items():
        fits, expected = LIMITS.get(parameter, (lambda _: True, ""))
        if not fits(value):
            raise InvalidParameterError(f"[{name}] {parameter} is {value!r}, expected {expected}")
    hidden = hidden_widths(estimator)
    try:
        hidden_activations(listed(estimator.activation), len(hidden))
        rates = dropout_rates(estimator.dropout, len(hidden))
        _check_loss(getattr(estimator, "loss", "squared_error"))
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(f"[{name}] {error}") from None
    if estimator.solver == "lbfgs" and any(rates):
        raise InvalidParameterError(f"[{name}] dropout is {estimator.dropout!r}, expected 0 with solver 'lbfgs'")


def hidden_widths(estimator: Any) -> list[int]:
    """hidden_layer_sizes, of which scikit-learn allows one number for one layer, as a list."""
    given = estimator.hidden_layer_sizes
    widths = list(given) if np.iterable(given) and not isinstance(given, str) else [given]
    for width in widths:
        if not isinstance(width, WHOLE) or isinstance(width, bool) or width <= 0:
            text = f"hidden_layer_sizes must be > 0, got {given!r}, expected one integer for each hidden layer"
            raise InvalidParameterError(f"[{type(estimator).__name__}] {text}")
    return [int(width) for width in widths]


def layer_activations(estimator: Any) -> list[str]:
    """The name of each hidden layer's activation."""
    given = hidden_activations(listed(estimator.activation), len(hidden_widths(estimator)))
    return [name for name, _ in given]


def listed(activation: Any) -> Any:
    """An array of names, which scikit-learn's tools make of lists, as a list."""
    return activation.tolist() if isinstance(activation, np.ndarray) else activation


def _check_loss(loss: Any) -> None:
    if not isinstance(loss, (Huber, Pinball)) and not (callable(loss) and not isinstance(loss, type)):
        one_of("loss", loss, REGRESSION_LOSSES)


def keep(estimator: Any, given: dict[str, Any]) -> None:
    """Store what __init__ was given, unchanged, as scikit-learn asks for."""
    vars(estimator).update((name, value) for name, value in given.items() if name not in ("self", "__class__"))


def has_epochs(estimator: Any) -> bool:
    """Whether partial_fit is there."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True

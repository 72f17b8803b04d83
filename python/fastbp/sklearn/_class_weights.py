"""Turn class_weight into factors on the sample weights: one for each row, or for each output of multilabel targets."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def weights_by_class(method: str, class_weight: Any, classes: Array, numbers: Array, weight: Array | None) -> Array:
    """Return the weights (N,) of rows of the classes with these numbers, times weight if there is one."""
    if isinstance(class_weight, (list, tuple)):
        raise ValueError(
            f"[{method}] class_weight is a list, but y has one label in each row: expected a dict of class to weight, "
            "'balanced' or None"
        )
    if isinstance(class_weight, str):
        factors = _balanced(numbers, len(classes), weight)
    else:
        factors = _factors(method, class_weight, classes.tolist())
    return _weighing(method, factors[numbers] if weight is None else factors[numbers] * weight)


def weights_by_label(method: str, class_weight: Any, labels: Array, weight: Array | None) -> Array:
    """Return the weights (N, n_labels) of labels that are 0 or 1, times each row's weight if there is one."""
    count = labels.shape[1]
    if isinstance(class_weight, str):
        tables = [_balanced(column, 2, weight) for column in labels.T]
    else:
        dicts = class_weight if isinstance(class_weight, (list, tuple)) else [class_weight] * count
        if len(dicts) != count:
            raise ValueError(
                f"[{method}] class_weight has {len(dicts)} dicts, y has {count} labels: expected one dict for each "
                "label, in the order of the columns of y"
            )
        tables = [_label_factors(method, table) for table in dicts]
    weights = np.stack([table[column] for table, column in zip(tables, labels.T, strict=True)], axis=1)
    return _weighing(method, weights if weight is None else weights * weight[:, None])


def _balanced(numbers: Array, count: int, weight: Array | None) -> Array:
    """Return factors that give all classes the same total weight; a row of weight 0 has no effect."""
    totals = np.bincount(numbers, weights=weight, minlength=count)
    weighs = totals > 0
    factors = np.ones(count)
    factors[weighs] = totals.sum() / (weighs.sum() * totals[weighs])
    return factors


def _label_factors(method: str, table: dict[Any, Any]) -> Array:
    if unknown := [key for key in table if key not in (0, 1)]:
        raise ValueError(
            f"[{method}] class_weight has the key {unknown[0]!r}; with several labels expected the keys 0 and 1 in one "
            "dict for all labels, or in a list of such dicts, one for each label"
        )
    return _factors(method, table, [0, 1])


def _factors(method: str, table: dict[Any, Any], classes: list[Any]) -> Array:
    """Return each class's factor, 1 if the dict has none. As in scikit-learn, the dict may then have no other keys."""
    missing = [label for label in classes if label not in table]
    if missing and (unknown := [key for key in table if key not in classes]):
        raise ValueError(
            f"[{method}] class_weight has the key {unknown[0]!r} and none for the class {missing[0]!r}, expected keys "
            f"among the classes {classes}"
        )
    for key, value in table.items():
        if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
            raise ValueError(f"[{method}] class_weight[{key!r}] is {value!r}, expected a finite number >= 0")
    return np.array([float(table.get(label, 1)) for label in classes])


def _weighing(method: str, weights: Array) -> Array:
    if not (weights > 0).any():
        raise ValueError(
            f"[{method}] every row has weight 0 after class_weight, expected at least one with a weight above 0: give "
            "at least one class of y a weight above 0"
        )
    return weights

"""What a fit is about, after everything that was given has been checked."""

from dataclasses import dataclass
from typing import Any

from .._chunks import Data, checked
from .._mlp import MLP
from ._input import weighing_rows


@dataclass(frozen=True)
class Validation:
    """Rows that are not trained on."""

    X: Any
    y: Any
    weight: Any

    def check(self, net: MLP) -> None:
        """Raise ValueError or TypeError if these rows do not fit the net."""
        checked("fit: validation_data", net, self.X, self.y, self.weight)

    def loss(self, net: MLP) -> float:
        """Return the mean loss, without the penalty."""
        return float(net.backward(self.X, self.y, self.weight, returns=()).loss)

    def score(self, estimator: Any, net: MLP) -> float:
        """Return the estimator's score on the rows with a weight above 0."""
        y, outputs, weight = self.y, net.forward(self.X), self.weight
        weighs = weighing_rows(weight)
        if weighs is not None and not weighs.all():
            y, outputs, weight = y[weighs], outputs[weighs], weight[weighs]
        score: float = estimator._score_outputs(y, outputs, weight)
        return score


@dataclass(frozen=True)
class Problem:
    """The data as the core takes them: y are numbers, targets of the net's outputs."""

    X: Any
    y: Any
    weight: Any
    data: Data  # X, y and weight, checked by the core
    validation: Validation | None
    given: dict[str, Any]  # X, y and metadata as scikit-learn's callbacks receive them

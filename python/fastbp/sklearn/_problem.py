"""What a fit is about, after everything that was given has been checked."""

from dataclasses import dataclass
from typing import Any

from .._chunks import checked
from .._mlp import MLP


@dataclass(frozen=True)
class Validation:
    """Rows that are not trained on."""

    X: Any
    y: Any
    weight: Any

    def check(self, net: MLP) -> None:
        """Raise ValueError or TypeError where the net cannot be compared with these."""
        checked("fit: validation_data", net, self.X, self.y, self.weight)

    def loss(self, net: MLP) -> float:
        """The mean loss, without the penalty."""
        return net.value(self.X, self.y, self.weight) - net._penalty()


@dataclass(frozen=True)
class Problem:
    """The data as the core takes them: y are numbers, targets of the net's outputs."""

    X: Any
    y: Any
    weight: Any
    validation: Validation | None
    given: dict[str, Any]  # X, y and metadata as the caller's callbacks are told them

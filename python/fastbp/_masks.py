"""Find the rows and outputs with a weight other than 0."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def counted(sample_weight: Any, outputs: int = 1) -> NDArray[np.bool_] | None:
    """Return which outputs have a weight other than 0, (N, outputs); None if all have."""
    if sample_weight is None:
        return None
    counts = np.asarray(sample_weight) != 0
    if counts.all():
        return None
    return np.broadcast_to(counts[:, None], (len(counts), outputs)) if counts.ndim == 1 else counts

"""Where plots go."""

from typing import Any


def new_axes(columns: int = 1) -> Any:
    """The axes of a new figure of pyplot's: one, or an array of several side by side."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("[plot] needs matplotlib, which is missing: pip install matplotlib") from error
    return pyplot.subplots(ncols=columns, figsize=(4.8 * columns, 3.6), layout="constrained")[1]

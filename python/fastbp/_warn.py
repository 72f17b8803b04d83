"""Warnings that name the caller's line."""

import sys
import warnings


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the nearest line outside fastbp.

    `warnings.warn` raises ValueError if sys.stderr is closed. That must not end a training, so here it is ignored.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastbp":
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(text, category, stacklevel=level)
    except ValueError:
        if not getattr(sys.stderr, "closed", False):
            raise

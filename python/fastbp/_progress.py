"""The progress bar of a training, on the standard error stream."""

import sys
from types import TracebackType
from typing import Any, Self


def shows_bar(progress: bool | str) -> bool:
    """Return whether to show a bar: if asked to, or for "auto" if the stream is a terminal; never without a stream."""
    if not isinstance(progress, (bool, str)) or progress not in (True, False, "auto"):
        raise ValueError(f"[fit] progress is {progress!r}, expected True, False or 'auto'")
    stream = sys.stderr
    if not progress or stream is None or getattr(stream, "closed", False):  # a daemon, pythonw, a frozen program
        return False
    return progress is True or _is_terminal(stream)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):  # a logger in its place, or a stream whose file is closed
        return False


class ProgressBar:
    """A bar of so many epochs, shown in a `with` block; nothing if `shows` is False.

    If the stream fails, as that of a terminal that was closed, the bar ends and the training goes on.
    """

    def __init__(self, shows: bool, epochs: int) -> None:
        self._bar: Any = None
        if shows:
            from tqdm.auto import tqdm

            self._try(lambda: setattr(self, "_bar", tqdm(total=epochs, unit="epoch")))

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def move(self, epochs: float, values: dict[str, float] | None = None) -> None:
        """Move to so many epochs, and show named values beside the bar."""
        if self._bar is not None:
            self._try(lambda: self._move(epochs, values))

    def _move(self, epochs: float, values: dict[str, float] | None) -> None:
        if values:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        self._bar.n = round(epochs, 2)
        self._bar.update(0)  # shows it, if that is due

    def _try(self, action: Any) -> None:
        try:
            action()
        except (AttributeError, OSError, ValueError):
            if self._bar is not None:
                self._bar.disable = True  # closing writes, too
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._try(self._bar.close)

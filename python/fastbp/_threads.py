"""How many threads fastbp may use."""

from types import TracebackType

from . import _core
from ._numbers import integer


class set_num_threads:  # noqa: N801  # a function to its callers; a class so that `with` can undo it
    """Set how many threads a call may use, process-wide; with ``with``, for the block only.

    Parameters
    ----------
    n : int
        At least 1. Also beyond the machine's processors. A plan for n threads gives the same bits on every machine
        and however many threads turn up; another n may give others, unless the net is deterministic.

    Examples
    --------
    >>> import fastbp as fb
    >>> with fb.set_num_threads(2):
    ...     fb.get_num_threads()
    2
    """

    def __init__(self, n: int) -> None:
        number = integer(n)
        if number < 1:
            raise ValueError(f"[set_num_threads] n is {number}, expected at least 1")
        self._before = _core.get_num_threads()
        _core.set_num_threads(min(number, 2**31 - 1))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _core.set_num_threads(self._before)


def get_num_threads() -> int:
    """How many threads a call may use.

    What was set, else FASTBP_NUM_THREADS, else OMP_NUM_THREADS, else the processors this process may run on
    (affinity and cgroup quota).

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()

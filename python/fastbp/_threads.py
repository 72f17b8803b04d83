"""How many threads fastbp may use: a number for the process, and limits for the calls of one thread."""

import os
import sys
import threading
import weakref
from importlib import import_module
from types import TracebackType

from . import _core
from ._numbers import integer


class _Block:
    """A `with` block that a thread is in, and the number of threads in force there."""

    def __init__(self, n: int, around: "list[_Block]") -> None:
        self.n, self.around = n, around


class _Blocks(threading.local):
    """The blocks that a thread is in, the innermost last, and its statement that is still pending."""

    def __init__(self) -> None:
        self.entered: list[_Block] = []
        self.pending: weakref.ref[set_num_threads] | None = None

    def settle(self) -> None:
        """Carry out an earlier statement of this thread whose object is still referenced."""
        setting = None if self.pending is None else self.pending()
        if setting is not None:
            setting._settle()

    def apply(self) -> None:
        """Give the core the limit of the calling thread."""
        innermost = self.entered[-1:]  # a slice, because another thread may leave a block meanwhile
        _core.set_thread_limit(innermost[0].n if innermost else 0)


_blocks = _Blocks()


class thread_limit:  # noqa: N801  # used like a function
    """Limit the calls that the current thread makes in a `with` block to n threads.

    Blocks may be nested, and may overlap in one thread (in generators and coroutines): the block entered last is in
    force. A block that another thread leaves has ended too; the thread that entered it notices this the next time it
    enters or leaves a block, or asks for its number of threads.
    """

    def __init__(self, n: int) -> None:
        self._n = min(int(n), 2**31 - 1)
        self._entered: list[_Block] = []

    def __enter__(self) -> None:
        _blocks.settle()
        block = _Block(self._n, _blocks.entered)
        self._entered.append(block)
        block.around.append(block)
        _blocks.apply()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An object may be entered several times, also by several threads: leave the current thread's block first.
        _blocks.settle()
        entered = list(self._entered)
        block = ([b for b in entered if b.around is _blocks.entered] or entered)[-1]
        self._entered.remove(block)
        block.around.remove(block)
        _blocks.apply()


class set_num_threads(thread_limit):  # noqa: N801  # a function to its callers; a class so that `with` can undo it
    """Set how many threads a call may use: for the process, or in a ``with`` block for the current thread only.

    As a statement, ``set_num_threads(n)`` sets the number for all threads of the process. ``with set_num_threads(n):``
    limits the calls that the current thread makes in the block. Other threads do not see this limit, nor do threads
    that are started in the block. The limit replaces the number of the process, even if the limit is larger.

    Parameters
    ----------
    n : int
        At least 1. Also beyond the machine's processors. A plan for n threads gives the same bits on every machine
        and for any team that runs it. Another n may give other bits, unless the net is deterministic.

    Notes
    -----
    A statement inside a block sets the number of that block, until the block ends.

    The number of the process changes when the returned object is discarded, which a statement does at once. While a
    program keeps the object, only the calls of the current thread use the number.

    A framework such as JAX calls fastbp from its own threads. Set the number for the process if you use one.

    Examples
    --------
    >>> import fastbp as fb
    >>> with fb.set_num_threads(2):
    ...     fb.get_num_threads()
    2
    """

    _is_pending = False  # __del__ reads it even if __init__ raises

    def __init__(self, n: int) -> None:
        number = integer(n)
        if number < 1:
            raise ValueError(f"[set_num_threads] n is {number}, expected at least 1")
        super().__init__(number)
        _blocks.settle()
        # Whether the object will be entered is not known yet, so nothing changes for other threads.
        self._is_pending, self._around = True, _blocks.entered
        _blocks.pending = weakref.ref(self)
        _core.set_thread_limit(self._n)

    def __enter__(self) -> None:
        self._is_pending = False
        super().__enter__()

    def __repr__(self) -> str:
        self._settle()  # an interactive session shows the object of a statement, and keeps it
        return f"set_num_threads({self._n})"

    def __del__(self) -> None:
        self._settle()

    def _settle(self) -> None:
        """Carry out the statement, unless the object was entered."""
        if not self._is_pending:
            return
        self._is_pending = False
        innermost = self._around[-1:]
        if innermost:
            innermost[0].n = self._n
        else:
            _core.set_num_threads(self._n)
        _blocks.apply()


def get_num_threads() -> int:
    """Return how many threads a call of the current thread may use.

    This is the number of the innermost ``with set_num_threads(n):`` block of this thread, else the number set for the
    process, else FASTBP_NUM_THREADS, else OMP_NUM_THREADS, else the processors this thread may run on
    (affinity and cgroup quota).

    Notes
    -----
    The environment variables are read when fastbp is imported. If no number is set, calls follow a change of the
    affinity within 10 ms and a change of the quota within a second. Another number of threads may give other bits
    unless the net is deterministic, so set a number for reproducible results.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.get_num_threads() >= 1
    True
    """
    setting = None if _blocks.pending is None else _blocks.pending()
    if setting is None or not setting._is_pending:
        _blocks.apply()  # a block of this thread may have been left by another thread
    return _core.get_num_threads()


def _wait_for_imports() -> None:
    """Wait for imports by other threads, before a fork: their locks would stay locked in the child.

    The first net loads numpy.random. It is not yet in sys.modules while another thread searches for it, so it is loaded
    here.
    """
    if threading.active_count() == 1:
        return
    import_module("numpy.random")
    for name in [name for name in sys.modules if name.startswith(("fastbp", "numpy"))]:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(spec, "_initializing", False):
            import_module(name)


os.register_at_fork(before=_wait_for_imports)

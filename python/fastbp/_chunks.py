"""What fit trains on: whole arrays, or chunks of rows that come one after the other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ._device import is_distant, to_device
from ._functions import REAL_KINDS

if TYPE_CHECKING:
    from ._mlp import MLP

Chunk: TypeAlias = tuple[Any, ...]
Chunks: TypeAlias = Callable[[], Iterable[Chunk]] | Iterable[Chunk]

EXPECTED = "expected a tuple (X, y) or (X, y, sample_weight)"


@dataclass(slots=True)
class Data:
    """Arrays that the core has checked."""

    X: Any
    y: Any
    sample_weight: Any
    function: Any
    rows: int
    number: int = 0
    weighs: bool = True
    method: str = ""  # and the chunk, as error texts name them
    columns: Any = None  # names of the columns of a frame
    float64: str = "make the net with dtype='float64'"  # the cure that an error text names: how to compute in float64
    there: tuple[Any, Any, Any] | None = None  # on the device of the net

    def at(self, device: str) -> tuple[Any, Any, Any]:
        """X, y and sample_weight where a net of the device trains on them; they are brought there once."""
        if not is_distant(device):
            return self.X, self.y, self.sample_weight
        if self.there is None:
            self.there = _brought(self.X, device), _brought(self.y, device), _brought(self.sample_weight, device)
        return self.there

    def batches(self, batch_size: int | None, drop_last: bool) -> tuple[int, int]:
        """The size of a mini-batch, never far above the number of rows, and how many there are."""
        size = max(self.rows, 1) if batch_size is None else min(batch_size, self.rows + 1)
        return size, self.rows // size if drop_last else -(-self.rows // size)


    def can_step(self, batch_size: int | None, shuffle: bool, drop_last: bool) -> bool:
        """Return whether an epoch may have a mini-batch with a weight above 0."""
        size, steps = self.batches(batch_size, drop_last)
        if not self.weighs or steps == 0:
            return False
        left_out = self.rows - size * steps
        if shuffle or left_out <= 0 or not isinstance(self.sample_weight, np.ndarray):
            return True
        return bool(self.sample_weight[: size * steps].any())


def weightless() -> ValueError:
    """Return the error for chunks whose weights are all 0."""
    return ValueError("[fit] sample_weight is 0 in every chunk, expected at least one row that counts")


def without_steps(rows: int, batch_size: int | None) -> ValueError:
    """Return the error for a fit in which drop_last leaves no mini-batch with a weight above 0."""
    if batch_size is None or rows >= batch_size:
        text = "sample_weight is 0 in every row of the mini-batches that drop_last=True leaves: shuffle the rows"
    else:
        text = f"drop_last=True leaves no mini-batch: there are {rows} rows at a time, batch_size is {batch_size}"
        text += f". Use a batch_size of at most {rows}" if rows else ""
    return ValueError(f"[fit] {text}, or use drop_last=False")


def _brought(array: Any, device: str) -> Any:
    """A copy on the device of what can lie there as it is; compressed rows go there with every epoch."""
    plain = isinstance(array, np.ndarray) and array.dtype.kind in REAL_KINDS and array.dtype.itemsize <= 8
    return to_device(array, device) if plain and array.ndim in (1, 2) else array


def checked(
    method: str, net: "MLP", X: Any, y: Any, sample_weight: Any, *, number: int = 0, may_weigh_nothing: bool = False
) -> Data:
    """The arrays of one chunk, if the core can train on them."""
    columns = getattr(X, "columns", None)
    X, weight = net._rows(method, X), net._array(method, "sample_weight", sample_weight)
    y = net._array(method, "y", y)
    function = net._row_loss(method, X, y)
    plain = isinstance(weight, np.ndarray) and weight.size > 0 and weight.dtype.kind in REAL_KINDS
    weighs = not (may_weigh_nothing and plain) or bool(weight.any())
    net._core.check(method, X, y, weight, not weighs, function)
    return Data(X, y, weight, function, X.shape[0], number, weighs, method, columns)


class Held:
    """Chunks that are all there, whole arrays being one: checked before anything else happens."""

    def __init__(self, parts: list[Data]) -> None:
        if not any(data.weighs for data in parts):
            raise weightless()
        self.known = parts
        self.rows = sum(data.rows for data in parts)

    def parts(self) -> Iterator[Data]:
        """One pass."""
        return iter(self.known)

    def steps(self, batch_size: int | None, drop_last: bool) -> int:
        """Mini-batches of one pass."""
        return sum(data.batches(batch_size, drop_last)[1] for data in self.parts())

    def check_steps(self, batch_size: int | None, shuffle: bool, drop_last: bool) -> None:
        """Raise ValueError if no epoch can make a step."""
        if not any(data.can_step(batch_size, shuffle, drop_last) for data in self.known):
            raise without_steps(max(data.rows for data in self.known if data.weighs), batch_size)


class Streamed:
    """Chunks that are made anew in each pass; the first is looked at beforehand, the others when they come."""

    def __init__(self, net: "MLP", chunks: Chunks) -> None:
        self._net, self._chunks = net, chunks
        opened = self._open()
        first = next(opened, None)
        if first is None:
            raise ValueError("[fit] X gave no chunks, expected at least one")
        self.known = [_checked_chunk(net, 0, first)]
        self._begun: Iterator[Any] | None = _from_the_first([first], opened)

    def parts(self) -> Iterator[Data]:
        """One pass; the first goes on where the look at the first chunk ended."""
        opened, self._begun = self._begun or self._open(), None
        self.known = []  # memory is one chunk's
        number = 0
        for chunk in opened:
            data = _checked_chunk(self._net, number, chunk)
            del chunk
            yield data
            del data
            number += 1
        if number == 0:
            raise ValueError(
                "[fit] X gave no chunks when asked again, expected a fresh pass each time: a function that makes "
                "its iterator anew, or an iterable that starts over"
            )

    def check_steps(self, batch_size: int | None, shuffle: bool, drop_last: bool) -> None:
        """Do nothing: the rows of the chunks are known only after the first pass."""

    def steps(self, batch_size: int | None, drop_last: bool) -> int:
        """Mini-batches of one pass, by making one."""
        total = 0
        for data in self.parts():
            total += data.batches(batch_size, drop_last)[1]
            del data
        return total

    def _open(self) -> Iterator[Any]:
        made: Any = self._chunks
        if not hasattr(made, "__iter__"):
            made = made()
            if not isinstance(made, Iterable):
                raise TypeError(f"[fit] X() gave {type(made).__name__}, expected an iterable of chunks (X, y)")
        opened: Iterator[Any] = iter(made)
        if opened is self._chunks:
            raise TypeError(
                f"[fit] X is a {type(opened).__name__}, which gives its chunks once; expected a function that makes a "
                "new one for each epoch (pass the generator function itself, not what it returns) or a list of chunks"
            )
        return opened


def _from_the_first(first: list[Any], others: Iterator[Any]) -> Iterator[Any]:
    """As itertools.chain, which would hold the first until the end."""
    yield first.pop()
    yield from others


def source_of(net: "MLP", X: Any, y: Any, sample_weight: Any) -> Held | Streamed:
    """Arrays, or chunks where X is a function or, without y, holds or gives chunks."""
    if not _are_chunks(X, y):
        return Held([checked("fit", net, X, y, sample_weight)])
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"[fit] {name} is given beside chunks, expected None: a chunk is (X, y[, sample_weight])")
    if isinstance(X, (list, tuple)):
        return Held([_checked_chunk(net, number, chunk) for number, chunk in enumerate(X)])
    return Streamed(net, X)


def _are_chunks(X: Any, y: Any) -> bool:
    if any(hasattr(X, name) for name in ("__array__", "nnz")) or isinstance(X, (str, bytes)):
        return False
    if y is not None:
        return callable(X) and not isinstance(X, type)
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and isinstance(X[0], tuple) and _is_chunk(X[0])
    return callable(X) or isinstance(X, Iterable)


def _is_chunk(given: Any) -> bool:
    """Two or three things with an axis: a tuple of numbers is a row."""
    return (
        isinstance(given, (tuple, list))
        and len(given) in (2, 3)
        and all(isinstance(part, (list, tuple)) or len(getattr(part, "shape", ())) > 0 for part in given[:2])
    )


def _checked_chunk(net: "MLP", number: int, chunk: Any) -> Data:
    if not _is_chunk(chunk):
        raise TypeError(f"[fit] chunk {number} of X is {type(chunk).__name__}, {EXPECTED}")
    weight = chunk[2] if len(chunk) == 3 else None
    return checked(f"fit: chunk {number}", net, chunk[0], chunk[1], weight, number=number, may_weigh_nothing=True)

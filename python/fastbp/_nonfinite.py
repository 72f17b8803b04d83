"""Find the cause of a loss that is not finite: a number in the data or the parameters, or divergence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._device import host, read_back
from ._functions import REAL_KINDS
from ._parameters import entry_name

if TYPE_CHECKING:
    from ._chunks import Data
    from ._network import Network

BLOCK_NUMBERS = 2**20  # numbers of the data to read at a time: X may be a memory map


@dataclass
class Search:
    """The result for one array: the first number that is not finite, in words, or else the largest magnitude."""

    place: str = ""
    cure: str = ""
    peak: float = 0.0


def explained(
    error: FloatingPointError, net: "Network", data: "Data", when: str, first: bool, smaller_steps: str
) -> FloatingPointError:
    """Return the core's error with its cause added, and an error of the caller's code unchanged.

    `when`: the epoch and step. `first`: whether this is the first step. `smaller_steps`: the cure for steps that are
    too long.
    """
    prefix, _, what = str(error).partition("] ")
    method = data.method.partition(":")[0]
    if prefix != f"[{method}" or not what:
        return error
    if what.startswith("the gradient"):
        what = f"{when}: {what}"
    elif "step" not in what:
        what += f" in {when}"
    text = cause_in_data(net, data, with_y=first or data.function is None)
    if text:
        return FloatingPointError(f"[{data.method}] {text[0]}: {what}. {text[1]}")
    if first and (where := place_of_nonfinite(net, data)):
        return FloatingPointError(f"[{data.method}] {where}: {what}. Set finite parameters, or make the net again")
    if rate := negative_rate(net, data):
        cure = "Use output_activation 'exp' or 'softplus', whose outputs are positive"
        return FloatingPointError(f"[{data.method}] {rate}: {what}. {cure}")
    searched = {name: search(net, data, name) for name in ("X", "y")}
    scales = [(name, found.peak) for name, found in searched.items()]
    reach = " and ".join(f"{name} reaches {peak:.4g}" for name, peak in scales if peak)
    scaled = ", ".join(f"divide {name} by {peak:.4g} or standardise it" for name, peak in scales if peak > 10)
    advice = f"scale the data: {scaled}" if scaled else "scale the data to magnitudes of about 1"
    if first:
        cause = "It is the first one, before any step"
        others = "or start from smaller parameters"
        if net.dtype == np.float32:
            others += f", or {data.float64}"
        if data.function is not None:
            others += ", or check the loss function's results for nan"
        advice = f"{advice}, {others}"
    else:
        cause, advice = "The training diverged", f"{smaller_steps}, or {advice}"
    finite = "the data are finite"
    if searched["y"].place:  # targets of a loss function, which may handle nan in y
        cause += f", or the loss function does not handle a target: {searched['y'].place}"
        finite, advice = "X is finite", f"{advice}, or let the loss function skip such targets"
    return FloatingPointError(f"[{data.method}] {what}. {cause}, and {finite}: {reach}. To fix it, {advice}")


def cause_in_data(net: "Network", data: "Data", with_y: bool = True) -> tuple[str, str] | None:
    """Return the first number of the data that is not finite in the net's dtype, and the cure; None if there is none.

    Rows and outputs of weight 0 are ignored.
    """
    for name in ("X", "y", "sample_weight") if with_y else ("X", "sample_weight"):
        found = search(net, data, name)
        if found.place:
            return found.place, found.cure
    return None


def place_of_nonfinite(net: "Network", data: "Data") -> str:
    """Return the place of a number that is not finite, in the data or else in the parameters; "" if there is none."""
    found = cause_in_data(net, data)
    if found:
        return found[0]
    params = host(net.params)
    bad = np.flatnonzero(~np.isfinite(params))
    return f"net.params is {params[bad[0]]} in {entry_name(net, int(bad[0]))}" if len(bad) else ""


def negative_rate(net: "Network", data: "Data") -> str:
    """Return the place of a rate where poisson is infinite: below 0, or 0 with a count above 0; "" if there is none."""
    if net.loss != "poisson":
        return ""
    outputs = host(net._core.forward(net.params, data.X, None))
    counts = _counts(net, data, slice(None))
    y = np.asarray(read_back(net.device, data.method, "y", data.y)).reshape(outputs.shape)
    infinite = (outputs < 0) | ((outputs == 0) & (y > 0))
    bad = np.argwhere(infinite & (counts if counts.ndim == 2 else counts[:, None]))
    if not len(bad):
        return ""
    row, column = map(int, bad[0])
    why = "poisson has no negative rates" if outputs[row, column] < 0 else f"its count is {y[row, column]:.4g}"
    return f"output {column} of row {row} is {outputs[row, column]:.4g}, and {why}"


def search(net: "Network", data: "Data", name: str) -> Search:
    """Search X, y or sample_weight block by block."""
    array = getattr(data, name)
    if array is None:
        return Search()
    if hasattr(array, "tocsr"):
        return _search_compressed(net, data, array)
    kind, shape = getattr(getattr(array, "dtype", None), "kind", "f"), array.shape
    if kind not in REAL_KINDS:
        return Search()
    found = Search()
    rows = max(1, BLOCK_NUMBERS // max(1, shape[1] if len(shape) == 2 else 1))
    for begin in range(0, shape[0], rows):
        part = slice(begin, begin + rows)
        block = np.asarray(read_back(net.device, data.method, name, array[part]))
        counts = _counts(net, data, part)
        if name == "X" or counts.shape != block.shape:
            counts = counts.any(axis=1) if counts.ndim == 2 else counts
            counts = np.broadcast_to(counts[:, None] if block.ndim == 2 else counts, block.shape)
        bad = np.argwhere(~_fits(net, block) & counts)
        if len(bad):
            return _named(name, block[tuple(bad[0])], net, [begin + int(bad[0][0]), *map(int, bad[0][1:])], data)
        found.peak = max(found.peak, _peak(block, counts))
    return found


def _search_compressed(net: "Network", data: "Data", X: Any) -> Search:
    found = Search()
    end = int(X.indptr[-1])
    for begin in range(0, end, BLOCK_NUMBERS):
        block = X.data[begin : min(begin + BLOCK_NUMBERS, end)]
        rows = np.searchsorted(X.indptr, begin + np.arange(len(block)), side="right") - 1
        counts = _counts(net, data, slice(int(rows[0]), int(rows[-1]) + 1))
        counted = (counts.any(axis=1) if counts.ndim == 2 else counts)[rows - rows[0]]
        bad = np.flatnonzero(~_fits(net, block) & counted)
        if len(bad):
            k = int(bad[0])
            return _named("X", block[k], net, [int(rows[k]), int(X.indices[begin + k])], data)
        found.peak = max(found.peak, _peak(block, counted))
    return found


def _counts(net: "Network", data: "Data", rows: slice) -> Any:
    """Return whether each row, or each of its outputs, has a weight other than 0."""
    if data.sample_weight is None:
        begin, end, _ = rows.indices(data.X.shape[0])
        return np.ones(end - begin, bool)
    weight = read_back(net.device, data.method, "sample_weight", data.sample_weight[rows])
    return np.asarray(weight) != 0


def _fits(net: "Network", block: Any) -> Any:
    """Return whether each number is finite in the net's dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(block.astype(net.dtype, copy=False))


def _peak(block: Any, counts: Any) -> float:
    """Return the largest magnitude of the numbers with a weight other than 0."""
    if block.size == 0 or block.dtype.kind == "b":
        return float((block & counts).any())
    return max(float(block.max(initial=0, where=counts)), -float(block.min(initial=0, where=counts)))


def _named(name: str, value: Any, net: "Network", place: list[int], data: "Data") -> Search:
    columns = data.columns if name == "X" and len(place) == 2 else None
    column = "" if columns is None else f" (column {columns[place[1]]!r})"
    where = f"{name}[{', '.join(map(str, place))}]{column}"
    if np.isfinite(value):
        wider = f", or {data.float64}" if net.dtype == np.float32 else ""
        return Search(f"{where} is {value!s}, beyond {net.dtype}", f"Scale {name}{wider}")
    cure = "Replace such numbers or leave out their rows; rows of sample_weight 0 are skipped"
    return Search(f"{where} is {value!s}", cure)

"""The algorithm over a backend that a team shares, by the private extension: any number of blocks, at any size."""

import importlib.util
import os
from functools import cache
from pathlib import Path

import numpy as np

from differential.ways import Way
from fastbp._functions import LOSSES, OUTPUT_ACTIVATIONS


@cache
def seam():
    """Return the private extension, which the driver has built."""
    (path,) = Path(os.environ["FASTBP_TEST_BUILD"], "tests").glob("fastbp_seam*.so")
    spec = importlib.util.spec_from_file_location("fastbp_seam", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(problem, device, team, blocks, by_outputs=False):
    """A forward and a backward pass; every array is full of nan before. `by_outputs`: w is stored as (d(l), d(l-1))."""
    if not problem.finite and problem.weights:
        return {}  # rows of weight 0 are blanked before a pass, by what calls the algorithm
    data, bits = problem.data(), "32" if problem.dtype == "float32" else "64"

    def blank(*shape):
        return np.full(shape, np.nan, problem.dtype)

    lists, n, widths = seam().Lists(), problem.rows, problem.sizes[1:]
    w, lists.b = parts_of(data.params, problem.sizes)
    lists.w = [np.ascontiguousarray(a.T).T if by_outputs else np.ascontiguousarray(a) for a in w]
    lists.g = [(OUTPUT_ACTIVATIONS[name], a) for name, a in problem.activations]
    values = {name: [blank(n, d) for d in widths] for name in ("s", "x", "delta")}
    lists.s, lists.x, lists.delta = values["s"], values["x"], values["delta"]
    lists.sink_w, lists.sink_b = [np.full_like(a, np.nan) for a in lists.w], [blank(d) for d in widths]
    sinks, input_grad = (lists.sink_w, lists.sink_b), blank(n, problem.sizes[0])
    classes = data.y.astype(np.int32) if problem.targets == "classes" else None
    name, p = problem.loss
    parameter = np.full(widths[-1], p, problem.dtype) if p else None
    c = None if data.c is None else np.ascontiguousarray(data.c_dense)
    scale = 1 / data.count() if problem.reduction == "mean" else 1.0
    getattr(seam(), f"forward{bits}")(device, team, blocks, lists, data.X)
    loss = getattr(seam(), f"backward{bits}")(
        device, team, blocks, lists, data.X, LOSSES[name], parameter, None if classes is not None else data.y, classes,
        c, scale, (1.0, 0.0), input_grad,
    )  # fmt: skip
    found = {"loss": np.asarray(loss), "forward": values["x"][-1], "input_grad": input_grad}
    if not (problem.reduction == "mean" and (problem.l2 or problem.l1)):
        parts = [part.ravel() for pair in zip(*sinks, strict=True) for part in pair]
        found["grad"] = np.concatenate(parts)
    return found | {f"deltas[{k}]": delta for k, delta in enumerate(values["delta"])}


def parts_of(params, sizes):
    from fastbp import reference

    return reference.views(params, sizes)


def way(device, team, blocks, base=None, **options):
    chosen = (("device", device), ("team", team), ("blocks", blocks), *options.items())
    suffix = ", (out, in)" if options else ""
    name = f"{blocks} blocks on {device}, team of {team}{suffix}"
    return Way(name, "cooperative:results", chosen, needs="seam", same_bits_as=base)


ALONE = way("cpu", 1, 3)
WAYS = [
    ALONE,
    way("cpu", 2, 3, ALONE.name),
    way("cpu", 4, 3, ALONE.name),
    way("cpu", 3, 7),
    way("cpu", 2, 4, by_outputs=True),
    way("plain", 2, 5),
]

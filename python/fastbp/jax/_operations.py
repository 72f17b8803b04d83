"""The three operations of the core on JAX arrays, and what `jax.vmap` makes of them.

All arrays begin with an axis of problems: independent passes of equal shape that one call runs through. `vmap` adds
its axis to the rows where all of them are passed through the same net to results of their own, which is one large
pass; else to the problems.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from ._architecture import Architecture, cached_with_net, kept_per_row
from ._ways import CALLS

# What the operands behind the parameters and the results are: rows (E, N, d) that the net passes on one by one, or of a
# whole problem (E, ..). A pull_back's gradients by the parameters come before its results here.
OF_ROWS = {
    "forward": ((True,), (True, False)),  # x -> x(L), kept
    "pull_back": ((True, False, True), (True,)),  # x, kept, cotangent -> input_grad
    "push_forward": ((True, False, True, True), (True, False, True)),  # x, both dots, cotangent -> dots
}


def operate(net: Architecture, name: str, wanted: Sequence[bool], params: Sequence[Any], *operands: Any) -> list[Any]:
    """The results that are wanted, None for the others. An operand may be None: not given.

    `pull_back` without a kept forward pass makes one. Its results are the gradients by w(1), b(1), .., and by x.
    """
    return list(_operation(net, name, tuple(wanted))(*params, *operands))


def _of_rows(net: Architecture, name: str) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """OF_ROWS of all operands and of all results."""
    operands, results = OF_ROWS[name]
    params = (False,) * len(net.part_shapes)
    return params + operands, (params if name == "pull_back" else ()) + results


@cached_with_net
def _operation(net: Architecture, name: str, wanted: tuple[bool, ...]) -> Any:
    operation = custom_vmap(lambda *operands: _call(net, name, wanted, operands))

    @operation.def_vmap
    def _(size: int, batched: Sequence[Any], *operands: Any) -> tuple[list[Any], list[Any]]:
        moved = [None if given is None else bool(flag) for given, flag in zip(operands, batched, strict=True)]
        if size == 0:
            found = _nothing(net, name, wanted, moved, operands)
            return found, [None if array is None else True for array in found]
        into = _into_rows if _rows_alone(net, name, wanted, moved) else _into_problems
        of_rows, _ = _of_rows(net, name)
        found = into(of_rows, size, moved, operands, lambda *larger: _operation(net, name, wanted)(*larger))
        return found, [None if array is None else True for array in found]

    return operation


def _call(net: Architecture, name: str, wanted: tuple[bool, ...], operands: Sequence[Any]) -> list[Any]:
    if name == "pull_back" and operands[-2] is None:
        *passed, _, cotangent = operands
        operands = *passed, _call(net, "forward", (False, True), passed)[1], cotangent
    return CALLS[net.way](net, name, operands, _result_shapes(net, name, wanted, operands))


def _result_shapes(net: Architecture, name: str, wanted: tuple[bool, ...], operands: Sequence[Any]) -> list[Any]:
    x = operands[len(net.part_shapes)]
    problems, n = _problems(operands), x.shape[1]
    inputs, outputs = (n, net.widths[0]), (n, net.widths[-1])
    count, kept = (net.parameter_count,), (n * kept_per_row(net),)
    shapes = {
        "forward": [outputs, kept], "pull_back": [*net.part_shapes, inputs], "push_forward": [outputs, count, inputs],
    }[name]  # fmt: skip
    return [
        jax.ShapeDtypeStruct((problems, *shape), x.dtype) if want else None
        for shape, want in zip(shapes, wanted, strict=True)
    ]


def _nothing(
    net: Architecture, name: str, wanted: tuple[bool, ...], batched: list[Any], operands: Sequence[Any]
) -> list[Any]:
    """The results of vmap over an axis of length 0: forms without numbers."""
    one = [
        None if array is None else jax.ShapeDtypeStruct(array.shape[1:] if flag else array.shape, array.dtype)
        for array, flag in zip(operands, batched, strict=True)
    ]
    shapes = _result_shapes(net, name, wanted, one)
    return [None if shape is None else jnp.zeros((0, *shape.shape), shape.dtype) for shape in shapes]


def _problems(arrays: Sequence[Any]) -> int:
    return max(array.shape[0] for array in arrays if array is not None)


def _rows_alone(net: Architecture, name: str, wanted: tuple[bool, ...], batched: list[Any]) -> bool:
    """Whether more rows do: no wanted result belongs to a whole problem, no operand that does changes with the rows."""
    operands, results = _of_rows(net, name)
    if name == "pull_back" and batched[-2] is not None:  # a kept forward pass has its number of rows
        return False
    shared = not any(flag for flag, of_rows in zip(batched, operands, strict=True) if not of_rows)
    return shared and all(of_rows for want, of_rows in zip(wanted, results, strict=True) if want)


def _into_rows(
    of_rows: Sequence[bool], size: int, batched: list[Any], operands: Sequence[Any], run: Any
) -> list[Any]:
    def more_rows(array: Any, flag: bool) -> Any:
        problems, n, d = array.shape[-3:]
        stacked = jnp.moveaxis(array, 0, 1) if flag else jnp.broadcast_to(array[:, None], (problems, size, n, d))
        return stacked.reshape(problems, size * n, d)

    larger = [
        more_rows(array, flag) if rowwise and array is not None else array
        for array, flag, rowwise in zip(operands, batched, of_rows, strict=True)
    ]
    found = run(*larger)
    return [
        None if a is None else jnp.moveaxis(a.reshape(a.shape[0], size, -1, a.shape[2]), 1, 0) for a in found
    ]


def _into_problems(
    _: Sequence[bool], size: int, batched: list[Any], operands: Sequence[Any], run: Any
) -> list[Any]:
    before = max(
        array.shape[1 if flag else 0] for array, flag in zip(operands, batched, strict=True) if array is not None
    )

    def more_problems(array: Any, flag: bool) -> Any:
        if not flag and array.shape[0] == 1:
            return array
        rest = array.shape[2 if flag else 1 :]
        return jnp.broadcast_to(array, (size, before, *rest)).reshape(size * before, *rest)

    larger = [
        None if array is None else more_problems(array, flag) for array, flag in zip(operands, batched, strict=True)
    ]
    return [None if a is None else a.reshape(size, before, *a.shape[1:]) for a in run(*larger)]

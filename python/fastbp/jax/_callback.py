"""By Python: `jax.pure_callback`, and the core as fastbp itself calls it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ._architecture import Architecture, core_net
from ._params import divided

Array = NDArray[Any]


def call(net: Architecture, name: str, operands: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """As `_ffi.call`."""
    given = tuple(array is not None for array in operands)
    wanted = tuple(shape is not None for shape in results)
    shapes = [shape for shape in results if shape is not None]
    arrays = [array for array in operands if array is not None]
    found = iter(jax.pure_callback(_host(net, name, given, wanted), shapes, *arrays))
    return [next(found) if want else None for want in wanted]


@cache
def _host(net: Architecture, name: str, given: tuple[bool, ...], wanted: tuple[bool, ...]) -> Any:
    """The function that JAX calls; one and the same object for a call, by which JAX knows it again."""

    def run(*arrays: Any) -> list[Array]:
        present = iter([np.asarray(array) for array in arrays])
        operands = [next(present) if is_given else None for is_given in given]
        problems = max(array.shape[0] for array in operands if array is not None)
        each = [_one_problem(net, name, [_part(a, e) for a in operands], wanted) for e in range(problems)]
        return [np.stack(parts) for parts in zip(*each, strict=True)]

    return run


def _part(array: Array | None, problem: int) -> Array | None:
    return None if array is None else array[problem if len(array) > 1 else 0]


def _one_problem(net: Architecture, name: str, operands: list[Any], wanted: tuple[bool, ...]) -> list[Array]:
    count = len(net.part_shapes)
    params, (x, *rest) = operands[:count], operands[count:]
    core = core_net(net, x.dtype)
    if name == "forward":
        found = core.forward_kept(params, x) if wanted[1] else (core.forward(params, x, None),)
        return [array for array, want in zip(found, wanted, strict=False) if want]
    if name == "pull_back":
        kept, cotangent = rest
        grad, input_grad = core.pull_back(params, x, kept, cotangent, wanted[0], wanted[-1])
        grads = [] if grad is None else [part[0] for part in divided(net, grad[None])]
        return grads if input_grad is None else [*grads, input_grad]
    params_dot, x_dot, cotangent = rest
    names = ("output_dot", "grad_dot", "input_grad_dot")
    dots = core.push_forward(
        "jvp", params, x, None, None, True, None, params_dot, x_dot, cotangent, False, None,
        [quantity for quantity, want in zip(names, wanted, strict=True) if want],
    )  # fmt: skip
    return list(dots.values())

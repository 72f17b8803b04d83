"""By Python: `jax.pure_callback`, and the core as fastbp itself calls it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ._architecture import Architecture, cached_with_net, core_net
from ._params import divided, joined

Array = NDArray[Any]


def call(net: Architecture, name: str, operands: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """As `_ffi.call`; the parts go as one vector, for each array costs JAX tens of microseconds on the way."""
    count = len(net.part_shapes)
    operands = [joined(operands[:count]), *operands[count:]]
    if name != "pull_back":
        return _called(net, name, operands, results)
    *of_parts, of_input = results
    grad, input_grad = _called(net, name, operands, [_one_vector(net, of_parts), of_input])
    return [*([None] * count if grad is None else divided(net, grad)), input_grad]


def _one_vector(net: Architecture, parts: Sequence[Any]) -> Any:
    first = parts[0]
    return None if first is None else jax.ShapeDtypeStruct((first.shape[0], net.parameter_count), first.dtype)


def _called(net: Architecture, name: str, operands: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    given = tuple(array is not None for array in operands)
    wanted = tuple(shape is not None for shape in results)
    shapes = [shape for shape in results if shape is not None]
    arrays = [array for array in operands if array is not None]
    found = iter(jax.pure_callback(_host(net, name, given, wanted), shapes, *arrays))
    return [next(found) if want else None for want in wanted]


@cached_with_net
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
    params, x, *rest = operands
    core = core_net(net, x.dtype)
    found: Sequence[Array | None]
    if name == "forward":
        found = core.forward_kept(params, x) if wanted[1] else (core.forward(params, x, None), None)
    elif name == "pull_back":
        kept, cotangent = rest
        found = core.pull_back(params, x, kept, cotangent, *wanted)
    else:
        params_dot, x_dot, cotangent = rest
        names = [n for n, want in zip(("output_dot", "grad_dot", "input_grad_dot"), wanted, strict=True) if want]
        return list(
            core.push_forward(
                "jvp", params, x, None, None, "sum", None, params_dot, x_dot, cotangent, False, None, names
            ).values()
        )
    return [array for array, want in zip(found, wanted, strict=True) if want and array is not None]

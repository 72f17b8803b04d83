"""Raise an error for forward mode that names the alternatives; JAX's own error speaks of custom functions.

A net's arguments pass through a primitive that returns its operand. Its derivative is a second primitive. Reverse mode
only transposes the second one. Forward mode evaluates, batches or lowers it, and each of these raises the error. Taylor
mode (`jax.experimental.jet`) looks up a rule of the first primitive, which raises the error too.
"""

from typing import Any, NoReturn

import jax
from jax.experimental import jet
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

TEXT = (
    "[apply] forward mode, which jax.jvp, jacfwd, hessian, linearize and jet use, is not available for a net of "
    "fastbp.jax: use fastbp.jax.jvp or fastbp.jax.hvp along a direction, or jax.jacrev(jax.grad(f)) for a Hessian"
)

_operand = Primitive("fastbp_operand")
_tangent = Primitive("fastbp_tangent")


def in_reverse_mode_only(arrays: Any) -> Any:
    """Return the arrays, a pytree; forward mode through them raises TypeError."""
    return jax.tree.map(lambda a: _operand.bind(a) if isinstance(a, jax.core.Tracer) else a, arrays)


def _refuse(*arguments: Any, **options: Any) -> NoReturn:
    raise TypeError(TEXT)


def _differentiate(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (array,), (tangent,) = primals, tangents
    zero = type(tangent) is ad.Zero
    return _operand.bind(array), tangent if zero else _tangent.bind(tangent)


_operand.def_impl(lambda array: array)
_operand.def_abstract_eval(lambda array: array)
batching.primitive_batchers[_operand] = lambda arrays, axes: (_operand.bind(*arrays), axes[0])
mlir.register_lowering(_operand, lambda context, array: [array])
ad.primitive_jvps[_operand] = _differentiate
jet.jet_rules[_operand] = _refuse

_tangent.def_impl(_refuse)
_tangent.def_abstract_eval(lambda tangent: tangent)
batching.primitive_batchers[_tangent] = _refuse
mlir.register_lowering(_tangent, _refuse)
ad.primitive_jvps[_tangent] = _refuse
ad.primitive_transposes[_tangent] = lambda cotangent, tangent: [cotangent]

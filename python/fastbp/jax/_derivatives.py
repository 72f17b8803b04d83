"""The operations with their derivatives, each of which is the next operation: equations (1) to (11).

The derivative of the forward pass is the pullback; that of the pullback, along a direction in what it gives back, is
the R-operator, by the symmetry of second derivatives of the sum of cotangent * x(L). Where the derivative by an
argument is not asked for, which the trace knows, it is not computed.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from ._architecture import Architecture
from ._operations import operate
from ._params import divided, joined


def _unless_zero(cotangent: Any) -> Any:
    return None if isinstance(cotangent, SymbolicZero) else cotangent


def _unless_zeros(cotangents: Any) -> Any:
    """A direction (E, P) from the cotangents of the parts."""
    if cotangents is None or all(isinstance(c, SymbolicZero) for c in cotangents):
        return None
    return joined(jnp.zeros(c.shape, c.dtype) if isinstance(c, SymbolicZero) else c for c in cotangents)


def _values(params: Any) -> Any:
    return tuple(part.value for part in params)


def _perturbed(params: Any) -> bool:
    return any(part.perturbed for part in params)


def _mark(perturbed: bool) -> tuple[()] | None:
    """A fact about the trace, carried to the backward rule in the form of the residuals."""
    return () if perturbed else None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def forward(net: Architecture, params: Any, x: Any) -> Any:
    """x(L) (E, N, d(L)) from params, the parts (E, ..), and x (E, N, d(0))."""
    return operate(net, "forward", (True, False), params, x)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def forward_kept(net: Architecture, params: Any, x: Any) -> tuple[Any, Any]:
    """x(L), and what a pullback needs. The latter counts as a constant: who uses it knows its derivative."""
    out, kept = operate(net, "forward", (True, True), params, x)
    return out, kept


def _forward_rule(net: Architecture, params: Any, x: Any) -> tuple[Any, Any]:
    values = _values(params)
    if _perturbed(params):
        out, kept = forward_kept(net, values, x.value)
    else:
        out, kept = forward(net, values, x.value), None
    return out, (values, x.value, kept, _mark(x.perturbed))


def _forward_kept_rule(net: Architecture, params: Any, x: Any) -> tuple[Any, Any]:
    values = _values(params)
    out, kept = forward_kept(net, values, x.value)
    return (out, kept), (values, x.value, kept if _perturbed(params) else None, _mark(x.perturbed))


def _pulled_back(net: Architecture, residuals: Any, cotangent: Any) -> tuple[Any, Any]:
    params, x, kept, x_perturbed = residuals
    c = _unless_zero(cotangent)
    wanted = kept is not None, x_perturbed is not None
    return (None, None) if c is None else pull_back(net, wanted, params, x, kept, c)


forward.defvjp(_forward_rule, _pulled_back, symbolic_zeros=True)
forward_kept.defvjp(
    _forward_kept_rule, lambda net, residuals, cotangents: _pulled_back(net, residuals, cotangents[0]),
    symbolic_zeros=True,
)  # fmt: skip


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def pull_back(net: Architecture, wanted: tuple[bool, bool], params: Any, x: Any, kept: Any, cotangent: Any) -> Any:
    """Of the gradients by params, as these, and by x (E, N, d(0)) those that are wanted."""
    each = (*[wanted[0]] * len(params), wanted[1])
    *grads, input_grad = operate(net, "pull_back", each, params, x, kept, cotangent)
    return tuple(grads) if wanted[0] else None, input_grad


def _pull_back_rule(
    net: Architecture, wanted: tuple[bool, bool], params: Any, x: Any, kept: Any, cotangent: Any
) -> tuple[Any, Any]:
    values = _values(params)
    found = pull_back(net, wanted, values, x.value, None if kept is None else kept.value, cotangent.value)
    marks = [_mark(perturbed) for perturbed in (cotangent.perturbed, _perturbed(params), x.perturbed)]
    return found, (values, x.value, cotangent.value, marks)


def _along_gradients(net: Architecture, wanted: tuple[bool, bool], residuals: Any, dots: Any) -> tuple[Any, ...]:
    params, x, cotangent, marks = residuals
    params_dot, x_dot = _unless_zeros(dots[0]), _unless_zero(dots[1])
    if params_dot is None and x_dot is None:
        return None, None, None, None
    asked = tuple(mark is not None for mark in marks)
    c = cotangent if any(asked[1:]) else None
    output_dot, grad_dot, input_grad_dot = push_forward(net, asked, params, x, params_dot, x_dot, c)
    return None if grad_dot is None else divided(net, grad_dot), input_grad_dot, None, output_dot


pull_back.defvjp(_pull_back_rule, _along_gradients, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def push_forward(
    net: Architecture, wanted: tuple[bool, ...], params: Any, x: Any, params_dot: Any, x_dot: Any, cotangent: Any
) -> Any:
    """Of output_dot, grad_dot (E, P) and input_grad_dot, along params_dot (E, P) and x_dot, those that are wanted."""
    found = operate(net, "push_forward", wanted, params, x, params_dot, x_dot, cotangent)
    return tuple(found)


def _push_forward_rule(
    net: Architecture, wanted: tuple[bool, ...], params: Any, x: Any, params_dot: Any, x_dot: Any, cotangent: Any
) -> tuple[Any, Any]:
    if wanted[1] or wanted[2]:
        raise NotImplementedError("[apply] third derivatives are not available: differentiate twice at most")
    arguments = x, params_dot, x_dot
    values = [_values(params), *(None if argument is None else argument.value for argument in arguments)]
    marks = [_mark(_perturbed(params)), *(a if a is None else _mark(a.perturbed) for a in arguments)]
    return push_forward(net, wanted, *values, None), (values, marks)


def _along_output_dot(net: Architecture, wanted: tuple[bool, ...], residuals: Any, cotangents: Any) -> tuple[Any, ...]:
    (params, x, params_dot, x_dot), marks = residuals
    c = _unless_zero(cotangents[0])
    if c is None:
        return (None,) * 5
    by_params, by_x, by_params_dot, by_x_dot = (mark is not None for mark in marks)
    grad_dot = input_grad_dot = grads = input_grad = None
    if by_params or by_x:
        _, grad_dot, input_grad_dot = push_forward(net, (False, by_params, by_x), params, x, params_dot, x_dot, c)
    if by_params_dot or by_x_dot:
        grads, input_grad = pull_back(net, (by_params_dot, by_x_dot), params, x, None, c)
    return (
        None if grad_dot is None else divided(net, grad_dot), input_grad_dot,
        None if grads is None else joined(grads), input_grad, None,
    )  # fmt: skip


push_forward.defvjp(_push_forward_rule, _along_output_dot, symbolic_zeros=True)

"""Derivatives along a direction: what forward mode would do, by the core's R-operator."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from . import _derivatives
from ._apply import Apply, as_rows
from ._forward_mode import in_reverse_mode_only
from ._params import divided, joined, layers, parts


def jvp(apply: Apply, primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """The output and its derivative along a direction: ``jax.jvp`` for an ``apply`` of `mlp`.

    May itself be differentiated once more in reverse mode, by all four arguments.

    Parameters
    ----------
    apply : Apply
    primals : (params, x)
        As for ``apply``.
    tangents : (params_dot, x_dot)
        Of the same form; None for one that does not move.

    Returns
    -------
    output, output_dot : jax.Array (.., d(L))

    Raises
    ------
    TypeError, ValueError
        Where an argument is not of the net's form, or both tangents are None.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import fastbp.jax
    >>> _, apply = fastbp.jax.mlp((2, 1))
    >>> params = [{"w": jnp.array([[3.0], [4.0]]), "b": jnp.zeros(1)}]
    >>> fastbp.jax.jvp(apply, (params, jnp.array([1.0, 2.0])), (None, jnp.array([1.0, 0.0])))
    (Array([11.], dtype=float32), Array([3.], dtype=float32))
    """
    net = _net_of("jvp", apply)
    for name, pair in (("primals", primals), ("tangents", tangents)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"[jvp] {name} is {_short(pair)}, expected a pair: one for params and one for x")
    (params, x), (params_dot, x_dot) = primals, tangents
    if params_dot is None and x_dot is None:
        raise TypeError("[jvp] tangents are both None, expected a direction")
    given = parts(net, "jvp", "params", params)
    rows = as_rows(net, "jvp", "x", x, given[0].dtype)
    v = None if params_dot is None else joined(parts(net, "jvp", "params_dot", params_dot)).astype(rows.dtype)
    u = None if x_dot is None else as_rows(net, "jvp", "x_dot", x_dot, rows.dtype)
    if u is not None and jnp.shape(x_dot) != jnp.shape(x):
        raise ValueError(f"[jvp] x_dot has shape {jnp.shape(x_dot)}, expected {jnp.shape(x)}, as x")
    output = apply(params, x)
    if rows.shape[1] == 0:
        return output, output
    given, rows, v, u = in_reverse_mode_only((given, rows, v, u))
    output_dot = _derivatives.push_forward(net, (True, False, False), given, rows, v, u, None)[0]
    return output, output_dot.reshape(output.shape)


def hvp(apply: Apply, loss: Callable[[Any], Any], params: Any, x: Any, params_dot: Any) -> list[dict[str, Any]]:
    """Hessian-vector product: the derivative of the gradient of ``loss(apply(params, x))`` along params_dot.

    The Hessian is never formed; the work is that of less than three gradients (Pearlmutter 1994).

    Parameters
    ----------
    apply : Apply
    loss : callable
        From the output (.., d(L)) to a scalar, in JAX.
    params, x
        As for ``apply``.
    params_dot : list of {"w", "b"}
        The direction.

    Returns
    -------
    list of {"w", "b"}

    Raises
    ------
    TypeError, ValueError
        Where an argument is not of the net's form, or the loss is not a real scalar.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import fastbp.jax
    >>> _, apply = fastbp.jax.mlp((2, 1))
    >>> params = [{"w": jnp.zeros((2, 1)), "b": jnp.zeros(1)}]
    >>> direction = [{"w": jnp.array([[1.0], [0.0]]), "b": jnp.zeros(1)}]
    >>> found = fastbp.jax.hvp(apply, lambda out: jnp.sum(out**2) / 2, params, jnp.array([1.0, 2.0]), direction)
    >>> found[0]["w"].ravel(), found[0]["b"]
    (Array([1., 2.], dtype=float32), Array([1.], dtype=float32))
    """
    net = _net_of("hvp", apply)
    given = parts(net, "hvp", "params", params)
    rows = as_rows(net, "hvp", "x", x, given[0].dtype)
    v = joined(parts(net, "hvp", "params_dot", params_dot)).astype(rows.dtype)
    if rows.shape[1] == 0:
        return layers([jnp.zeros_like(part) for part in given])
    given, rows, v = in_reverse_mode_only((given, rows, v))
    out, kept = _derivatives.forward_kept(net, given, rows)
    shape = (*jnp.shape(x)[:-1], net.widths[-1])
    slope = jax.grad(lambda output: loss(output.reshape(shape)))
    c = slope(out)
    out_dot, curvature, _ = _derivatives.push_forward(net, (True, True, False), given, rows, v, None, c)
    _, c_dot = jax.jvp(slope, (out,), (out_dot,))
    through_loss, _ = _derivatives.pull_back(net, (True, False), given, rows, kept, c_dot)
    return layers([a + b for a, b in zip(divided(net, curvature), through_loss, strict=True)])


def _net_of(method: str, apply: object) -> Any:
    if not isinstance(apply, Apply):
        raise TypeError(f"[{method}] apply is {_short(apply)}, expected the apply that fastbp.jax.mlp gave")
    return apply.net


def _short(value: object) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")

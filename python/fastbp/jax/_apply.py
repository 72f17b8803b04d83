"""The net as a function of its parameters and its input."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from . import _derivatives
from ._architecture import Architecture
from ._forward_mode import in_reverse_mode_only
from ._params import parts


@dataclass(frozen=True)
class Apply:
    """``apply(params, x)``: the output of the net that `mlp` described.

    `mlp` makes it; two of equal nets are equal. It may be differentiated twice in reverse mode, by params and by x;
    `jvp` and `hvp` differentiate along a direction.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import fastbp.jax
    >>> init, apply = fastbp.jax.mlp((2, 1))
    >>> params = [{"w": jnp.array([[3.0], [4.0]]), "b": jnp.zeros(1)}]
    >>> apply(params, jnp.array([1.0, 2.0]))
    Array([11.], dtype=float32)
    >>> jax.grad(lambda x: apply(params, x).sum())(jnp.ones((2, 2)))
    Array([[3., 4.],
           [3., 4.]], dtype=float32)
    """

    net: Architecture

    def __call__(self, params: Any, x: Any) -> Any:
        """x(L) from x.

        Parameters
        ----------
        params : list of {"w": (d(l-1), d(l)), "b": (d(l),)}
            float32 or float64: the type of the computation, to which x is converted.
        x : array_like (.., d(0))
            Rows, in any number of leading dimensions, which make one batch.

        Returns
        -------
        jax.Array (.., d(L))

        Raises
        ------
        TypeError, ValueError
            Where params or x are not of the net's form; under `jit`, while tracing.
        """
        given = in_reverse_mode_only(parts(self.net, "apply", "params", params))
        rows = in_reverse_mode_only(as_rows(self.net, "apply", "x", x, given[0].dtype))
        if rows.shape[1] == 0:
            return jnp.zeros((*jnp.shape(x)[:-1], self.net.widths[-1]), rows.dtype)
        return _derivatives.forward(self.net, given, rows).reshape(*jnp.shape(x)[:-1], self.net.widths[-1])


def as_rows(net: Architecture, method: str, argument: str, x: Any, dtype: Any) -> Any:
    """x (.., d(0)) as the one problem (1, N, d(0)) of the operations."""
    array = jnp.asarray(x)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"[{method}] {argument} has dtype {array.dtype}, expected real numbers")
    if array.shape[-1:] != net.widths[:1]:
        raise ValueError(f"[{method}] {argument} has shape {array.shape}, expected (.., {net.widths[0]})")
    return array.reshape(1, math.prod(array.shape[:-1]), net.widths[0]).astype(dtype)

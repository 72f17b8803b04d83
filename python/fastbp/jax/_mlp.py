"""init and apply of a net."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .._arguments import sizes_of
from .._functions import RELU_LIKE, ActivationSpec, hidden_activations
from .._functions import output_activation as output_activation_of
from ._apply import Apply
from ._architecture import architecture
from ._ways import way_of

Params = list[dict[str, Any]]


def mlp(
    layer_sizes: Sequence[int],
    *,
    activation: ActivationSpec | Sequence[ActivationSpec] = "relu",
    output_activation: ActivationSpec = "identity",
    backend: str = "auto",
) -> tuple[Callable[..., Params], Apply]:
    """A fully connected net as a pair of functions, ``params = init(key)`` and ``x = apply(params, X)``.

    Parameters
    ----------
    layer_sizes : sequence of int
        d(0), .., d(L).
    activation : str or (str, float), or one of them per hidden layer
        As for `fastbp.MLP`.
    output_activation : str or (str, float)
        As for `fastbp.MLP`, but identity unless asked: losses are functions of JAX, on logits.
    backend : {"auto", "ffi", "callback"}
        How XLA reaches the core; see `fastbp.jax.backend`.

    Returns
    -------
    init : callable
        ``init(key, dtype=None)``: a list of ``{"w": (d(l-1), d(l)), "b": (d(l),)}``, an ordinary pytree. As in
        `fastbp.MLP`, w is normal of variance 2 / d(l-1) before activations like relu (He et al. 2015), else uniform
        of variance 2 / (d(l-1) + d(l)) (Glorot and Bengio 2010), and b is 0. dtype is float32 or float64; None: JAX's
        default.
    apply : Apply
        ``apply(params, x)`` (.., d(L)) for x (.., d(0)).

    Raises
    ------
    TypeError, ValueError
        Where an argument is not one of these.
    RuntimeError
        Where backend is "ffi" and the handlers were not compiled.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import fastbp.jax
    >>> init, apply = fastbp.jax.mlp((3, 8, 2), activation="tanh")
    >>> params = init(jax.random.key(0))
    >>> grads = jax.grad(lambda p: jnp.sum(apply(p, jnp.ones((5, 3))) ** 2))(params)
    >>> [layer["w"].shape for layer in grads]
    [(3, 8), (8, 2)]
    """
    widths = sizes_of(layer_sizes)
    hidden = hidden_activations(activation, len(widths) - 2)
    last = output_activation_of(output_activation, None, widths[-1])
    net = architecture(widths, (*hidden, last), way_of(backend))

    def init(key: Any, dtype: Any = None) -> Params:
        if dtype is not None and jnp.dtype(dtype) not in (jnp.float32, jnp.float64):
            raise TypeError(f"[init] dtype is {jnp.dtype(dtype)}, expected float32 or float64")
        keys = jax.random.split(key, len(net.shapes))
        return [_layer(k, *shape, g, dtype) for k, shape, (g, _) in zip(keys, net.shapes, net.activations, strict=True)]

    return init, Apply(net)


def _layer(key: Any, rows: int, cols: int, activation: str, dtype: Any) -> dict[str, Any]:
    if activation in RELU_LIKE:
        w = jax.random.normal(key, (rows, cols), dtype) * (2 / rows) ** 0.5
    else:
        limit = (6 / (rows + cols)) ** 0.5
        w = jax.random.uniform(key, (rows, cols), dtype, -limit, limit)
    return {"w": w, "b": jnp.zeros(cols, w.dtype)}

"""fastbp.jax: fully connected networks as JAX functions, computed by fastbp.

`mlp` makes a pair (init, apply) as JAX's own libraries do. ``apply(params, x)`` stands under ``jit``, ``grad``,
``vmap`` and reverse mode of reverse mode; `jvp` and `hvp` take derivatives along a direction, in place of forward mode,
which ``jax.custom_vjp`` does not have.

Examples
--------
>>> import jax, jax.numpy as jnp
>>> from fastbp.jax import mlp
>>> init, apply = mlp((4, 16, 3))
>>> params = init(jax.random.key(0))
>>> grads = jax.grad(lambda params: apply(params, jnp.ones((8, 4))).sum())(params)
>>> [layer["w"].shape for layer in grads]
[(4, 16), (16, 3)]
"""

try:
    from ._apply import Apply
    from ._mlp import mlp
    from ._tangents import hvp, jvp
    from ._ways import backend
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("jax", "jaxlib"):
        raise
    raise ImportError("fastbp.jax needs JAX 0.10 or newer, which is missing: pip install 'fastbp[jax]'") from error

__all__ = ["Apply", "backend", "hvp", "jvp", "mlp"]

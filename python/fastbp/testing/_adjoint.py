"""A Jacobian and its transpose against each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._numbers import count

Linear = Callable[[Any], ArrayLike]


def check_adjoint(
    jvp: Linear, vjp: Linear, v_shape: int | tuple[int, ...], c_shape: int | tuple[int, ...], *,
    trials: int = 5, seed: int = 0,
) -> float:  # fmt: skip
    """Check that two functions are each other's transpose: c . jvp(v) = v . vjp(c) for random v and c.

    It needs no differences and is exact to rounding. What both get wrong in the same way it cannot see: `taylor_test`
    and `check_gradient` can.

    Parameters
    ----------
    jvp : callable
        ``jvp(v)``: the product of the Jacobian with v.
    vjp : callable
        ``vjp(c)``: the product of its transpose with c.
    v_shape, c_shape : int or tuple of int
        The shapes of v and c.
    trials : int
        How many pairs.
    seed : int
        Of the pairs.

    Returns
    -------
    float
        The largest difference, relative to abs(c) abs(jvp(v)) + abs(v) abs(vjp(c)).

    Raises
    ------
    AssertionError
        Where they differ by more than rounding explains in the type of the results.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.MLP((3, 4, 2), activation="tanh", dtype="float64", seed=0)
    >>> X = np.eye(3)
    >>> pullback = net.vjp(X)[1]
    >>> fb.testing.check_adjoint(lambda v: net.jvp(X, v), lambda c: pullback(c)[0], net.params.shape, (3, 2)) < 1e-12
    True
    """
    trials = count("check_adjoint", "trials", trials, 1)
    rng = np.random.default_rng(seed)
    largest = 0.0
    for _ in range(trials):
        v, c = rng.standard_normal(v_shape), rng.standard_normal(c_shape)
        forward, backward = np.asarray(jvp(v.copy())), np.asarray(vjp(c.copy()))
        for name, found, expected in (("jvp(v)", forward, c.shape), ("vjp(c)", backward, v.shape)):
            if found.shape != expected:
                raise ValueError(f"[check_adjoint] {name} has shape {found.shape}, expected {expected}")
            if found.dtype.kind not in "fiub":
                raise TypeError(f"[check_adjoint] {name} has dtype {found.dtype}, expected real numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            # Divide by the largest entry, so that no square underflows.
            unit = max(float(np.abs(r).max(initial=0.0)) for r in (forward, backward)) or 1.0
            left, right = float(np.vdot(c, forward / unit)), float(np.vdot(v, backward / unit))
            size = float(
                np.linalg.norm(c) * np.linalg.norm(forward / unit) + np.linalg.norm(v) * np.linalg.norm(backward / unit)
            )
            squares = float(np.linalg.norm(forward) + np.linalg.norm(backward))
        if not np.isfinite(squares):
            text = f"c . jvp(v) = {left * unit}"
            raise AssertionError(f"[check_adjoint] jvp(v) or vjp(c) is too large, or not finite: {text}")
        error = abs(left - right) / size if size else 0.0
        if not error <= 100 * max(_eps(forward), _eps(backward)):
            text = f"c . jvp(v) = {left * unit:.9g}, v . vjp(c) = {right * unit:.9g}"
            raise AssertionError(f"[check_adjoint] {text}")
        largest = max(largest, error)
    return largest


def _eps(found: Any) -> float:
    return float(np.finfo(found.dtype if found.dtype.kind == "f" else np.float64).eps)

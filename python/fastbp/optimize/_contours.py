"""Functions of two variables, seen from above."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._plots import new_axes
from ._descent import Function


def plot_contours(
    fun: Function,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    args: tuple[Any, ...] = (),
    jac: bool = False,
    path: ArrayLike | None = None,
    levels: int | ArrayLike = 20,
    points: int = 101,
    ax: Any = None,
) -> Any:
    """Contours of f(x), x = (x_1, x_2), with the path of a descent over them. Needs matplotlib.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float`` for x (2,), or with the gradient where `jac` is True; called points^2 times.
    xlim, ylim : (float, float)
        The rectangle.
    args, jac
        As for `gradient_descent`.
    path : array_like (k, 2), optional
        Such as the path of `gradient_descent`.
    levels : int or array_like
        How many, spread over the quantiles of the values so that valleys and slopes are both seen; or which.
    points : int
        Along each side.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    ``fb.optimize.plot_contours(f, (-2, 2), (-1, 1), path=fb.optimize.gradient_descent(f, [1, 1], jac=df).path)``

    >>> import fastbp as fb
    >>> ax = fb.optimize.plot_contours(lambda x: x @ x, (-1, 1), (-1, 1), path=[[1, 1], [0, 0]])  # doctest: +SKIP
    """
    ax = new_axes() if ax is None else ax
    trail = None if path is None else np.asarray(path, dtype=np.float64)
    if trail is not None and (trail.ndim != 2 or trail.shape[1] != 2):
        raise ValueError(f"[plot_contours] path has shape {trail.shape}, expected (k, 2)")
    first, second = np.linspace(*xlim, points), np.linspace(*ylim, points)
    found = [[fun(np.array([u, v]), *args) for u in first] for v in second]
    values = np.array([[float(pair[0] if jac else pair) for pair in row] for row in found])
    if isinstance(levels, int):
        levels = np.unique(np.nanquantile(values, np.linspace(0, 1, levels + 2)[1:-1]))
    ax.contour(first, second, values, levels=levels, cmap="viridis", linewidths=0.8)
    if trail is not None:
        ax.plot(trail[:, 0], trail[:, 1], "o-", color="crimson", markersize=3, linewidth=1, label="descent")
    ax.set(xlim=xlim, ylim=ylim, xlabel="x_1", ylabel="x_2")
    return ax

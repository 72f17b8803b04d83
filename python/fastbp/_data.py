"""The handwritten digits that are bundled with the package, and a split of classified data."""

from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the UCI optical digits; data/README.md has the source and the licence.

    Returns
    -------
    X : ndarray (1797, 64) of uint8
        Images of 8 x 8 pixels, values 0 to 16.
    y : ndarray (1797,) of int64
        The digits, 0 to 9.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X.shape, int(X.max()), y[:4].tolist()
    ((1797, 64), 16, [0, 1, 2, 3])
    """
    source = files("fastbp").joinpath("data/digits.npz")
    with source.open("rb") as file, np.load(file) as archive:
        return archive["X"], archive["y"].astype(np.int64)


def stratified_split(y: ArrayLike, fraction: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows at random, with the same fraction of every class.

    Parameters
    ----------
    y : array_like (N,)
        The class of each row.
    fraction : float
        Of each class, rounded to whole rows, in the second part; from 0 to 1.
    seed : int
        Of the choice.

    Returns
    -------
    first, second : ndarray of int
        Row numbers, ascending.

    Examples
    --------
    >>> first, second = stratified_split([0, 0, 0, 0, 1, 1, 1, 1], 0.25, seed=0)
    >>> len(first), len(second)
    (6, 2)
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction!r}, expected a number from 0 to 1")
    classes: NDArray[Any] = np.asarray(y)
    chosen = np.zeros(len(classes), dtype=bool)
    rng = np.random.default_rng(seed)
    for name in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == name))
        chosen[rows[: round(fraction * len(rows))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)

"""Unchanged code on fastbp: the classes of sklearn.neural_network, swapped."""

from typing import Any

import sklearn.neural_network as scikit_learns

from ._classifier import MLPClassifier
from ._regressor import MLPRegressor

OURS = (MLPClassifier, MLPRegressor)
_originals: dict[str, Any] = {}


def patch() -> None:
    """Let ``sklearn.neural_network.MLPClassifier`` and ``MLPRegressor`` be fastbp's, until `unpatch`.

    Seen by every import that comes later; what was imported before, and what was fitted, stays what it is.
    Calling it again changes nothing.

    Examples
    --------
    >>> import fastbp.sklearn
    >>> fastbp.sklearn.patch()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is fastbp.sklearn.MLPClassifier
    True
    >>> fastbp.sklearn.unpatch()
    """
    for ours in OURS:
        _originals.setdefault(ours.__name__, getattr(scikit_learns, ours.__name__))
        setattr(scikit_learns, ours.__name__, ours)


def unpatch() -> None:
    """Give ``sklearn.neural_network`` back the classes that `patch` found there; without a patch, nothing.

    Examples
    --------
    >>> import fastbp.sklearn, sklearn.neural_network
    >>> fastbp.sklearn.patch()
    >>> fastbp.sklearn.unpatch()
    >>> sklearn.neural_network.MLPClassifier.__module__.split(".")[0]
    'sklearn'
    """
    while _originals:
        setattr(scikit_learns, *_originals.popitem())

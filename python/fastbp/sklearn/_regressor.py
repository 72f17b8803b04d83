"""fastbp.sklearn.MLPRegressor."""

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples

from ._estimator import Array, Perceptron
from ._parameters import has_epochs, keep
from ._restore import restores_on_failure


class MLPRegressor(RegressorMixin, Perceptron):
    """A regressor in place of scikit-learn's MLPRegressor: the same results up to rounding, sooner.

    Parameters, methods, fitted attributes, warnings and random streams are those of
    `sklearn.neural_network.MLPRegressor`; what is described here is more than there, or differs.

    Parameters
    ----------
    loss : str, Huber, Pinball or callable
        "squared_error", "poisson" (with exp as the output's activation, y >= 0), and those of `fastbp.MLP`: "huber",
        "absolute_error", "pinball", ``fb.Huber(delta)``, ``fb.Pinball(quantile)``, or a function f(y, x) -> (e, dx).
        Of several outputs a loss is the sum, in its value and in its gradient. scikit-learn's squared error has the
        mean in the value and the sum in the gradient: there, loss_ and loss_curve_ are smaller by n_outputs_, tol
        counts for more, and "lbfgs" searches along a slope that is not its function's.
    hidden_layer_sizes, activation, dropout, time_limit, n_threads, device, progress, warm_start
        As in `MLPClassifier`.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose
        As in scikit-learn.
    momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change
        As in scikit-learn.
    max_fun
        As in scikit-learn.

    Attributes
    ----------
    coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, n_iter_, t_
        As in scikit-learn.
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.
    validation_loss_curve_ : list of float
        As in `MLPClassifier`.

    Examples
    --------
    A quantile:

    >>> import numpy as np, fastbp as fb
    >>> from fastbp.sklearn import MLPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.uniform(-1, 1, (2000, 1)), rng.exponential(size=2000)
    >>> model = MLPRegressor(loss=fb.Pinball(quantile=0.9), hidden_layer_sizes=(20,), learning_rate_init=0.01)
    >>> below = X[:, 0] + noise <= model.set_params(random_state=0).fit(X, X[:, 0] + noise).predict(X)
    >>> bool(abs(below.mean() - 0.9) < 0.03)
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool | str = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        time_limit: float | None = None,
        n_threads: int | None = None,
        device: str = "cpu",
        progress: bool | str = False,
    ) -> None:
        keep(self, locals())

    @restores_on_failure
    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Self:
        """Fit to the numbers y.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)
        y : array_like (N,) or (N, n_outputs)
        sample_weight : array_like (N,) or number, optional
        validation_data : (X, y) or (X, y, sample_weight), optional
            As for `MLPClassifier.fit`; the score is R2.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data do not fit, if weights leave nothing to train on or to validate with, or if the
            loss or the parameters are not finite. The estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @available_if(has_epochs)
    @restores_on_failure
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over the data, from where the last call ended; for the solvers "sgd" and "adam" only.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As for `fit`, or with early_stopping.
        """
        return self._fit(X, y, sample_weight, None, incremental=True)

    def predict(self, X: Any) -> Array:
        """The net's outputs.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)

        Returns
        -------
        ndarray (N,), with several outputs (N, n_outputs)
            Of the dtype that the net was fitted with.

        Raises
        ------
        NotFittedError, ValueError
            Before any fit; if X does not fit.
        """
        outputs = self._forward(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R2 of the predictions, without the rows of weight 0.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)
        y : array_like (N,) or (N, n_outputs)
        sample_weight : array_like (N,), optional

        Returns
        -------
        float

        Examples
        --------
        >>> from fastbp.sklearn import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", random_state=0)
        >>> model = model.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
        >>> round(model.score([[0.0], [1.0], [1e300]], [1.0, 3.0, 0.0], sample_weight=[1, 1, 0]), 6)
        1.0
        """
        weighs = np.asarray(1 if sample_weight is None else sample_weight) != 0
        if weighs.ndim == 1 and len(weighs) == _num_samples(X) and weighs.any() and not weighs.all():
            X, y, sample_weight = (_safe_indexing(given, weighs) for given in (X, y, sample_weight))
        score: float = super().score(X, y, sample_weight)
        return score

    def input_gradient(self, X: Any) -> Array:
        """The derivatives of each prediction by its row of X.

        Parameters
        ----------
        X : array_like or sparse (N, n_features)

        Returns
        -------
        ndarray (N, n_features), with several outputs (N, n_outputs, n_features)

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.sklearn import MLPRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
        >>> model = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", random_state=0)
        >>> model.fit(X, 3 * X[:, 0] - X[:, 1]).input_gradient([[0.0, 0.0]]).round(2)
        array([[ 3., -1.]])
        """
        jacobian: Array = self._at(X, lambda net, rows: net.jacobian(rows))
        return jacobian[:, 0] if jacobian.shape[1] == 1 else jacobian

    def _checked_targets(self, method: str, y: Any, reset: bool, all_classes: bool = False) -> Array:
        targets: Array = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return targets

    def _outputs(self, y: Array) -> tuple[int, str, Any]:
        return (1 if y.ndim == 1 else y.shape[1]), ("exp" if self.loss == "poisson" else "identity"), self.loss

    def _score_outputs(self, y: Array, outputs: Array, weight: Any) -> float:
        if weight is not None:
            y, outputs, weight = y[weight != 0], outputs[weight != 0], weight[weight != 0]
        if not np.isfinite(outputs).all():
            return float("nan")
        y = y.reshape(outputs.shape).astype(np.float64)
        with np.errstate(over="ignore"):
            error = np.average((y - outputs) ** 2, axis=0, weights=weight)
        spread = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
        constant = spread == 0
        return float(np.where(constant, error == 0, 1 - error / np.where(constant, 1.0, spread)).mean())

    def _stratifies(self) -> bool:
        return False

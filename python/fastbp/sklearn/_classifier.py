"""fastbp.sklearn.MLPClassifier."""

from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from .._mlp import MLP
from ._class_weights import weights_by_class, weights_by_label
from ._estimator import Array, Perceptron
from ._parameters import has_epochs, keep
from ._restore import restores_on_failure


class MLPClassifier(ClassifierMixin, Perceptron):
    """A classifier in place of scikit-learn's MLPClassifier: the same results up to rounding, sooner.

    Parameters, methods, fitted attributes, warnings and random streams are those of
    `sklearn.neural_network.MLPClassifier`; what is described here is more than there.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers; () for none: logistic regression.
    activation : str, (str, float) or sequence of these
        One for all hidden layers or one for each, of those of `fastbp.MLP`: besides identity, logistic, tanh and relu
        leaky_relu, elu, gelu, silu, softplus and sine. Initial weights are scikit-learn's, Glorot's but for logistic.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose
        As in scikit-learn: alpha is divided by the sum of each mini-batch's weights.
    warm_start : bool or "exact"
        True: a further `fit` begins with the parameters there are, and a fresh optimiser. "exact": with its state, the
        random stream and the split too, as if the last fit had not ended; with early stopping, with its best epoch.
    momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change
        As in scikit-learn.
    max_fun
        As in scikit-learn.
    class_weight : dict, list of dict, "balanced" or None
        Factors on the sample weights by class, 1 for a class that the dict does not name. "balanced": inversely
        proportional to the sum of the class's sample weights. For multilabel targets the factors weight each output:
        one dict with the keys 0 and 1 for all labels, or a list of such dicts, one for each label. `partial_fit` does
        not support "balanced".
    dropout : float or sequence of float
        The part of the units that a step drops: for all hidden layers, or for each. Not with "lbfgs".
    time_limit : float, optional
        Seconds; fit ends, with a ConvergenceWarning, with the epoch in which they pass.
    n_threads : int, optional
        Number of threads that the estimator's calls may use, whatever other threads of the process use. None: the
        number in force, see `fastbp.set_num_threads`.
    device : str
        "cpu".
    progress : bool or "auto"
        A progress bar over the epochs; "auto": where stderr is a terminal.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_
        As in scikit-learn. The arrays of coefs_ and intercepts_ may be written, or replaced, and are then used.
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.
    validation_loss_curve_ : list of float
        Where fit was given validation_data: their mean loss, without the penalty, after each epoch, or each iteration
        of "lbfgs".

    Notes
    -----
    A call that raises leaves every attribute unchanged and restores the state of a RandomState given as random_state.
    Sample weights below 0 raise ValueError. A mini-batch of weight 0 makes no step and does not count in loss_.
    Early stopping needs two rows to score and one to train on with a weight above 0. If the first draw does not give
    them, the rows to score are drawn again from the rows with a weight above 0.
    fit raises scikit-learn's ValueError as soon as the loss is not finite. If early stopping has already scored an
    epoch, it emits a ConvergenceWarning instead and keeps the best epoch's parameters.
    In loss_curve_ the penalty of an epoch of several mini-batches is that of squares of the weights that went straight
    from their value before to that after it.
    With early stopping and warm_start a fit that finds nothing better ends with what was best before it.
    A fitted estimator stores no data of single rows, except the order of the rows with warm_start="exact".
    `set_callbacks` takes scikit-learn's callbacks.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastbp.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20, 10), activation=["gelu", "tanh"], learning_rate_init=0.01, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.95
    True
    >>> model.predict(X[:2])
    array([0, 0])
    >>> model.predict_proba(X[:2]).shape == model.predict_log_proba(X[:2]).shape == (2, 3)
    True
    """

    classes_: Array

    def __init__(
        self,
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
        class_weight: Any = None,
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
        """Fit to the classes y.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)
        y : array_like (N,), or for several labels a row (N, n_labels) of 0 and 1
        sample_weight : array_like (N,) or number, optional
        validation_data : (X, y) or (X, y, sample_weight), optional
            Its mean loss is taken after each epoch; early_stopping goes by its score, and all of X is trained on.

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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One epoch over the data, from where the last call ended; for the solvers "sgd" and "adam" only.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array_like, optional
            All that will ever come; the first call must have them.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As for `fit`; also if classes are missing or differ from the first call, if y changes between one label per
            row and several, or with early_stopping.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.sklearn import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=(5,), random_state=0)
        >>> for chunk in np.split(np.linspace(-1, 1, 200), 4):
        ...     model = model.partial_fit(chunk[:, None], chunk > 0, classes=[False, True])
        >>> model.t_
        200
        """
        self._open_classes(y, classes)
        return self._fit(X, y, sample_weight, None, incremental=True)

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, or its labels.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)

        Returns
        -------
        ndarray (N,) or (N, n_labels)

        Raises
        ------
        NotFittedError, ValueError
            Before any fit; if X does not fit.
        """
        outputs = self._forward(X)
        classes: Array = self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)
        return classes

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class of `classes_`, or of each label.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)

        Returns
        -------
        ndarray (N, n_classes)
            Of the dtype that the net was fitted with. Small probabilities keep their relative accuracy.
        """
        check_is_fitted(self, "coefs_")
        if self.n_outputs_ > 1:
            return self._forward(X)
        s = self._at(X, _summed_inputs)
        probabilities: Array = expit(np.hstack([-s, s]))  # 1 - x is 0 where x rounds to 1
        return probabilities

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`, which is finite even if a probability rounds to 0.

        Parameters
        ----------
        X : array_like, frame or sparse CSR or CSC (N, n_features)

        Returns
        -------
        ndarray (N, n_classes)
            Values below log 1/2 are computed from the output layer's summed inputs, not from rounded probabilities.
        """
        probabilities = self.predict_proba(X)
        s = self._at(X, _summed_inputs)
        if self.out_activation_ == "softmax":
            logarithms: Array = log_softmax(s, axis=1)
        else:
            logarithms = -np.logaddexp(0, np.hstack([s, -s]) if self.n_outputs_ == 1 else -s)
        return np.log(probabilities, out=logarithms, where=probabilities > 0.5)

    def input_gradient(self, X: Any, target: Any = None) -> Array:
        """The derivative of the log-probability of a class by each row of X: what speaks for the class.

        Parameters
        ----------
        X : array_like or sparse (N, n_features)
        target : array_like (N,) or (N, n_labels), optional
            The class, or labels, of each row; None: those predicted. With the true ones the result is minus the
            gradient of the loss by the input, which attacks with the fast gradient sign go by.

        Returns
        -------
        ndarray (N, n_features)

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.sklearn import MLPClassifier
        >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
        >>> model = MLPClassifier(hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit(X, X[:, 0] > 0)
        >>> gradient = model.input_gradient([[0.1, 0.5]], target=[True])
        >>> bool(abs(gradient[0, 0]) > 10 * abs(gradient[0, 1]))
        True
        """
        check_is_fitted(self, "coefs_")
        given = self.predict(X) if target is None else target if issparse(target) else np.asarray(target)
        labels = self._checked_targets("input_gradient", given, reset=False)
        gradient: Array = self._at(
            X, lambda net, rows: -net.backward(rows, labels, reduction="sum", returns="input_grad").input_grad
        )
        return gradient

    def _open_classes(self, y: Any, classes: Any) -> None:
        if classes is None:
            if not hasattr(self, "classes_"):
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return
        labels = unique_labels(classes)
        if hasattr(self, "classes_"):
            if not np.array_equal(self.classes_, labels):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
                )
            return
        self.classes_, several = labels, _has_several_labels(y)
        self._label_binarizer = LabelBinarizer().fit(y if several else classes)
        if several and len(self._label_binarizer.classes_) != len(labels):
            columns = len(self._label_binarizer.classes_)
            raise ValueError(f"[partial_fit] classes has {len(labels)} labels, y has {columns}: expected as many")

    def _checked_targets(self, method: str, y: Any, reset: bool, all_classes: bool = False) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if reset:
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_kind(method, y)
            self._check_labels(unique_labels(y), all_classes)
        if self._several_labels:
            rows: Array = self._label_binarizer.transform(y)
            return rows
        numbers: Array = np.searchsorted(self.classes_, y)
        return numbers

    @property
    def _several_labels(self) -> bool:
        return bool(self._label_binarizer.y_type_.startswith("multilabel"))

    def _check_kind(self, method: str, y: Any) -> None:
        """Raise ValueError if y has one label per row and the fitted net several, or the reverse."""
        several = _has_several_labels(y)
        if several != self._several_labels:
            found, expected = ("several labels", "one") if several else ("one label", "several, as columns of 0 and 1")
            raise ValueError(f"[{method}] y has {found} in each row, expected {expected}: as in the first fit")
        if several and y.shape[1] != len(self.classes_):
            raise ValueError(
                f"[{method}] y has {y.shape[1]} labels (columns), expected the {len(self.classes_)} of the first fit"
            )

    def _check_labels(self, labels: Array, all_of_them: bool) -> None:
        if all_of_them and set(labels.tolist()) != set(self.classes_.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {labels}"
            )
        if unknown := set(labels.tolist()) - set(self.classes_.tolist()):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {labels}, of which {sorted(unknown)} are new"
            )

    def _class_weights(self, method: str, targets: Array, weight: Any) -> Any:
        if self.class_weight is None:
            return weight
        if method == "partial_fit" and isinstance(self.class_weight, str):
            raise ValueError("[partial_fit] class_weight is 'balanced', expected a dict: other rows are still to come")
        if self._several_labels:
            return weights_by_label(method, self.class_weight, targets, weight)
        return weights_by_class(method, self.class_weight, self.classes_, targets, weight)

    def _outputs(self, y: Array) -> tuple[int, str, Any]:
        if self._label_binarizer.y_type_ == "multiclass":
            return len(self.classes_), "softmax", "cross_entropy"
        return (1 if y.ndim == 1 else y.shape[1]), "logistic", "cross_entropy"

    def _score_outputs(self, y: Array, outputs: Array, weight: Any) -> float:
        if not np.isfinite(outputs).all():
            return float("nan")
        if self.out_activation_ == "softmax":
            right = outputs.argmax(axis=1) == y
        else:
            found = (outputs > 0.5) == (y.reshape(outputs.shape) > 0)
            if weight is not None and weight.ndim == 2:  # a label of weight 0 has no effect
                found, weight = found | (weight == 0), weight.mean(axis=1)
            right = found.all(axis=1)
        return float(np.average(right | (len(self.classes_) == 1), weights=weight))  # one class is always predicted

    def _stratifies(self) -> bool:
        return self.n_outputs_ == 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _summed_inputs(net: MLP, X: Any) -> Array:
    """Return s(L), the argument of the output's softmax or logistic function."""
    return net._sharing(loss=None, output_activation="identity").forward(X)


def _has_several_labels(y: Any) -> bool:
    return bool(type_of_target(y).startswith("multilabel"))

"""What the classifier and the regressor share: one fit from the caller's data to the fitted attributes."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_regressor
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arguments import as_rows
from .._chunks import checked
from .._mlp import MLP
from .._threads import thread_limit
from ._descent import Descent
from ._input import validation_parts, weights_of
from ._lbfgs import minimise
from ._parameters import check_parameters, hidden_widths, layer_activations, listed
from ._problem import Problem, Validation
from ._rounds import Rounds
from ._stochastic import DIVERGED, Course

Array = NDArray[Any]


class Perceptron(CallbackSupportMixin, BaseEstimator, ABC):
    """The estimator's frame; see `MLPClassifier` and `MLPRegressor`."""

    _net: MLP  # whose parameters coefs_ and intercepts_ are views of
    _descent: Descent | None
    _judged_by_scores: bool | None

    @abstractmethod
    def _checked_targets(self, method: str, y: Any, reset: bool, all_classes: bool = False) -> Array:
        """Return the caller's y as the core's targets.

        With reset they define the classes. With all_classes each of the classes must be among them.
        """

    @abstractmethod
    def _outputs(self, y: Array) -> tuple[int, str, Any]:
        """How many outputs the net has for such targets, their activation, and fastbp's loss."""

    @abstractmethod
    def _score_outputs(self, y: Array, outputs: Array, weight: Any) -> float:
        """What early stopping goes by, of targets and outputs."""

    @abstractmethod
    def _stratifies(self) -> bool:
        """Whether the validation rows are to have as many of each class."""

    def _class_weights(self, method: str, targets: Array, weight: Any) -> Any:
        """Return the sample weights, times those of the classes if there are any."""
        return weight

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: Any, incremental: bool = False) -> Self:
        method = "partial_fit" if incremental else "fit"
        net, problem, random = self._begun(method, X, y, sample_weight, validation_data)
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, **problem.given)
        with self._threads(), Rounds(self, net, problem, context) as rounds:
            self._solve(net, problem, rounds, random, incremental)
        if not np.isfinite(net.params).all():
            raise ValueError(DIVERGED)
        if self._descent is not None and self.warm_start != "exact":
            self._descent.close()
            self._best_descent = None
        context.call_on_fit_task_end(estimator=self, **problem.given, reconstruction_attributes={})
        return self

    def _begun(self, method: str, X: Any, y: Any, sample_weight: Any, validation_data: Any) -> tuple[MLP, Problem, Any]:
        """The net to train, what on, and the random stream; the attributes are those of a fit that begins."""
        check_parameters(self)
        incremental = method == "partial_fit"
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validated(X, y, reset=first)
        weight = weights_of(method, sample_weight, X.shape[0], X.dtype)
        targets = self._checked_targets(method, y, first and not incremental, all_classes=bool(self.warm_start))
        weight = self._class_weights(method, targets, weight)
        validation = self._validation(validation_data)
        random = check_random_state(self.random_state)
        net = self._first_net(X, targets, random) if first else self._next_net(method, X, targets)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        given: dict[str, Any] = {"X": X, "y": y, "metadata": metadata}
        problem = Problem(X, targets, weight, checked(method, net, X, targets, weight), validation, given)
        if problem.validation is not None:
            problem.validation.check(net)
        self._net, self.coefs_, self.intercepts_ = net, list(net.weights), list(net.biases)
        if first:
            self.__dict__.pop("validation_loss_curve_", None)
        if problem.validation is not None:
            self.validation_loss_curve_ = getattr(self, "validation_loss_curve_", [])
        return net, problem, random

    def _solve(self, net: MLP, problem: Problem, rounds: Rounds, random: Any, incremental: bool) -> None:
        if self.solver == "lbfgs":
            minimise(self, net, problem, rounds)
            return
        exact = self.warm_start == "exact"
        descent = self._descent
        if descent is None or not descent.fits(self, net) or not (incremental or exact):
            seed = random.randint(2**31) if np.any(self.dropout) else 0
            descent = self._descent = Descent(self, net, seed)
        if descent.random is None or not exact:
            descent.open(random)
        if self._judged_by_scores != self.early_stopping:
            self._open_curves(net)
        Course(self, net, problem, descent, rounds).run(incremental)

    def _open_curves(self, net: MLP) -> None:
        """What fits with warm_start and partial_fit go on with."""
        scores = self._judged_by_scores = bool(self.early_stopping)
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if scores else np.inf
        self.validation_scores_: list[float] | None = [] if scores else None
        self.best_validation_score_ = -np.inf if scores else None
        self._no_improvement_count = 0
        self._best_params, self._best_descent = net.params.copy() if scores else None, None

    def _first_net(self, X: Any, targets: Array, random: Any) -> MLP:
        """A net with scikit-learn's initial parameters; what a first fit begins with is set."""
        net = self._new_net(X.shape[1], targets, X.dtype)
        names = layer_activations(self)
        names.append(names[-1] if names else str(self.activation))
        for w, b, name in zip(net.weights, net.biases, names, strict=True):
            bound = np.sqrt((2.0 if name == "logistic" else 6.0) / sum(w.shape))
            w[...] = random.uniform(-bound, bound, w.shape)
            b[...] = random.uniform(-bound, bound, b.shape)
        self.n_iter_ = self.t_ = 0
        self._descent = self._judged_by_scores = None
        return net

    def _next_net(self, method: str, X: Any, targets: Array) -> MLP:
        """A net with the parameters there are, for parameters of the estimator that may have changed."""
        before = self._fitted_net()
        net = self._new_net(X.shape[1], targets, before.dtype)
        afresh = "call fit with warm_start=False to begin with a new net"
        if net.layer_sizes[-1] != before.layer_sizes[-1]:
            counts = f"the number of outputs is {net.layer_sizes[-1]}, that of the fitted net {before.layer_sizes[-1]}"
            raise ValueError(f"[{method}] {counts}: expected a y of the same kind, or {afresh}")
        if net.layer_sizes != before.layer_sizes:
            text = f"layers of {net.layer_sizes} are asked for, those fitted are {before.layer_sizes}"
            raise ValueError(f"[{method}] {text}: expected the same, or {afresh}")
        net.params = before.params
        return net

    def _new_net(self, features: int, targets: Array, dtype: Any) -> MLP:
        outputs, self.out_activation_, loss = self._outputs(targets)
        sizes = [features, *hidden_widths(self), outputs]
        self.n_outputs_, self.n_layers_ = outputs, len(sizes)
        return MLP(
            sizes, loss=loss, activation=listed(self.activation), output_activation=self.out_activation_, init="zeros",
            dtype=dtype, device=self.device, dropout=self.dropout, l2=self.alpha,
        )  # fmt: skip

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=is_regressor(self),
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip
        return as_rows("fit", X), y

    def _validation(self, validation_data: Any) -> Validation | None:
        if validation_data is None:
            return None
        X, y, weight = validation_parts(validation_data)
        X, y = self._validated(X, y, reset=False)
        targets = self._checked_targets("fit: validation_data", y, reset=False)
        return Validation(X, targets, weights_of("fit: validation_data", weight, X.shape[0], X.dtype))

    def _fitted_net(self) -> MLP:
        """The net of coefs_ and intercepts_: a copy, where others than the net's own have been put there."""
        net = self._net
        arrays, own = [*self.coefs_, *self.intercepts_], [*net.weights, *net.biases]
        if len(arrays) == len(own) and all(a is b for a, b in zip(arrays, own, strict=True)):
            return net
        net = copy.copy(net)
        for k, (w, b) in enumerate(zip(self.coefs_, self.intercepts_, strict=True)):
            net.weights[k], net.biases[k] = w, b
        return net

    def _forward(self, X: Any) -> Array:
        return self._at(X, MLP.forward)

    def _at(self, X: Any, derive: Callable[[MLP, Any], Array]) -> Array:
        """What `derive` makes of the fitted net and rows."""
        check_is_fitted(self, "coefs_")
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        with self._threads():
            return derive(self._fitted_net(), X)

    def _threads(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.n_threads is None else thread_limit(self.n_threads)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "coefs_" in state:  # views of the net's parameters, which pickle would make copies of
            del state["coefs_"], state["intercepts_"]
            state["_net"] = self._fitted_net()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_net" in state:
            self.coefs_, self.intercepts_ = list(state["_net"].weights), list(state["_net"].biases)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

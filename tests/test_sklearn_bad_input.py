"""What fastbp.sklearn refuses, and what it warns of: scikit-learn's kinds of errors and warnings."""

import re

import numpy as np
import pytest
from helpers import require

pytestmark = pytest.mark.frameworks
theirs, ours = require("sklearn.neural_network"), require("fastbp.sklearn")
sklearn, exceptions = require("sklearn"), require("sklearn.exceptions")

X = np.random.default_rng(0).standard_normal((40, 3))
Y = np.arange(40) % 3

OUT_OF_LIMITS = {
    "hidden_layer_sizes": [0, (5, -1), "wide", (2.5,), None],
    "activation": ["sigmoid", 3, None],
    "solver": ["rmsprop", None],
    "alpha": [-1, "0.1", np.nan, None],
    "batch_size": [0, "all", 2.5],
    "learning_rate": ["fast", 0.1],
    "learning_rate_init": [0, -0.1, "auto"],
    "power_t": [-1],
    "max_iter": [0, 2.5, None],
    "shuffle": ["yes", 1],
    "random_state": [-1, "seed", 2**32],
    "tol": [-1e-3, None],
    "verbose": [-1, "loud"],
    "warm_start": ["yes", 1],
    "momentum": [-0.1, 1.1],
    "nesterovs_momentum": [1],
    "early_stopping": [5],
    "validation_fraction": [1.0, -0.1],
    "beta_1": [1.0, -0.1],
    "beta_2": [1.0],
    "epsilon": [0],
    "n_iter_no_change": [0, 2.5],
    "max_fun": [0],
}


@pytest.mark.parametrize("name", OUT_OF_LIMITS)
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_what_scikit_learn_refuses_is_refused_with_its_kinds_of_error(kind, name):
    for value in OUT_OF_LIMITS[name]:
        with pytest.raises((ValueError, TypeError)):
            getattr(theirs, kind)(**{name: value}).fit(X, Y)
        with pytest.raises(ValueError, match=name) as caught:
            getattr(ours, kind)(**{name: value}).fit(X, Y)
        assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": ["relu", "tanh"]}, "activation has 2 entries, expected 1"),
        ({"activation": "rleu"}, "did you mean 'relu'?"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "expected 0 with solver 'lbfgs'"),
        ({"class_weight": "even"}, "class_weight is 'even', expected a dict"),
        ({"time_limit": 0}, "time_limit is 0, expected seconds > 0 or None"),
        ({"n_threads": 0}, "n_threads is 0, expected an integer >= 1 or None"),
        ({"device": 0}, "device is 0, expected a name"),
        ({"progress": "yes"}, "progress is 'yes', expected True, False or 'auto'"),
    ],
)
def test_what_is_added_says_what_it_expects(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ours.MLPClassifier(**options).fit(X, Y)


@pytest.mark.parametrize("loss", ["cross_entropy", "log_loss", None, 3])
def test_losses_that_regression_has_not(loss):
    with pytest.raises(ValueError, match="loss is"):
        ours.MLPRegressor(loss).fit(X, X[:, 0])


def test_parameter_checks_may_be_skipped():
    with sklearn.config_context(skip_parameter_validation=True):
        ours.MLPClassifier(verbose=np.False_, shuffle=1, max_iter=500, learning_rate_init=0.1).fit(X, Y)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones((40, 1)), "Sample weights must be 1D array or scalar"),
        (np.ones(39), "sample_weight.shape == (39,), expected (40,)!"),
        (np.zeros(40), "at least one non-zero number"),
        (np.full(40, np.nan), "contains NaN"),
        (-np.ones(40), "negative"),
    ],
)
def test_sample_weights(weight, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ours.MLPClassifier().fit(X, Y, weight)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (X, TypeError, "validation_data is not a tuple (X, y)"),
        ((X,), TypeError, "validation_data is not a tuple (X, y)"),
        ((X[:, :2], Y), ValueError, "X has 2 features"),
        ((X, Y + 1), ValueError, "classes not in `self.classes_`"),
        ((X, Y, np.ones(3)), ValueError, "sample_weight.shape"),
    ],
)
def test_validation_data(given, error, words):
    with pytest.raises(error, match=re.escape(words)):
        ours.MLPClassifier().fit(X, Y, validation_data=given)


def test_validation_targets_that_do_not_fit_are_refused_before_training():
    model = ours.MLPRegressor()
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(X, X[:, 0], validation_data=(X, X))
    assert not hasattr(model, "coefs_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit():
    for cls in (ours.MLPClassifier, ours.MLPRegressor):
        assert not hasattr(cls(solver="lbfgs"), "partial_fit")
        with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
            _ = cls(solver="lbfgs").partial_fit
    with pytest.raises(ValueError, match="does not support early_stopping=True"):
        ours.MLPRegressor(early_stopping=True).partial_fit(X, Y)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        ours.MLPClassifier().partial_fit(X, Y)
    model = ours.MLPClassifier().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`"):
        model.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="X has 2 features"):
        model.partial_fit(X[:, :2], Y)
    with pytest.raises(ValueError, match="class_weight is 'balanced'"):
        model.set_params(class_weight="balanced").partial_fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_warm_start_needs_the_same_classes_and_layers():
    model = ours.MLPClassifier((4,), warm_start=True, max_iter=2).fit(X, Y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        model.fit(X, np.minimum(Y, 1))
    with pytest.raises(ValueError, match=re.escape("layers of (3, 5, 3) are asked for, those fitted are (3, 4, 3)")):
        model.set_params(hidden_layer_sizes=(5,)).fit(X, Y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_weights_that_are_not_finite(solver):
    model = ours.MLPRegressor(solver=solver, learning_rate_init=1e200, activation="identity")
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.fit(X, X[:, 0])


def test_early_stopping_keeps_the_best_of_a_course_that_diverges():
    model = ours.MLPRegressor(
        activation="identity", solver="sgd", learning_rate_init=1.0, early_stopping=True, random_state=0, max_iter=200
    )
    with pytest.warns(exceptions.ConvergenceWarning, match="not finite"):
        model.fit(100 * X, X[:, 0])
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.predict(X)).all()


def test_warnings_are_scikit_learns():
    with pytest.warns(exceptions.ConvergenceWarning, match=re.escape("Maximum iterations (2) reached and the optimiz")):
        ours.MLPClassifier(max_iter=2).fit(X, Y)
    with pytest.warns(exceptions.ConvergenceWarning, match="lbfgs failed to converge after 2 iteration"):
        ours.MLPClassifier(max_iter=2, solver="lbfgs").fit(X, Y)
    with pytest.warns(exceptions.ConvergenceWarning, match=r"Increase the number of evaluations .* \(max_fun=3\)"):
        ours.MLPClassifier(max_fun=3, solver="lbfgs").fit(X, Y)
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        ours.MLPClassifier(batch_size=41, tol=1).fit(X, Y)
    with pytest.warns(exceptions.DataConversionWarning, match="column-vector"):
        ours.MLPClassifier(tol=1).fit(X, Y[:, None])


def test_an_interrupt_ends_the_fit_with_a_warning():
    calls = []

    def loss(y, x):
        calls.append(len(y))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.5 * (x[:, 0] - y) ** 2, x - y[:, None]

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = ours.MLPRegressor(loss, (3,), n_threads=1).fit(X, X[:, 0])
    assert model.n_iter_ == len(model.loss_curve_) == 2


def test_verbose_prints_what_scikit_learn_prints(capsys):
    for options in ({"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1}):
        printed = []
        for module in (theirs, ours):
            module.MLPClassifier(verbose=True, n_iter_no_change=2, random_state=0, **options).fit(X, Y)
            printed.append(capsys.readouterr().out.splitlines())
        assert [re.sub(r"\d", "#", line) for line in printed[1]] == [re.sub(r"\d", "#", line) for line in printed[0]]


@pytest.mark.parametrize("refused", [
    {"validation_data": "short"}, {"class_weight": {9: 1}}, {"class_weight": {0: -1.0, 1: 1.0}}, {"device": "gpu"},
    {"n_threads": True}, {"hidden_layer_sizes": (10**12,)},
])  # fmt: skip
def test_a_refused_fit_leaves_the_estimator_as_it_was(refused):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4)), np.arange(60) % 2
    model = ours.MLPClassifier((5,), max_iter=3000, tol=1e-2, random_state=0).fit(X, y)
    fitted = {name: value for name, value in vars(model).items() if name.endswith("_")}
    expected, options = model.predict_proba(X), {}
    if "validation_data" in refused:
        options = {"validation_data": (X, y[:3])}
    else:
        model.set_params(**refused)
    with pytest.raises((ValueError, TypeError, RuntimeError, MemoryError)):
        model.fit(X, np.arange(60) % 3, **options)
    assert {name: value for name, value in vars(model).items() if name.endswith("_")}.keys() == fitted.keys()
    model.set_params(n_threads=None)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert len(model.classes_) == 2

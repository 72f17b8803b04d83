"""What fastbp.sklearn has beyond scikit-learn's classes."""

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
ours = require("fastbp.sklearn")
ConvergenceWarning = require("sklearn.exceptions").ConvergenceWarning


def data(rows=120):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((rows, 4))
    return X, np.array(["a", "b", "c"])[(X @ rng.standard_normal((4, 3))).argmax(axis=1)]


OPTIONS = {"hidden_layer_sizes": (9, 7), "max_iter": 8, "batch_size": 32, "random_state": 0}


@pytest.mark.parametrize("options", [{"activation": "gelu"}, {"activation": ["sine", ("leaky_relu", 0.2)]}])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_activations_are_those_of_the_net(options, solver):
    """The outputs are those of a fb.MLP with the same parameters and the activations asked for."""
    X, y = data()
    model = ours.MLPClassifier(**OPTIONS, **options, solver=solver).fit(X, y)
    net = fb.MLP((4, 9, 7, 3), loss="cross_entropy", dtype="float64", **options)
    for k in range(3):
        net.weights[k], net.biases[k] = model.coefs_[k], model.intercepts_[k]
    np.testing.assert_array_equal(model.predict_proba(X), net.forward(X))
    assert solver == "lbfgs" or model.loss_ < model.loss_curve_[0]


LOSSES = ["huber", "absolute_error", "pinball", fb.Huber(0.3), fb.Pinball(0.8)]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses_are_those_of_the_net(loss):
    """One full batch without penalty: loss_curve_[0] is the value of a net with the initial parameters."""
    X, y = data()[0], np.random.default_rng(0).exponential(size=120)
    model = ours.MLPRegressor(loss, (5,), batch_size=120, alpha=0, max_iter=1, random_state=0)
    initial = ours.MLPRegressor("squared_error", (5,), learning_rate_init=1e-300, max_iter=1, random_state=0).fit(X, y)
    net = fb.MLP((4, 5, 1), loss=loss, dtype="float64")
    for k in range(2):
        net.weights[k], net.biases[k] = initial.coefs_[k], initial.intercepts_[k]
    assert model.fit(X, y).loss_curve_[0] == pytest.approx(net.value(X, y), rel=1e-12)


def test_a_loss_may_be_a_function():
    X, y = data()[0], np.random.default_rng(0).exponential(size=120)

    def half_square(y, x):
        return 0.5 * (x[:, 0] - y) ** 2, x - y[:, None]

    found, expected = (
        ours.MLPRegressor(loss, (5,), max_iter=5, random_state=0).fit(X, y) for loss in (half_square, "squared_error")
    )
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-9)


def test_quantiles_are_met():
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (3000, 1)), rng.exponential(size=3000)
    for q in (0.1, 0.9):
        model = ours.MLPRegressor(fb.Pinball(q), (), max_iter=300, learning_rate_init=0.01, random_state=0, tol=1e-7)
        assert (y <= model.fit(X, y).predict(X)).mean() == pytest.approx(q, abs=0.02)


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=["", "lbfgs", "stopping"])
def test_class_weights_are_sample_weights(options):
    X, y = data()
    factors = {"a": 3.0, "b": 0.5, "c": 0.0}
    rows = np.random.default_rng(0).uniform(0, 2, len(X))
    options = {**OPTIONS, **options}
    found = ours.MLPClassifier(**options, class_weight=factors).fit(X, y, rows)
    expected = ours.MLPClassifier(**options).fit(X, y, rows * np.vectorize(factors.get)(y))
    np.testing.assert_array_equal(found.coefs_[0], expected.coefs_[0])
    counts = dict(zip(*np.unique(y, return_counts=True), strict=True))
    found = ours.MLPClassifier(**options, class_weight="balanced").fit(X, y)
    expected = ours.MLPClassifier(**options).fit(X, y, [len(y) / (3 * counts[label]) for label in y])
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-9)


def test_dropout_drops_in_training_and_not_in_prediction():
    X, y = data()
    several = (0.5, 0.2)
    plain, dropping, again = (
        ours.MLPClassifier(**{**OPTIONS, "max_iter": 1}, dropout=rates).fit(X, y) for rates in (0.0, several, several)
    )
    assert np.abs(dropping.coefs_[0] - plain.coefs_[0]).max() > 1e-5
    np.testing.assert_array_equal(dropping.coefs_[0], again.coefs_[0])
    np.testing.assert_array_equal(dropping.predict_proba(X), dropping.predict_proba(X))
    dropped = ours.MLPClassifier(**OPTIONS, dropout=0.5)
    masks = [dropped.set_params(random_state=seed).fit(X, y).coefs_[0] for seed in (1, 2)]
    assert not np.array_equal(*masks)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_validation_data(solver):
    """Their loss after each epoch is that of a shorter fit's net, and nothing else changes."""
    X, y = data()
    X_v, y_v = X[:20], y[:20]
    options = {**OPTIONS, "solver": solver, "max_iter": 4}
    model = ours.MLPClassifier(**options).fit(X, y, validation_data=(X_v, y_v))
    np.testing.assert_array_equal(model.coefs_[0], ours.MLPClassifier(**options).fit(X, y).coefs_[0])
    numbers = np.searchsorted(model.classes_, y_v)
    for k, found in enumerate(model.validation_loss_curve_):
        shorter = ours.MLPClassifier(**{**options, "max_iter": k + 1}).fit(X, y)
        expected = -np.log(shorter.predict_proba(X_v)[np.arange(20), numbers]).mean()
        assert found == pytest.approx(expected, rel=1e-9)
    assert len(model.validation_loss_curve_) == 4
    assert not hasattr(model.fit(X, y), "validation_loss_curve_")


def test_early_stopping_goes_by_validation_data_and_trains_on_all_rows():
    X, y = data()
    weight = np.r_[np.zeros(10), np.ones(10)]
    model = ours.MLPClassifier(**OPTIONS, early_stopping=True).fit(X, y, validation_data=(X[:20], y[:20], weight))
    assert model.t_ == model.n_iter_ * len(X)
    assert model.best_validation_score_ == pytest.approx(model.score(X[10:20], y[10:20]))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adaptive", "dropout"])
def test_an_exact_warm_start_is_one_longer_fit(kind):
    X, y = data()
    options = {
        "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e-2, "n_iter_no_change": 1},
        "dropout": {"dropout": 0.3},
    }.get(kind, {"solver": kind})
    whole = ours.MLPClassifier(**{**OPTIONS, "max_iter": 12}, **options).fit(X, y)
    parts = ours.MLPClassifier(**{**OPTIONS, "max_iter": 4}, **options, warm_start="exact")
    for _ in range(3):
        parts.fit(X, y)
    for expected, found in zip(whole.coefs_, parts.coefs_, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert parts.loss_curve_ == whole.loss_curve_


def test_an_exact_warm_start_goes_on_from_the_best_epoch():
    """The third epoch's, by a score that is the best there: with the same rows to validate with, and its moments."""
    X, y = data()
    options = {**OPTIONS, "early_stopping": True, "validation_fraction": 0.2, "warm_start": "exact"}
    stopped = ours.MLPClassifier(**{**options, "max_iter": 8, "learning_rate_init": 0.05}).fit(X, y)
    best = int(np.argmax(stopped.validation_scores_)) + 1
    assert best < 8
    shorter = ours.MLPClassifier(**{**options, "max_iter": best, "learning_rate_init": 0.05}).fit(X, y)
    for model in (stopped, shorter):
        model.set_params(max_iter=1).fit(X, y)
    assert stopped.loss_ == shorter.loss_
    assert stopped.validation_scores_[-1] == shorter.validation_scores_[-1]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_a_time_limit_ends_the_fit(solver):
    X, y = data()
    model = ours.MLPClassifier(**{**OPTIONS, "max_iter": 10**6}, solver=solver, tol=0, time_limit=1e-9)
    with pytest.warns(ConvergenceWarning, match="time_limit=1e-09"):
        model.fit(X, y)
    assert model.n_iter_ == 1


def test_threads_are_those_asked_for_and_then_as_before():
    X, _ = data()
    seen = []

    def loss(y, x):
        seen.append(fb.get_num_threads())
        return 0.5 * (x[:, 0] - y) ** 2, x - y[:, None]

    before = fb.get_num_threads()
    ours.MLPRegressor(loss, (3,), max_iter=2, n_threads=before + 1).fit(X, X[:, 0])
    assert set(seen) == {before + 1}
    assert fb.get_num_threads() == before


def test_a_progress_bar(capsys):
    X, y = data()
    ours.MLPClassifier(**OPTIONS, progress=True).fit(X, y)
    assert "loss=" in capsys.readouterr().err
    ours.MLPClassifier(**OPTIONS).fit(X, y)
    assert capsys.readouterr().err == ""


def differences(f, X, h=1e-6):
    """Central differences of f: (N, d) -> (N, ..) along each column of X."""
    steps = h * np.eye(X.shape[1])
    return np.stack([(f(X + step) - f(X - step)) / (2 * h) for step in steps], axis=-1)


def test_input_gradients_of_classifiers_are_derivatives_of_log_probabilities():
    X, y = data()
    for labels, columns in ((y, None), (y == "a", None), (np.stack([y == "a", y != "c"], 1).astype(int), 2)):
        model = ours.MLPClassifier(**OPTIONS, activation="tanh").fit(X, labels)

        def log_probability(X, model=model, labels=labels, columns=columns):
            p = model.predict_proba(X)
            if columns:
                return np.log(np.where(labels, p, 1 - p)).sum(axis=1)
            return np.log(p[np.arange(len(X)), np.searchsorted(model.classes_, labels)])

        np.testing.assert_allclose(model.input_gradient(X, labels), differences(log_probability, X), atol=1e-7)
        np.testing.assert_array_equal(model.input_gradient(X), model.input_gradient(X, model.predict(X)))


def test_input_gradients_of_regressors_are_derivatives_of_predictions():
    X, _ = data()
    sparse = require("scipy.sparse")
    for y in (X[:, 0] ** 2, X[:, :3] ** 2):
        model = ours.MLPRegressor("squared_error", (6,), activation="tanh", max_iter=5, random_state=0).fit(X, y)
        expected = differences(model.predict, X)
        np.testing.assert_allclose(model.input_gradient(X), expected, atol=1e-8)
        np.testing.assert_allclose(model.input_gradient(sparse.csr_array(X)), expected, atol=1e-8)

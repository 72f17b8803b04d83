"""fastbp.sklearn: weights of rows in validation splits, weights of classes and labels, fits that do not converge."""

import re
import warnings

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
theirs, ours = require("sklearn.neural_network"), require("fastbp.sklearn")
ensemble, exceptions = require("sklearn.ensemble"), require("sklearn.exceptions")

ROWS = 40
X = np.random.default_rng(0).standard_normal((ROWS, 3))
Y = np.arange(ROWS) % 2
LABELS = (X + np.random.default_rng(1).standard_normal((ROWS, 3)) > 0.4).astype(int)
OPTIONS = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
STOPPING = {**OPTIONS, "early_stopping": True}


def scored_rows(**options):
    """The rows that a regressor's validation score depends on."""
    found = []
    for k in range(ROWS):
        targets = X[:, 0].copy(), np.where(np.arange(ROWS) == k, X[:, 0] + 100, X[:, 0])
        scores = [
            ours.MLPRegressor(**{**STOPPING, "max_iter": 1, "learning_rate_init": 1e-12, **options})
            .fit(X, y).validation_scores_[0]
            for y in targets
        ]  # fmt: skip
        if abs(scores[0] - scores[1]) > 1e-3:
            found.append(k)
    return found


def test_rows_to_score_are_drawn_from_those_that_have_a_weight():
    """Rows of weight 0 are replaced in the split, and their noise does not change the scores."""
    first = scored_rows()
    assert len(first) == 4
    for weight in (np.isin(np.arange(ROWS), first) * 1.0, ~np.isin(np.arange(ROWS), first) * 1.0):
        noise = np.where(weight > 0, 0, 1e150)
        plain, noisy = (
            ours.MLPRegressor(**STOPPING).fit(X + f * noise[:, None], X[:, 0] - f * noise, weight) for f in (0, 1)
        )
        assert np.isfinite(plain.validation_scores_).all()
        assert all(value > 0 for value in plain.loss_curve_)
        np.testing.assert_allclose(noisy.validation_scores_, plain.validation_scores_, rtol=1e-12)
        np.testing.assert_allclose(noisy.loss_curve_, plain.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("estimator", [ours.MLPRegressor, ours.MLPClassifier])
def test_every_split_has_rows_with_a_weight_on_both_sides(estimator):
    for seed in range(30):
        weight = np.zeros(ROWS)
        weight[np.random.default_rng(seed).choice(ROWS, 6, replace=False)] = 1.0
        weight[seed % ROWS], weight[(seed + 1) % ROWS] = 1, 2  # of both classes
        weight[(seed + 2) % ROWS], weight[(seed + 3) % ROWS] = 1, 2
        model = estimator(**{**STOPPING, "random_state": seed}).fit(X, Y, weight)
        assert np.isfinite(model.validation_scores_).all()
        assert min(model.loss_curve_) > 0


def test_the_split_is_scikit_learns_if_both_sides_have_weights():
    weight = np.ones(ROWS)
    weight[scored_rows()[:2]] = 0
    their, our = (module.MLPRegressor(**STOPPING).fit(X, X[:, 0], weight) for module in (theirs, ours))
    np.testing.assert_allclose(our.validation_scores_, their.validation_scores_, rtol=1e-9)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("name", ["Bagging", "AdaBoost"])
def test_ensembles_fit_on_few_rows(name, stopping):
    for kind, y in (("Classifier", Y), ("Regressor", X[:, 0])):
        base = getattr(ours, "MLP" + kind)(**{**STOPPING, "early_stopping": stopping, "validation_fraction": 0.05})
        model = getattr(ensemble, name + kind)(base, n_estimators=15, random_state=0).fit(X, y)
        assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    ("options", "weight", "words"),
    [
        ({}, np.r_[1.0, 1.0, np.zeros(ROWS - 2)], "2 rows have a weight above 0, expected at least 3"),
        ({"validation_fraction": 0.0}, None, "change validation_fraction"),
        ({"validation_fraction": 0.0}, np.r_[0.0, np.ones(ROWS - 1)], "change validation_fraction"),
        ({"validation_fraction": 0.999}, None, "change validation_fraction"),
        ({"validation_fraction": 0.001}, None, "change validation_fraction"),
        ({"class_weight": {0: 0.0}, "validation_fraction": 0.999}, None, "set early_stopping=False"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_what_to_change(options, weight, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ours.MLPClassifier(**STOPPING).set_params(**options).fit(X, Y, weight)


def test_a_class_of_one_row_cannot_be_split():
    words = "least populated classes in y have only 1 member.*change validation_fraction or the data, pass validation"
    with pytest.raises(ValueError, match=words):
        ours.MLPClassifier(**STOPPING).fit(X, np.arange(ROWS) == 3)


def test_an_exact_warm_start_splits_as_before_with_weights():
    weight = ~np.isin(np.arange(ROWS), scored_rows()) * 1.0
    options = {**STOPPING, "warm_start": "exact", "learning_rate_init": 0.02}
    whole = ours.MLPRegressor(**{**options, "max_iter": 6}).fit(X, X[:, 0], weight)
    parts = ours.MLPRegressor(**{**options, "max_iter": 3}).fit(X, X[:, 0], weight)
    assert (np.diff(whole.validation_scores_) > 0).all()  # so each fit ends with its last epoch
    parts.fit(X, X[:, 0], weight)
    np.testing.assert_array_equal(parts.validation_scores_, whole.validation_scores_)


def test_an_exact_warm_start_returns_to_the_best_epochs_optimiser_again_and_again():
    """Two fits that find nothing better begin alike."""
    options = {**STOPPING, "max_iter": 1, "warm_start": "exact", "learning_rate_init": 0.5}
    model = ours.MLPRegressor(**options).fit(X, X[:, 0])
    starts = []
    for _ in range(3):
        best = model.best_validation_score_
        model.fit(X, X[:, 0])
        assert model.best_validation_score_ == best
        starts.append((model.loss_, model.validation_scores_[-1]))
    assert starts[0] == starts[1] == starts[2]


def test_mini_batches_without_weight_do_not_count_in_the_loss():
    weight = np.r_[np.ones(10), np.zeros(30)]
    options = {**OPTIONS, "batch_size": 10, "shuffle": False, "max_iter": 1}
    found, expected = (
        ours.MLPRegressor(**options).fit(X[:n], X[:n, 0], weight[:n]).loss_curve_ for n in (ROWS, 10)
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("kind", ["regressor", "classes", "labels", "balanced"])
def test_rows_of_weight_zero_with_extreme_numbers_change_nothing(kind, solver):
    options = {**OPTIONS, "solver": solver, "batch_size": 2 * ROWS, "shuffle": False}
    y = {"regressor": X[:, 0], "labels": LABELS}.get(kind, Y)
    model = ours.MLPRegressor(**options) if kind == "regressor" else ours.MLPClassifier(**options)
    if kind == "balanced":
        model.set_params(class_weight="balanced")
    more_y = np.concatenate([y, y[:7]]) if kind != "regressor" else np.r_[y, np.full(7, -1e300)]
    fits = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got `batch_size`")
        fits.append(model.fit(X, y, np.ones(ROWS)).coefs_)
        fits.append(model.fit(np.r_[X, np.full((7, 3), 1e300)], more_y, np.r_[np.ones(ROWS), np.zeros(7)]).coefs_)
    for expected, found in zip(*fits, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "pandas", "polars"])
def test_rows_of_weight_zero_do_not_count_in_the_score(library):
    model = ours.MLPRegressor(**OPTIONS).fit(X, X[:, 0])
    weight = np.r_[np.linspace(1, 2, ROWS), 0]
    rows, y = np.r_[X, [[1e300] * 3]], np.r_[X[:, 0], 0]
    if library != "numpy":
        frames = require(library)
        rows, y = frames.DataFrame(dict(zip("abc", rows.T, strict=True))), frames.Series(y)
        model.feature_names_in_ = np.array(list("abc"), object)
    expected = theirs.MLPRegressor.score(model, rows[:ROWS], y[:ROWS], weight[:ROWS])
    assert model.score(rows, y, weight) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(rows, y, weight[:-1])


# Weights of labels


def expected_label_weights(class_weight):
    """scikit-learn's factors, one column for each label."""
    weigh = require("sklearn.utils.class_weight").compute_sample_weight
    given = class_weight if isinstance(class_weight, list) else [class_weight] * 3
    return np.stack([weigh(w, column) for w, column in zip(given, LABELS.T, strict=True)], axis=1)


FORMS = {
    "balanced": "balanced",
    "dict": {0: 0.5, 1: 3.0},
    "half a dict": {1: 4.0},
    "list": [{0: 1.0, 1: 2.0}, {0: 0.0, 1: 5.0}, {0: 0.25, 1: 0.75}],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_class_weights_of_labels_weigh_each_output(form, solver):
    """The loss is that of a net with the same parameters and the weight of each output."""
    rows = np.random.default_rng(2).uniform(0.5, 2, ROWS)
    options = {**OPTIONS, "solver": solver, "batch_size": ROWS, "alpha": 0.3, "class_weight": FORMS[form]}
    initial = ours.MLPClassifier(**{**options, "solver": "adam", "learning_rate_init": 1e-300, "max_iter": 1})
    initial.fit(X, LABELS)
    weights = expected_label_weights(FORMS[form]) * (1 if form == "balanced" else rows[:, None])
    model = ours.MLPClassifier(**options).fit(X, LABELS, None if form == "balanced" else rows)
    net = fb.MLP((3, 4, 3), loss="cross_entropy", output_activation="logistic", dtype="float64")
    source = initial if solver == "sgd" else model
    for k in range(2):
        net.weights[k], net.biases[k] = source.coefs_[k], source.intercepts_[k]
    squares = sum((w**2).sum() for w in source.coefs_)
    expected = net.value(X, LABELS, weights) + 0.3 / 2 * squares / weights.mean(axis=1).sum()
    assert (model.loss_curve_[0] if solver == "sgd" else model.loss_) == pytest.approx(expected, rel=1e-9)
    if solver == "sgd":  # and so is the first step
        one = ours.MLPClassifier(**{**options, "max_iter": 1, "momentum": 0}).fit(
            X, LABELS, None if form == "balanced" else rows
        )
        gradient = net.value_and_grad(X, LABELS, weights)[1][:12].reshape(3, 4)
        gradient += 0.3 / weights.mean(axis=1).sum() * net.weights[0]
        np.testing.assert_allclose(one.coefs_[0], net.weights[0] - 0.001 * gradient, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
def test_equal_weights_of_all_labels_are_sample_weights(options):
    options = {**OPTIONS, "alpha": 0.5, "validation_fraction": 0.3, **options}
    found = ours.MLPClassifier(**options, class_weight=[{0: 2.5, 1: 2.5}] * 3).fit(X, LABELS)
    expected = ours.MLPClassifier(**options).fit(X, LABELS, np.full(ROWS, 2.5))
    for a, b in zip(found.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    assert found.loss_ == pytest.approx(expected.loss_)
    if "early_stopping" in options:
        np.testing.assert_allclose(found.validation_scores_, expected.validation_scores_)


def test_a_label_of_weight_zero_is_neither_trained_on_nor_scored():
    options = {**STOPPING, "class_weight": [{0: 1, 1: 1}, {0: 0, 1: 0}, {0: 1, 1: 2}]}
    flipped = LABELS ^ np.array([0, 1, 0])
    fits = [ours.MLPClassifier(**options).fit(X, labels) for labels in (LABELS, flipped)]
    np.testing.assert_array_equal(fits[0].coefs_[0], fits[1].coefs_[0])
    assert fits[0].validation_scores_ == fits[1].validation_scores_


def test_class_weights_of_labels_in_partial_fit_and_sparse_labels():
    sparse = require("scipy.sparse")
    weights = FORMS["list"]
    options = {**OPTIONS, "batch_size": ROWS, "max_iter": 1, "shuffle": False, "class_weight": weights}
    models = [
        ours.MLPClassifier(**options).fit(X, LABELS),
        ours.MLPClassifier(**options).fit(X, sparse.csr_array(LABELS)),
        ours.MLPClassifier(**options).partial_fit(X, LABELS, classes=[0, 1, 2]),
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coefs_[0], models[0].coefs_[0])


@pytest.mark.parametrize(
    ("class_weight", "y", "words"),
    [
        ({0: 1, 1: 2, 2: 3}, LABELS, "class_weight has the key 2; with several labels expected the keys 0 and 1"),
        ([{0: 1}] * 2, LABELS, "class_weight has 2 dicts, y has 3 labels"),
        ([{0: 1}, {0: 1}, {"a": 1}], LABELS, "class_weight has the key 'a'"),
        ([{0: 1}] * 2, Y, "class_weight is a list, but y has one label in each row: expected a dict"),
        ([1, 2], Y, "class_weight is [1, 2], expected a dict of class to weight, a list of such dicts"),
        ({0: -1, 1: 1}, LABELS, "class_weight[0] is -1, expected a finite number >= 0"),
        ({0: 0, 1: 0}, LABELS, "every row has weight 0 after class_weight"),
        ({0: 0, 1: 0}, Y, "every row has weight 0 after class_weight"),
        ({0: np.nan}, Y, "class_weight[0] is nan, expected a finite number >= 0"),
        ({1: "2"}, Y, "class_weight[1] is '2', expected a finite number >= 0"),
        ({7: 2.0}, Y, "class_weight has the key 7 and none for the class 0, expected keys among the classes [0, 1]"),
    ],
)
def test_class_weights_that_do_not_fit(class_weight, y, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ours.MLPClassifier(**OPTIONS, class_weight=class_weight).fit(X, y)


def test_class_weights_are_those_of_all_classes_in_each_part_of_the_data():
    """The data lack a class that the dict names, or the dict lacks a class."""
    model = ours.MLPClassifier(**OPTIONS, class_weight={0: 1, 2: 3}).partial_fit(X, Y, classes=[0, 1, 2])
    same = ours.MLPClassifier(**OPTIONS).partial_fit(X, Y, np.ones(ROWS), classes=[0, 1, 2])
    np.testing.assert_array_equal(model.coefs_[0], same.coefs_[0])
    ours.MLPClassifier(**OPTIONS, class_weight={0: 1, 1: 1, 2: 3}).fit(X, Y)


# Fits that do not converge


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber", fb.Pinball(0.5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs_does_not_return_a_loss_that_is_not_finite(loss, dtype):
    """fit raises, or gives a finite loss and finite predictions of the training rows."""
    big = 1e37 if dtype == "float32" else 1e300
    for scaled, y in ((X * [1, 1, big], abs(X[:, 0])), (X, abs(X[:, 0]) * big), (X * 3e3, abs(X[:, 0]))):
        model = ours.MLPRegressor(loss, (), solver="lbfgs", alpha=0, random_state=0)
        said = ""
        try:
            model.fit(scaled.astype(dtype), y.astype(dtype))
        except ValueError as error:
            said = str(error)
        assert re.search("Solver produced (a )?non-finite", said) if said else np.isfinite(model.loss_)
        assert hasattr(model, "coefs_") == (not said)


def test_lbfgs_raises_if_the_first_loss_is_not_finite():
    model = ours.MLPRegressor("poisson", (), solver="lbfgs", alpha=0, random_state=0)
    with pytest.raises(ValueError, match="Solver produced a non-finite loss"):
        model.fit(np.full((ROWS, 3), 1e5) * np.sign(X), abs(X[:, 0]))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_early_stopping_without_any_score_raises(solver):
    """fit raises if no epoch has a finite score, because the parameters would be the initial ones."""
    model = ours.MLPRegressor(**STOPPING, solver=solver, activation="identity")
    with pytest.raises(ValueError, match="Solver produced non-finite"):
        model.fit(1e200 * X, X[:, 0])
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_fit_that_did_not_converge_warns_and_one_that_did_does_not(solver):
    options = {**OPTIONS, "solver": solver, "tol": 1e-3, "alpha": 1.0, "learning_rate_init": 0.01}
    with pytest.warns(exceptions.ConvergenceWarning):
        model = ours.MLPRegressor(**options).fit(X, X[:, 0])
    assert model.n_iter_ == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ours.MLPRegressor(**{**options, "max_iter": 5000}).fit(X, X[:, 0])
    assert 5 < model.n_iter_ < 5000


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_a_row_of_weight_0_may_hold_numbers_that_overflow(name, solver):
    weight = np.where(np.arange(ROWS) % 5 == 3, 0.0, 1.0)
    fitted = []
    for number in (0.0, 1.7e308):
        data = np.where(weight[:, None] == 0, number, X)
        model = getattr(ours, name)(**OPTIONS, solver=solver).fit(data, Y, weight)
        fitted.append(([w.tolist() for w in model.coefs_], model.loss_))
    assert fitted[0] == fitted[1]
    assert np.isfinite(fitted[0][1])

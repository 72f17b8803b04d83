"""fastbp.sklearn: a failed call changes no attribute, and a fitted estimator stores no data of single rows."""

import copy
import gc
import io
import pickle
import re
import warnings
import weakref

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


def data(rows=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 4))
    return X, np.arange(rows) % 3


OPTIONS = {"hidden_layer_sizes": (5,), "max_iter": 3, "batch_size": 16, "tol": 0}


def assert_equal(found, expected):
    """Compare two values and everything in them."""
    assert type(found) is type(expected)
    if isinstance(expected, np.random.RandomState):
        assert_equal(found.get_state(legacy=False), expected.get_state(legacy=False))
    elif isinstance(expected, fb.MLP):
        np.testing.assert_array_equal(found.params, expected.params)
        assert repr(found) == repr(expected)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_equal(found[name], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif hasattr(expected, "__dict__") and not callable(expected):
        assert_equal(vars(found), vars(expected))
    else:
        np.testing.assert_equal(found, expected)


def assert_unchanged_by(call, model, error):
    before, contents = dict(vars(model)), copy.deepcopy(vars(model))
    with pytest.raises(error):
        call()
    assert list(vars(model)) == list(before)
    assert all(vars(model)[name] is value for name, value in before.items())
    assert_equal(vars(model), contents)


def fitted(kind, **options):
    """A classifier after the fits that `kind` names, ready for one more of them."""
    X, y = data()
    model = ours.MLPClassifier(**OPTIONS, random_state=np.random.RandomState(1))
    if kind == "partial_fit":
        return model.set_params(**options).partial_fit(X, y, classes=[0, 1, 2])
    warm = {"fit": False, "warm": True}.get(kind, "exact")
    model.set_params(warm_start=warm, early_stopping=kind.endswith("stopping"), **options)
    return model.fit(X, y, validation_data=(X, y)).fit(X, y) if kind != "new" else model


KINDS = ["new", "fit", "warm", "exact", "exact stopping", "partial_fit"]
X, Y = data()
FAULTS = {
    "nan": ((np.where(X > 2, np.nan, X), Y), {}),
    "rows": ((X, Y[1:]), {}),
    "targets": ((X, X[:, 0]), {}),
    "negative weight": ((X, Y, -np.ones(60)), {}),
    "no weight": ((X, Y, np.zeros(60)), {}),
    "parameter": ((X, Y), {"alpha": -1}),
    "class without weight": ((X, Y), {"class_weight": {0: 0, 1: 0, 2: 0}}),
    "unknown class": ((X, Y), {"class_weight": {9: 1}}),
    "device": ((X, Y), {"device": "gpu"}),
    "diverges": ((1e200 * X, Y), {"solver": "sgd"}),
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    # A later fit with early stopping that diverges returns the best epoch's parameters, with a warning.
    [(kind, fault) for kind in KINDS for fault in FAULTS if (kind, fault) != ("exact stopping", "diverges")],
)
def test_a_failed_fit_leaves_the_estimator_as_it_was(kind, fault):
    arguments, parameters = FAULTS[fault]
    model = fitted(kind).set_params(**parameters)
    method, more = model.fit, {}
    if kind == "partial_fit":
        method, more = model.partial_fit, {"classes": [0, 1, 2]}
    assert_unchanged_by(lambda: method(*arguments, **more), model, (ValueError, RuntimeError))


@pytest.mark.parametrize("fault", ["nan", "rows", "diverges", "negative weight"])
def test_a_failed_first_partial_fit_leaves_no_classes_behind(fault):
    model = ours.MLPClassifier(**OPTIONS, random_state=0, solver="sgd")
    assert_unchanged_by(lambda: model.partial_fit(*FAULTS[fault][0], classes=[0, 1, 2]), model, ValueError)
    model.partial_fit(X, Y > 0, classes=[False, True])


@pytest.mark.parametrize("kind", ["fit", "warm", "exact", "exact stopping", "partial_fit"])
def test_a_failure_in_the_midst_of_training_leaves_the_estimator_as_it_was(kind):
    """A loss that raises in the second epoch, or in the second mini-batch of partial_fit's only one."""
    calls = [0, np.inf]

    def loss(y, x):
        calls[0] += 1
        if calls[0] > calls[1]:
            raise OSError("gone")
        return 0.5 * (x[:, 0] - y) ** 2, x - y[:, None]

    model = ours.MLPRegressor(loss, **OPTIONS, random_state=np.random.RandomState(1), n_threads=1)
    if kind == "partial_fit":
        call = model.partial_fit
    else:
        call = model.fit
        model.set_params(warm_start={"fit": False, "warm": True}.get(kind, "exact"), early_stopping="stop" in kind)
    call(X, X[:, 0])
    expected = copy.deepcopy(model)
    calls[:] = 0, 1 if kind == "partial_fit" else 5
    assert_unchanged_by(lambda: call(X, X[:, 0]), model, OSError)
    calls[1] = np.inf
    for estimator in (model, expected):
        getattr(estimator, call.__name__)(X, X[:, 0])
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_an_interrupted_lbfgs_leaves_the_estimator_as_it_was():
    calls = [0]

    def loss(y, x):
        calls[0] += 1
        if calls[0] == 12:
            raise KeyboardInterrupt
        return 0.5 * (x[:, 0] - y) ** 2, x - y[:, None]

    model = ours.MLPRegressor(loss, **OPTIONS, solver="lbfgs", random_state=0, n_threads=1, warm_start=True)
    model.fit(X, X[:, 0])
    calls[0] = 9
    assert_unchanged_by(lambda: model.fit(X, X[:, 0]), model, KeyboardInterrupt)


@pytest.mark.parametrize("kind", KINDS[1:-1])
def test_a_warning_that_is_an_error_leaves_the_estimator_as_it_was(kind):
    model = fitted(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert_unchanged_by(lambda: model.fit(X, Y), model, ConvergenceWarning)


def test_callbacks_are_torn_down_when_a_fit_fails():
    torn_down = []

    class Raises:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            torn_down.append(estimator)

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            raise OSError("full")

    model = fitted("warm").set_callbacks(Raises())
    assert_unchanged_by(lambda: model.fit(X, Y), model, OSError)
    assert torn_down == [model]


def test_shallow_copies_train_apart():
    for kind in ("warm", "exact", "partial_fit"):
        model = fitted(kind).set_params(random_state=0)
        contents = copy.deepcopy(vars(model))
        other = copy.copy(model)
        other.partial_fit(X, Y) if kind == "partial_fit" else other.fit(X, Y)
        assert_equal(vars(model), contents)


LABELS = np.stack([Y > 0, Y > 1, Y == 0], axis=1).astype(int)
CHANGES = {
    "one label to several": (Y, LABELS, "y has several labels in each row, expected one"),
    "two classes to two labels": (Y > 0, LABELS[:, :2], "y has several labels in each row, expected one"),
    "several labels to one": (LABELS, Y, "y has one label in each row, expected several"),
    "several labels to two classes": (LABELS[:, :2], Y % 2, "y has one label in each row, expected several"),
    "fewer labels": (LABELS, LABELS[:, :2], "y has 2 labels (columns), expected the 3"),
    "more labels": (LABELS[:, :2], LABELS, "y has 3 labels (columns), expected the 2"),
    "more classes": (Y > 0, Y, "classes"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["partial_fit", True, "exact", "validation_data", "input_gradient"])
def test_targets_of_another_kind_are_refused(kind, change):
    first, second, words = CHANGES[change]
    model = ours.MLPClassifier(**OPTIONS, random_state=0)
    if kind == "partial_fit":
        classes = np.unique(first) if first.ndim == 1 else np.arange(first.shape[1])
        call = model.partial_fit(X, first, classes=classes).partial_fit
    elif kind == "input_gradient":
        call = model.fit(X, first).input_gradient
    elif kind == "validation_data":
        call = lambda X, y: model.fit(X, first, validation_data=(X, y))  # noqa: E731  beside its siblings
    else:
        call = model.set_params(warm_start=kind).fit(X, first).fit
    with pytest.raises(ValueError, match=re.escape(words)):
        call(X, second)
    assert_unchanged_by(lambda: call(X, second), model, ValueError)


@pytest.mark.parametrize("warm", [None, True, "exact"])
def test_another_number_of_outputs_or_features_is_refused(warm):
    """The error names the cure of each method: partial_fit has no warm_start."""
    model = ours.MLPRegressor("squared_error", **OPTIONS, random_state=0, warm_start=warm or False)
    call = model.fit if warm else model.partial_fit
    call(X, X[:, 0])
    with pytest.raises(ValueError, match="outputs is 2, that of the fitted net 1") as caught:
        call(X, X[:, :2])
    assert str(caught.value).startswith("[fit]" if warm else "[partial_fit]")
    assert "call fit with warm_start=False" in str(caught.value)
    assert_unchanged_by(lambda: call(X, X[:, :2]), model, ValueError)
    assert_unchanged_by(lambda: call(X[:, :2], X[:, 0]), model, ValueError)


def test_partial_fit_takes_as_many_labels_as_classes():
    model = ours.MLPClassifier(**OPTIONS)
    with pytest.raises(ValueError, match=re.escape("classes has 2 labels, y has 3")):
        model.partial_fit(X, LABELS, classes=[0, 1])
    assert not hasattr(model, "classes_")


def sizes(model):
    joblib, written = require("joblib"), io.BytesIO()
    joblib.dump(model, written)
    return [len(pickle.dumps(model)), len(pickle.dumps(copy.deepcopy(model))), len(written.getvalue())]


@pytest.mark.parametrize(
    "options",
    [
        {}, {"early_stopping": True}, {"warm_start": True}, {"warm_start": True, "early_stopping": True},
        {"solver": "lbfgs"}, {"solver": "sgd", "shuffle": False}, {"dropout": 0.2},
        {"warm_start": True, "was_exact": True}, {"warm_start": True, "was_exact": True, "early_stopping": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_fitted_estimator_keeps_nothing_for_each_row(options):
    options, found = dict(options), []
    was_exact = options.pop("was_exact", False)
    for rows in (1000, 10_000):
        X, y = data(rows)
        model = ours.MLPClassifier(**{**OPTIONS, "batch_size": 500, "max_iter": 1}, **options)
        if was_exact:
            model.set_params(warm_start="exact").fit(X, y).set_params(warm_start=True)
        model.fit(X, y, sample_weight=np.ones(rows), validation_data=(X, y))
        if options.get("warm_start"):
            model.fit(X, y)
        if options.get("solver") != "lbfgs" and not options.get("early_stopping"):
            model.partial_fit(X, y)
        given = weakref.ref(X)
        del X, y
        gc.collect()
        assert given() is None
        found.append(sizes(model))
    np.testing.assert_allclose(*found, atol=200)

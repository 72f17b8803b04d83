"""fastbp.sklearn where people use it: pipelines, searches, frames, metadata routing."""

import numpy as np
import pytest
from helpers import require

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
sklearn, ours = require("sklearn"), require("fastbp.sklearn")
theirs, selection = require("sklearn.neural_network"), require("sklearn.model_selection")
pipeline, preprocessing = require("sklearn.pipeline"), require("sklearn.preprocessing")


def iris():
    return require("sklearn.datasets").load_iris(return_X_y=True)


def weights(rows):
    return np.random.default_rng(0).uniform(0, 2, rows)


def scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


OPTIONS = {"hidden_layer_sizes": (8,), "max_iter": 15, "learning_rate_init": 0.02, "random_state": 0}


def test_a_grid_search_in_two_processes_finds_what_scikit_learns_finds():
    X, y = iris()
    grid = {"mlpclassifier__alpha": [1e-4, 1.0, 100.0], "mlpclassifier__hidden_layer_sizes": [(3,), (8,)]}
    searches = [
        selection.GridSearchCV(scaled(module.MLPClassifier(**OPTIONS)), grid, cv=3, n_jobs=2).fit(X, y)
        for module in (theirs, ours)
    ]
    assert searches[1].best_params_ == searches[0].best_params_
    np.testing.assert_allclose(*(search.cv_results_["mean_test_score"] for search in searches))
    assert (searches[1].predict(X) == searches[0].predict(X)).all()


def test_cross_validation_scores_are_scikit_learns():
    X, y = iris()
    scores = [
        selection.cross_val_score(scaled(module.MLPClassifier(**OPTIONS)), X, y, cv=4) for module in (theirs, ours)
    ]
    np.testing.assert_allclose(*scores)


def test_calibration():
    calibration = require("sklearn.calibration")
    X, y = iris()
    models = [
        calibration.CalibratedClassifierCV(module.MLPClassifier(**OPTIONS), cv=3).fit(X, y) for module in (theirs, ours)
    ]
    np.testing.assert_allclose(*(model.predict_proba(X) for model in models), rtol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = require(library)
    X, y = iris()
    frame = frames.DataFrame({f"feature {k}": X[:, k] for k in range(4)})
    model = ours.MLPClassifier(**OPTIONS).fit(frame, frames.Series(y))
    assert model.feature_names_in_.tolist() == [f"feature {k}" for k in range(4)]
    np.testing.assert_array_equal(model.coefs_[0], ours.MLPClassifier(**OPTIONS).fit(X, y).coefs_[0])
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame[frame.columns]))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list(frame.columns)[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


def test_set_output_hands_a_frame_to_the_net():
    require("pandas")
    X, y = iris()
    model = scaled(ours.MLPRegressor(**OPTIONS)).set_output(transform="pandas").fit(X, y)
    assert model[-1].feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]


def test_sample_weights_are_routed():
    X, y = iris()
    weight = weights(len(X))
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = preprocessing.StandardScaler().set_fit_request(sample_weight=False)
        net = ours.MLPClassifier(**OPTIONS).set_fit_request(sample_weight=True)
        model = pipeline.make_pipeline(scaler, net).fit(X, y, sample_weight=weight)
        folds = selection.cross_validate(
            pipeline.make_pipeline(scaler, net.set_score_request(sample_weight=True)), X, y, cv=2,
            params={"sample_weight": weight}, error_score="raise",
        )  # fmt: skip
    expected = ours.MLPClassifier(**OPTIONS).fit(preprocessing.scale(X), y, sample_weight=weight)
    np.testing.assert_allclose(model[-1].coefs_[0], expected.coefs_[0], rtol=1e-9)
    assert len(folds["test_score"]) == 2


def test_multi_label_targets_of_a_multi_output_wrapper_and_alone():
    multioutput = require("sklearn.multioutput")
    X, y = iris()
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    alone = ours.MLPClassifier(**{**OPTIONS, "max_iter": 200}).fit(preprocessing.scale(X), labels)
    assert alone.predict(preprocessing.scale(X)).shape == labels.shape
    assert alone.score(preprocessing.scale(X), labels) > 0.9
    wrapped = multioutput.MultiOutputClassifier(ours.MLPClassifier(**OPTIONS)).fit(X, labels)
    assert wrapped.predict(X).shape == labels.shape


def test_sparse_labels():
    sparse = require("scipy.sparse")
    X, y = iris()
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    their, our = (
        module.MLPClassifier(**OPTIONS).fit(X, sparse.csr_array(labels)).predict(X) for module in (theirs, ours)
    )
    np.testing.assert_array_equal(our.toarray(), their.toarray())
    model = ours.MLPClassifier(**OPTIONS).fit(X, sparse.csr_array(labels))
    np.testing.assert_array_equal(model.input_gradient(X), model.input_gradient(X, our.toarray()))


def test_labels_of_every_kind_come_back():
    X, y = iris()
    for names in (np.array(["a", "b", "c"]), np.array(["a", "b", "c"], object), np.array([-1, 5, 70])):
        model = ours.MLPClassifier(**OPTIONS).fit(X, names[y])
        assert set(model.predict(X)) <= set(names)
        np.testing.assert_array_equal(model.classes_, np.sort(names))


def test_callbacks_of_scikit_learn():
    """A score and a fitted copy after each epoch; one that returns True ends the fit."""
    callback = require("sklearn.callback")
    X, y = iris()
    monitor = callback.ScoringMonitor(scoring="accuracy")
    for solver in ("adam", "lbfgs"):
        model = ours.MLPClassifier(**OPTIONS, solver=solver).set_callbacks(monitor).fit(X, y)
        scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
        assert len(scores) == model.n_iter_
        assert scores[-1] == pytest.approx(model.score(X, y))

    class StopsAtThree:
        begun = ended = 0

        def setup(self, estimator, context):
            pass

        teardown = setup

        def on_fit_task_begin(self, estimator, context):
            self.begun += 1

        def on_fit_task_end(self, estimator, context):
            self.ended += 1
            return self.ended == 3

    for solver in ("adam", "lbfgs"):
        stops = StopsAtThree()
        model = ours.MLPClassifier(**OPTIONS, solver=solver).set_callbacks(stops).fit(X, y)
        assert model.n_iter_ == 3
        assert stops.begun == stops.ended == 4  # the fit itself is a task too


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_probabilities_of_saturated_outputs(dtype):
    """The logarithm is finite and right even if the probability rounds to 0 or 1."""
    X = np.array([[-1.0], [1.0]], dtype)
    rows = np.array([[-900.0], [-40.0], [-3.0], [0.0], [3.0], [40.0], [900.0]], dtype)
    labels = np.array([[0, 1], [1, 0]])
    for y in (np.array([0, 1]), np.array([0, 1, 2]), labels):
        model = ours.MLPClassifier((), max_iter=1, random_state=0)
        model.fit(np.resize(X, (len(y), 1)), y)
        model.coefs_[0][...] = np.arange(1, 1 + model.n_outputs_)
        model.intercepts_[0][...] = 0
        s = rows.astype(np.float64) * np.arange(1, 1 + model.n_outputs_)
        if model.out_activation_ == "softmax":
            below = s - s.max(axis=1, keepdims=True)
            expected = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
        else:
            parts = [np.minimum(z, 0) - np.log1p(np.exp(-abs(s))) for z in (-s, s)]
            expected = np.hstack(parts) if y.ndim == 1 else parts[1]
        found = model.predict_log_proba(rows)
        assert found.dtype == dtype
        rtol, atol = (1e-6, 2e-7) if dtype == "float32" else (1e-13, 1e-15)
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)
        rtol, atol = (1e-5, 1e-36) if dtype == "float32" else (1e-12, 1e-300)
        np.testing.assert_allclose(model.predict_proba(rows), np.exp(expected), rtol=rtol, atol=atol)

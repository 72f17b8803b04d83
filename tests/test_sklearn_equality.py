"""fastbp.sklearn beside scikit-learn's own classes: the same random streams, splits, steps and ends, up to rounding."""

import numpy as np
import pytest
from helpers import require

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
theirs, ours = require("sklearn.neural_network"), require("fastbp.sklearn")
linear = require("sklearn.linear_model")

ROWS = 130  # four batches of 32 and one of 2


def data(kind, dtype=np.float64):
    """X, y and weights, of which some are 0."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((ROWS, 6))
    score = X @ rng.standard_normal((6, 3)) + 0.3 * rng.standard_normal((ROWS, 3))
    y = {
        "binary": np.array(["no", "yes"])[(score[:, 0] > 0).astype(int)],
        "multiclass": np.array([3, 7, 11])[score.argmax(axis=1)],
        "multilabel": (score > 0).astype(int),
        "one class": np.full(ROWS, "only"),
        "regression": np.sin(score[:, 0]) + 2,
        "outputs": np.sin(score),
    }[kind]
    return X.astype(dtype), y, np.maximum(rng.uniform(-0.3, 2, ROWS), 0)


def pair(kind, **options):
    """scikit-learn's estimator and ours."""
    name = "MLPRegressor" if kind in ("regression", "outputs") else "MLPClassifier"
    options = {"hidden_layer_sizes": (11, 7), "batch_size": 32, "max_iter": 12, "random_state": 3, **options}
    return getattr(theirs, name)(**options), getattr(ours, name)(**options)


def assert_equal_fits(their, our, rtol=1e-9):
    for expected, found in zip([*their.coefs_, *their.intercepts_], [*our.coefs_, *our.intercepts_], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max())
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(our, name) == getattr(their, name)


KINDS = ["binary", "multiclass", "multilabel", "regression", "outputs"]
OPTIONS = {
    "adam": {},
    "adam, other numbers": {"learning_rate_init": 0.01, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 0.1},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False, "momentum": 0.7},
    "plain sgd": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "power_t": 0.3},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.3, "tol": 0.5, "n_iter_no_change": 2,
    },
    "lbfgs": {"solver": "lbfgs"},
    "large penalty": {"alpha": 5.0},
    "no penalty": {"alpha": 0.0},
    "in order": {"shuffle": False},
    "one batch": {"batch_size": "auto"},
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize(
    ("kind", "name"),
    # scikit-learn's squared error is the mean over the outputs: what goes by its value differs.
    [(k, name) for k in KINDS for name in OPTIONS if k != "outputs" or name not in ("lbfgs", "adaptive")],
)
def test_a_fit_ends_where_scikit_learns_ends(kind, name, weighted):
    X, y, weight = data(kind)
    their, our = (model.fit(X, y, weight if weighted else None) for model in pair(kind, **OPTIONS[name]))
    assert_equal_fits(their, our)
    compare = np.testing.assert_allclose if kind in ("regression", "outputs") else np.testing.assert_array_equal
    compare(our.predict(X), their.predict(X))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), 5, [4, 3, 5]])
def test_every_activation_and_depth(activation, hidden):
    X, y, _ = data("multiclass")
    their, our = (m.fit(X, y) for m in pair("multiclass", activation=activation, hidden_layer_sizes=hidden))
    assert_equal_fits(their, our)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_poisson(solver):
    X, y, weight = data("regression")
    their, our = (m.fit(X, y, weight) for m in pair("regression", loss="poisson", solver=solver))
    assert_equal_fits(their, our)
    assert our.loss_ == pytest.approx(their.loss_, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_probabilities(kind):
    """Over outputs ours is the sum."""
    X, y, weight = data(kind)
    factor, alpha = (3, 0) if kind == "outputs" else (1, 1e-2)
    for size, w in ((32, None), (32, weight), (ROWS, None)):
        their, our = (m.fit(X, y, w) for m in pair(kind, batch_size=size, alpha=alpha))
        np.testing.assert_allclose(our.loss_curve_, factor * np.array(their.loss_curve_), rtol=1e-9)
        assert our.best_loss_ == min(our.loss_curve_)
        assert our.loss_ == our.loss_curve_[-1]
    if kind not in ("regression", "outputs"):
        np.testing.assert_allclose(our.predict_proba(X), their.predict_proba(X), rtol=1e-9)
        np.testing.assert_allclose(our.predict_log_proba(X), their.predict_log_proba(X), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("kind", [*KINDS, "one class"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_early_stopping(kind, solver, weighted):
    X, y, weight = data(kind)
    options = {"solver": solver, "early_stopping": True, "max_iter": 60, "learning_rate_init": 0.02}
    options |= {"n_iter_no_change": 4, "validation_fraction": 0.3}
    their, our = (m.fit(X, y, weight if weighted else None) for m in pair(kind, **options))
    assert_equal_fits(their, our)
    np.testing.assert_allclose(our.validation_scores_, their.validation_scores_, rtol=1e-9)
    assert our.best_validation_score_ == pytest.approx(their.best_validation_score_)
    assert our.best_loss_ is None
    assert our.n_iter_ < 60


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_partial_fit_and_then_fit(kind, solver):
    X, y, weight = data(kind)
    models = pair(kind, solver=solver)
    known = {} if kind == "regression" else {"classes": np.unique(y) if kind == "multiclass" else np.arange(3)}
    for model in models:
        for rows in (slice(0, 70), slice(70, ROWS), slice(0, ROWS)):
            model.partial_fit(X[rows], y[rows], weight[rows], **known)
    assert_equal_fits(*models)
    assert_equal_fits(*(model.fit(X, y) for model in models))
    for model in models:
        model.set_params(learning_rate_init=5.0).partial_fit(X, y)  # the optimiser of the last fit goes on
    assert_equal_fits(*models)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warm_start(solver):
    X, y, _ = data("multiclass")
    models = pair("multiclass", solver=solver, warm_start=True, tol=1e-3, n_iter_no_change=3)
    for _ in range(3):
        assert_equal_fits(*(model.fit(X, y) for model in models))
    if solver != "lbfgs":
        assert len(models[1].loss_curve_) == len(models[0].loss_curve_)


def test_partial_fit_with_another_solver_begins_afresh():
    """scikit-learn goes on with the old one's steps; the equal of ours is its first call with the new one."""
    X, y, _ = data("regression")
    _, our = pair("regression", solver="sgd")
    their, _ = pair("regression", solver="adam")
    our.partial_fit(X, y)
    their.partial_fit(X, y)
    for k in range(3):
        their.coefs_[k][...], their.intercepts_[k][...] = our.coefs_[k], our.intercepts_[k]
    del their._optimizer
    their.partial_fit(X, y)
    assert_equal_fits(their, our.set_params(solver="adam").partial_fit(X, y))


def test_a_shared_random_state_is_drawn_from_alike():
    X, y, _ = data("multiclass")
    ends = []
    for model in pair("multiclass"):
        random = np.random.RandomState(0)
        for _ in range(2):
            model.set_params(random_state=random).fit(X, y)
        ends.append(model.coefs_[0])
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "csr_matrix"])
def test_sparse_rows(form):
    sparse = require("scipy.sparse")
    X, y, weight = data("multiclass")
    X[np.abs(X) < 0.7] = 0
    their, our = pair("multiclass")
    their.fit(X, y, weight)
    our.fit(getattr(sparse, form)(X), y, weight)
    assert_equal_fits(their, our)
    np.testing.assert_allclose(our.predict_proba(getattr(sparse, form)(X)), their.predict_proba(X), rtol=1e-9)



@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_float32_stays_float32(kind):
    X, y, _ = data(kind, np.float32)
    for solver in ("adam", "sgd", "lbfgs"):
        their, our = (m.fit(X, y) for m in pair(kind, solver=solver, max_iter=5))
        assert {array.dtype for array in [*our.coefs_, *our.intercepts_]} == {np.dtype(np.float32)}
        assert (our.predict(X) if kind == "regression" else our.predict_proba(X)).dtype == np.float32
        assert_equal_fits(their, our, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_net_without_hidden_layer_is_logistic_regression(classes):
    X, y, _ = data("multiclass")
    y = np.searchsorted([3, 7, 11], y) % classes
    C = 0.5
    net = ours.MLPClassifier((), solver="lbfgs", alpha=1 / C, tol=1e-10, max_iter=10000, random_state=0).fit(X, y)
    glm = linear.LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(X, y)

    def objective(model, w):
        return -np.log(model.predict_proba(X)[np.arange(ROWS), y]).sum() + 0.5 / C * (w**2).sum()

    assert objective(net, net.coefs_[0]) == pytest.approx(objective(glm, glm.coef_), rel=1e-5)
    assert net.loss_ * ROWS == pytest.approx(objective(glm, glm.coef_), rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "outputs"])
def test_a_net_without_hidden_layer_is_ridge_regression(kind):
    X, y, _ = data(kind)
    net = ours.MLPRegressor("squared_error", (), solver="lbfgs", alpha=3.0, tol=1e-10, max_iter=10000, random_state=0)
    ridge = linear.Ridge(alpha=3.0).fit(X, y)

    def objective(model, w):
        return ((y - model.predict(X)) ** 2).sum() + 3.0 * (w**2).sum()

    net.fit(X, y)
    assert objective(net, net.coefs_[0]) == pytest.approx(objective(ridge, ridge.coef_), rel=1e-5)
    assert 2 * ROWS * net.loss_ == pytest.approx(objective(ridge, ridge.coef_), rel=1e-5)

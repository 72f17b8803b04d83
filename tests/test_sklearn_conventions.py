"""fastbp.sklearn keeps scikit-learn's conventions: its checks, its own tests, its signatures."""

import copy
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import require

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
theirs, ours = require("sklearn.neural_network"), require("fastbp.sklearn")
checks, base = require("sklearn.utils.estimator_checks"), require("sklearn.base")

NAMES = ["MLPClassifier", "MLPRegressor"]
# They look at private attributes, or set some; the last expects a bool where ours names the caller's own class.
WHITE_BOX = [
    "test_fit", "test_gradient", "test_learning_rate_warmstart", "test_adaptive_learning_rate",
    "test_early_stopping_stratified",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@checks.parametrize_with_checks([ours.MLPClassifier(max_iter=100), ours.MLPRegressor(max_iter=100)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_scikit_learns_own_tests_pass_on_ours():
    code = (
        "import fastbp.sklearn, pytest, sys; fastbp.sklearn.patch(); sys.exit(pytest.main(["
        "'--pyargs', 'sklearn.neural_network.tests.test_mlp', '-q', '-p', 'no:cacheprovider', '-W', 'ignore', '-k', "
        f"'not ({' or '.join(WHITE_BOX)})']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_signatures_begin_with_scikit_learns(name):
    their, our = getattr(theirs, name), getattr(ours, name)
    expected, found = (list(inspect.signature(cls).parameters.values()) for cls in (their, our))
    assert [(p.name, p.default, p.kind) for p in found[: len(expected)]] == [
        (p.name, p.default, p.kind) for p in expected
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :])
    for method in ("fit", "partial_fit", "predict", "score"):
        expected, found = (list(inspect.signature(getattr(cls, method)).parameters) for cls in (their, our))
        assert found[: len(expected)] == expected
    assert {key for key in dir(their) if not key.startswith("_")} <= set(dir(our))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=["", "stopping", "lbfgs"])
def test_fitted_attributes_are_scikit_learns(name, options):
    X = np.random.default_rng(0).standard_normal((60, 3))
    y = X[:, 0] > 0 if name == "MLPClassifier" else X[:, 0]
    fitted = [getattr(module, name)(max_iter=3, **options).fit(X, y) for module in (theirs, ours)]
    expected, found = ({key for key in vars(model) if key.endswith("_") and key[0] != "_"} for model in fitted)
    assert found == expected
    assert isinstance(fitted[1].coefs_, list)


def model_and_data():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    return ours.MLPClassifier((5, 4), max_iter=5, random_state=0).fit(X, y), X


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_predict_the_same_and_have_weights_of_their_own(copied):
    model, X = model_and_data()
    expected = model.predict_proba(X)
    other = copied(model)
    np.testing.assert_array_equal(other.predict_proba(X), expected)
    other.coefs_ = [0 * w for w in other.coefs_]
    other.intercepts_ = [0 * b for b in other.intercepts_]
    np.testing.assert_allclose(other.predict_proba(X), 1 / 3)
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_written_and_replaced_weights_are_used():
    """By predictions, by pickles and where training goes on."""
    model, X = model_and_data()
    model.coefs_[-1][...] = 0
    model.intercepts_[-1] = np.array([0.0, 100.0, 0.0])
    assert (model.predict(X) == 1).all()
    assert (pickle.loads(pickle.dumps(model)).predict(X) == 1).all()
    model.set_params(warm_start=True, learning_rate_init=1e-9, max_iter=1).fit(X, np.arange(60) % 3)
    assert (model.predict(X) == 1).all()
    model.coefs_[0] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="shape"):
        model.predict(X)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_training_goes_on_from_a_pickle(solver):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    models = [ours.MLPClassifier((5,), solver=solver, random_state=0).partial_fit(X, y, classes=[0, 1, 2])] * 2
    models[1] = pickle.loads(pickle.dumps(models[0]))
    for model in models:
        model.partial_fit(X, y)
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_a_clone_is_not_fitted():
    model, X = model_and_data()
    with pytest.raises(require("sklearn.exceptions").NotFittedError):
        base.clone(model).predict(X)


def test_without_scikit_learn_the_import_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None\nimport fastbp\nimport fastbp.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: fastbp.sklearn needs scikit-learn 1.9 or newer, which is missing: pip install 'fastbp[sklearn]'"
    )


def test_importing_fastbp_imports_no_scikit_learn():
    code = "import sys, fastbp; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_patch_and_unpatch():
    original = theirs.MLPClassifier
    ours.unpatch()
    assert theirs.MLPClassifier is original
    ours.patch()
    ours.patch()
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        assert (MLPClassifier, MLPRegressor) == (ours.MLPClassifier, ours.MLPRegressor)
    finally:
        ours.unpatch()
    assert theirs.MLPClassifier is original
    assert theirs.MLPRegressor is not ours.MLPRegressor

"""fastbp.sklearn: scikit-learn's MLPClassifier and MLPRegressor, trained by fastbp.

Replace the import, or call `patch` before the code that is to stay as it is. Parameters, methods, fitted attributes,
warnings and random streams are those of scikit-learn's own classes; what is added stands at the end of each signature.

Examples
--------
>>> from sklearn.datasets import load_iris
>>> from fastbp.sklearn import MLPClassifier  # instead of: from sklearn.neural_network import MLPClassifier
>>> X, y = load_iris(return_X_y=True)
>>> MLPClassifier((20,), solver="lbfgs", random_state=0).fit(X, y).score(X, y) > 0.95
True
"""

try:
    from ._classifier import MLPClassifier
    from ._patch import patch, unpatch
    from ._regressor import MLPRegressor
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("sklearn", "scipy"):
        raise
    raise ImportError(
        "fastbp.sklearn needs scikit-learn 1.9 or newer, which is missing: pip install 'fastbp[sklearn]'"
    ) from error

__all__ = ["MLPClassifier", "MLPRegressor", "patch", "unpatch"]

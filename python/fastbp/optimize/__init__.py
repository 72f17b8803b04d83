"""The lecture's optimisation: gradient descent, descent directions, stationary points, convexity. Needs SciPy.

Examples
--------
>>> import numpy as np
>>> from fastbp.optimize import gradient_descent
>>> found = gradient_descent(lambda x: (x @ x / 2, x), [1.0, -2.0], jac=True, step=0.5, maxiter=200)
>>> bool(np.abs(found.x).max() < 1e-3)
True
"""

from ._contours import plot_contours
from ._descent import gradient_descent, is_descent_direction, steepest_descent_direction
from ._levenberg_marquardt import levenberg_marquardt
from ._stationary import check_convexity, classify_stationary_point

__all__ = [
    "check_convexity",
    "classify_stationary_point",
    "gradient_descent",
    "is_descent_direction",
    "levenberg_marquardt",
    "plot_contours",
    "steepest_descent_direction",
]

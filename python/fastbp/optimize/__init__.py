"""The lecture's optimisation: gradient descent, descent directions, stationary points, convexity. Needs SciPy."""

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

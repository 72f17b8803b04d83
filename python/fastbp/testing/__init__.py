"""Check derivatives of nets and of any function in tests. A failed check raises AssertionError.

Examples
--------
>>> import numpy as np
>>> from fastbp.testing import check_gradient
>>> check_gradient(lambda x: np.sin(x).sum(), [0.5, 1.0], jac=np.cos) < 1e-6
True
"""

from ._adjoint import check_adjoint
from ._gradients import check_gradient
from ._taylor import Taylor, taylor_test

__all__ = ["Taylor", "check_adjoint", "check_gradient", "taylor_test"]

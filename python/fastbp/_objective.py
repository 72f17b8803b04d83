"""A net and its data as a function of the parameters, for optimisers such as SciPy's."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._chunks import Data
from ._device import host
from ._network import Network
from ._nonfinite import place_of_nonfinite

Vector = NDArray[np.float64]


class Objective:
    """What `MLP.objective` returns: the value on fixed data and its derivatives, as functions of the parameters.

    All in float64, whatever the net's dtype, and apart from the net: nothing here reads `net.params` after the start
    or writes it. Set `net.params` to the result yourself.

    Attributes
    ----------
    x0 : ndarray (P,) of float64
        The net's parameters when the objective was made.

    Examples
    --------
    SciPy's tolerances on the gradient (``gtol``) are absolute: scale y to a spread of about 1.

    With SciPy: ``minimize(objective.fun_and_jac, objective.x0, jac=True, method="L-BFGS-B")``, and for Newton-CG,
    trust-ncg and trust-krylov ``hessp=objective.hessp`` besides.

    >>> import numpy as np, fastbp as fb
    >>> net = fb.MLP((1, 1), loss="squared_error", init="zeros")
    >>> objective = net.objective([[0.0], [2.0]], [1.0, 5.0])
    >>> hessian = np.array([objective.hessp(objective.x0, v) for v in np.eye(2)])
    >>> objective.x0 - np.linalg.solve(hessian, objective.jac(objective.x0))  # Newton's step: w = 2, b = 1
    array([2., 1.])
    """

    def __init__(self, net: Network, X: Any, y: Any, sample_weight: Any, *, method: str = "objective") -> None:
        self._net = net._with_recipe(dtype=np.dtype(np.float64), device="cpu")
        self._X, self._y, self._weight = net._on_host(method, X, y, sample_weight)
        self._function = self._net._row_loss(method, self._X, self._y)
        self._net._core.check(method, self._X, self._y, self._weight, False, self._function)
        self.x0: Vector = host(net.params).astype(np.float64)

    def fun(self, p: ArrayLike) -> float:
        """The value at the parameters p (P,): the mean loss with the penalties."""
        return self._evaluate("fun", p, False)[0]

    def jac(self, p: ArrayLike) -> Vector:
        """Its gradient (P,)."""
        gradient: Vector = self._evaluate("jac", p, True)[1]
        return gradient

    def fun_and_jac(self, p: ArrayLike) -> tuple[float, Vector]:
        """Both, in the time of the gradient: for ``jac=True``."""
        return self._evaluate("fun_and_jac", p, True)

    def hessp(self, p: ArrayLike, v: ArrayLike) -> Vector:
        """The product of its Hessian at p with v (P,)."""
        return self._product("hessp", p, v, False)

    def gnvp(self, p: ArrayLike, v: ArrayLike) -> Vector:
        """The product of its Gauss-Newton matrix at p with v (P,), as `MLP.gnvp`; may stand in for `hessp`."""
        return self._product("gnvp", p, v, True)

    def _place_of_nonfinite(self) -> str:
        """Return the place of a nonfinite number in the data or the last call's parameters; "" if there is none."""
        data = Data(self._X, self._y, self._weight, self._function, self._X.shape[0])
        return place_of_nonfinite(self._net, data)

    def _product(self, method: str, p: ArrayLike, v: ArrayLike, gauss_newton: bool) -> Vector:
        products = self._net._core.push_forward(
            method, self._net._flat(method, "p", p), self._X, self._y, self._weight, "mean", self._function,
            self._net._flat(method, "v", v), None, None, gauss_newton, None, ["grad_dot"],
        )  # fmt: skip
        product: Vector = products["grad_dot"]
        return product

    def _evaluate(self, method: str, p: ArrayLike, gradient: bool) -> tuple[float, Any]:
        value, grad = self._net._core.evaluate(
            method, self._net._flat(method, "p", p), self._X, self._y, self._weight, "mean", self._function, None,
            gradient, False, 0.0,
        )  # fmt: skip
        return value, grad

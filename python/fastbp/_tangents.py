"""Derivatives along a direction: what a net can do by the R-operator, equations (8) to (11)."""

from typing import Any

from numpy.typing import ArrayLike

from ._arguments import Exporter
from ._network import Array, Network
from ._objective import Objective


class Tangents(Network):
    """Products with the Jacobian and the Hessian, none of which is ever formed; see `MLP`."""

    def jvp(
        self, X: ArrayLike, v: ArrayLike | None = None, u: ArrayLike | None = None, *, out: Exporter | None = None
    ) -> Array:
        """Jacobian-vector product: the derivative of `forward` along a direction, equation (8).

        Parameters
        ----------
        X : array_like (N, d(0))
        v : array_like (P,), optional
            The direction in the parameters; None where they do not move.
        u : array_like (N, d(0)), optional
            The direction in X; None where it does not move. One of the two is needed.
        out : ndarray (N, d(L)), or another exporter of DLPack, optional
            Where the result goes.

        Returns
        -------
        x_dot : ndarray (N, d(L))

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), init="zeros")
        >>> net.jvp([[1.0, 2.0]], v=[3.0, 4.0, 5.0])
        array([[16.]], dtype=float32)
        """
        return self._along("jvp", X, None, None, "mean", v, u, "output_dot", out=out)

    def hvp(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: str = "mean",
        out: Exporter | None = None,
    ) -> Array:
        """Hessian-vector product: the exact derivative of the gradient of `value` along v, equations (8) to (11).

        Takes the time of less than three gradients (Pearlmutter 1994). At a kink the second derivative is that of one
        side: 0 for relu, leaky_relu, absolute_error, pinball and the l1 penalty, the parameter a for elu, 1 for huber.

        Parameters
        ----------
        X, y, sample_weight, reduction
            As for `value`.
        v : array_like (P,)
            The direction in the parameters.
        out : ndarray (P,), or another exporter of DLPack, optional
            Where the result goes.

        Returns
        -------
        ndarray (P,)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> net.hvp([[1.0, 2.0]], [3.0], v=[1.0, 0.0, 0.0])
        array([1., 2., 1.], dtype=float32)
        """
        return self._along("hvp", X, y, sample_weight, reduction, v, None, "grad_dot", out=out)

    def gnvp(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: str = "mean",
        out: Exporter | None = None,
    ) -> Array:
        """Gauss-Newton product J'HJ v, with J the Jacobian of the output and H the Hessian of the loss by the output.

        For cross entropy behind logistic or softmax, and for poisson behind exp, J is the Jacobian of s(L) and H the
        Hessian of the loss with respect to s(L).

        It is `hvp` without the curvature of the net itself (Schraudolph 2002): where the loss is convex in the output
        it is never negative along v, far from a minimum too. The l2 penalty is in it as in `hvp`.

        Parameters
        ----------
        X, y, v, sample_weight, reduction, out
            As for `hvp`.

        Returns
        -------
        ndarray (P,)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> net.gnvp([[1.0, 2.0]], [3.0], v=[1.0, 0.0, 0.0])
        array([1., 2., 1.], dtype=float32)
        """
        return self._along("gnvp", X, y, sample_weight, reduction, v, None, "grad_dot", out=out, gauss_newton=True)

    def input_grad_vjp(
        self,
        X: ArrayLike,
        y: ArrayLike,
        v: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: str = "mean",
        out: Exporter | None = None,
    ) -> Array:
        """The gradient of sum(v * input_grad) with respect to the parameters: to train on the input gradient.

        For a penalty f on it (of its norm, say, or its distance from known slopes) take v = df/d(input_grad) at the
        `input_grad` of `backward`.

        Parameters
        ----------
        X, y, sample_weight, reduction
            As for `value`.
        v : array_like (N, d(0))
        out : ndarray (P,), or another exporter of DLPack, optional
            Where the result goes.

        Returns
        -------
        ndarray (P,)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> net.input_grad_vjp([[1.0, 2.0]], [3.0], v=[[1.0, 0.0]])
        array([-3.,  0.,  0.], dtype=float32)
        """
        return self._along("input_grad_vjp", X, y, sample_weight, reduction, None, v, "grad_dot", out=out)

    def objective(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Objective:
        """The value on these data as a function of the parameters, with its derivatives, in float64: for SciPy.

        Parameters
        ----------
        X, y, sample_weight
            As for `value`; kept, not copied.

        Returns
        -------
        Objective
            With ``fun(p)``, ``jac(p)``, ``fun_and_jac(p)``, ``hessp(p, v)`` and ``x0``.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((1, 1), loss="squared_error", init="zeros")
        >>> net.objective([[1.0]], [2.0]).fun_and_jac([1.0, 0.0])
        (0.5, array([-1., -1.]))
        """
        return Objective(self, X, y, sample_weight)

    def _along(
        self, method: str, X: Any, y: Any, sample_weight: Any, reduction: str, v: Any, u: Any, wanted: str,
        *, out: Exporter | None, gauss_newton: bool = False,
    ) -> Array:  # fmt: skip
        if v is None and u is None:
            what = "v and u are both None" if method == "jvp" else "v is None"
            raise TypeError(f"[{method}] {what}, expected a direction")
        function = self._with_row_loss(method, X, y)[2] if self._loss_is_function and y is not None else None
        direction = None if v is None else self._flat(method, "v", v)
        return self._core.push_forward(
            method, self.params, X, y, sample_weight, reduction, function, direction, u, None, gauss_newton, out,
            [wanted],
        )[wanted]  # fmt: skip

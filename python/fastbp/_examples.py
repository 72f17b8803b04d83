"""Quantities of single examples: their gradients and the Jacobian, row by row."""

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from ._arguments import Exporter
from ._device import at, host
from ._functions import one_of
from ._network import Array
from ._tangents import Tangents

CHUNK_NUMBERS = 4_000_000  # of the values that are kept at a time


class Examples(Tangents):
    """What belongs to each row alone; see `MLP`."""

    def example_grads(self, X: ArrayLike, y: ArrayLike, *, out: Exporter | None = None) -> Array:
        """The gradient of each row's own loss e_n with respect to the parameters, before weights, mean and penalties.

        One forward and one backward pass give x and delta of every row; their outer products are the gradients,
        equation (5) with N = 1.

        Parameters
        ----------
        X, y
            As for `value`.
        out : ndarray (N, P), or another exporter of DLPack, optional
            Where the result goes.

        Returns
        -------
        ndarray (N, P)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> net.example_grads([[1.0, 2.0], [0.0, 1.0]], [3.0, -1.0])
        array([[-3., -6., -3.],
               [ 0.,  1.,  1.]], dtype=float32)
        """
        rows, targets, _ = self._on_host("example_grads", X, y)
        self._core.check("example_grads", rows, targets, None, True, self._row_loss("example_grads", rows, targets))
        shape = (rows.shape[0], self.params.size)
        others = {"X": X, "y": y, "the parameters": self.params}
        made: Any = None
        if out is not None:
            made = _core.as_output("example_grads", "out", out, self.device, self.dtype, shape, others)
        grads: Any = made if isinstance(made, np.ndarray) else np.empty(shape, dtype=self.dtype)
        self._write_example_grads(self._core_backward, rows, targets, grads)
        if out is None:
            return cast(Array, at(self.device, grads))
        if made is not grads:
            made[...] = grads
        return cast(Array, out)

    def jacobian(self, X: ArrayLike, *, wrt: str = "inputs") -> Array:
        """The derivatives of every output of every row, by its inputs or by the parameters.

        Parameters
        ----------
        X : array_like (N, d(0))
        wrt : {"inputs", "params"}

        Returns
        -------
        ndarray (N, d(L), d(0)) or (N, d(L), P)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), init="zeros")
        >>> net.weights[0] = [[3.0], [4.0]]
        >>> net.jacobian([[1.0, 2.0]])
        array([[[3., 4.]]], dtype=float32)
        """
        one_of("[jacobian] wrt", wrt, ("inputs", "params"))
        X = self._on_host("jacobian", X)[0]
        x, kept = self._core.forward_kept(self.params, X)
        width = self.layer_sizes[0] if wrt == "inputs" else self.params.size
        jacobian = np.empty((*x.shape, width), dtype=self.dtype)
        for j in range(x.shape[1]):
            cotangent = np.zeros(x.shape, dtype=self.dtype)
            cotangent[:, j] = 1
            if wrt == "inputs":
                jacobian[:, j] = host(self._core.pull_back(self.params, X, kept, cotangent, False)[1])
            else:
                self._write_example_grads(self._pulled(cotangent), X, None, jacobian[:, j])
        return cast(Array, at(self.device, jacobian))

    def _write_example_grads(self, backward: Any, X: Any, y: Any, grads: Array) -> None:
        rows = max(1, CHUNK_NUMBERS // (2 * sum(self.layer_sizes)))
        for begin in range(0, len(grads), rows):
            part = slice(begin, begin + rows)
            found = backward(X[part], y, part)
            at = 0
            first = X[part].toarray() if hasattr(X, "toarray") else X[part]
            inputs = [np.asarray(first, dtype=self.dtype), *map(host, found["x"][:-1])]
            for x, delta in zip(inputs, map(host, found["deltas"]), strict=True):
                n, size = len(x), x.shape[1] * delta.shape[1]
                np.multiply(
                    x[:, :, None], delta[:, None, :], out=grads[part, at : at + size].reshape(n, x.shape[1], -1)
                )
                grads[part, at + size : at + size + delta.shape[1]] = delta
                at += size + delta.shape[1]

    def _core_backward(self, X: Any, y: Any, part: slice) -> dict[str, Any]:
        function = self._row_loss("example_grads", X, y[part])
        return self._core.backward(self.params, X, y[part], None, "sum", function, ["deltas", "x"])

    def _pulled(self, cotangent: Array) -> Any:
        """The same for the derivative of sum(cotangent * x): that is a loss whose derivative by x is the cotangent."""

        def backward(X: Any, y: Any, part: slice) -> dict[str, Any]:
            c = cotangent[part]

            def function(rows: Any, x: Array) -> tuple[Array, Array]:
                return np.zeros(len(x)), np.ascontiguousarray(c[rows])

            return self._core.backward(self.params, X, None, None, "sum", function, ["deltas", "x"])

        return backward

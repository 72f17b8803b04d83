"""fastbp.MLP: a fully connected network as a caller sees it."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from numpy.typing import ArrayLike, NDArray

from . import _core
from ._arguments import RETURNS, Exporter, as_names, asked_of
from ._chunks import Chunks
from ._early_stopping import EarlyStopping
from ._examples import Examples
from ._fit import Callback, GradHook, fit, train_step
from ._history import History
from ._metrics import Metric
from ._numbers import limit_of
from ._optimizers import TrainState, _Optimizer
from ._parameters import layer_views
from .schedules import Schedule

Array = NDArray[Any]


class MLP(Examples):
    """A fully connected network: layers s = x w + b, x = g(s).

    Parameters
    ----------
    layer_sizes : sequence of int
        d(0), d(1), .., d(L): inputs, hidden widths, outputs.
    loss : str, Huber, Pinball, callable or None
        "squared_error" (1/2 sum r^2), "cross_entropy", "poisson" (inf for a negative output), "huber",
        "absolute_error", "pinball"; or a function
        f(y, x) -> (e, dx): each row's loss (N,) and its derivative by x(L) (N, d(L)), given x = x(L) and the same
        rows of y. It may be called with any part of the rows. None: `forward` and `vjp` only.
    activation : str, (str, float) or sequence of these
        One for all hidden layers or one for each: identity, logistic, tanh, relu, leaky_relu (parameter 0.01), elu
        (1.0), gelu, silu, softplus, sine.
    output_activation : str or (str, float)
        As above, or "softmax" or "exp". "auto": for cross_entropy softmax, with one output logistic; for poisson
        exp; else identity.
    init : str
        "auto" (He before relu-like activations, else Glorot), "he_normal", "glorot_uniform" or "zeros"; biases
        start at 0.
    seed : int or numpy.random.Generator, optional
        Of the initial weights.
    dtype : dtype
        float32 or float64.
    device : str
        "cpu", or "cuda", which is "cuda:0", or another number: parameters and results then lie there, as
        `DeviceArray`.
    precision : "tf32", "bf16" or None
        Of products on "cuda" in float32: factors with 10 bits behind the point, or rounded to bfloat16. The sums and
        the parameters stay float32.
    dropout : float or sequence of float
        The part of the units that a step of `fit` or `train_step` drops: for all hidden layers, or for each.
    l2, l1 : float
        Penalties l2/2 sum w^2 + l1 sum abs(w) on the weights, not the biases.
    deterministic : bool
        The same bits whatever the number of threads.

    Attributes
    ----------
    params : ndarray (P,)
        w(1) b(1) w(2) b(2) .., row-major. Writing into it, or assigning to it, is seen by the next call.
    weights, biases : sequence of ndarray
        Views of params: ``weights[k]`` (d(k), d(k+1)) and ``biases[k]`` (d(k+1),) belong to layer k + 1.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.MLP((2, 3, 1), loss="squared_error", activation="tanh", seed=0)
    >>> value, grad = net.value_and_grad([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0])
    >>> grad.shape
    (13,)
    """

    def forward(self, X: ArrayLike, *, out: Exporter | None = None) -> Array:
        """The output x(L), equations (1) and (2).

        Parameters
        ----------
        X : array_like (N, d(0))
            Real numbers of any dtype, layout and library, or a sparse matrix of SciPy's, best in CSR; never copied.
            Exceptions: frames whose columns differ in type, and object arrays of numbers, are converted to a copy in
            which missing values are nan. The same holds for every array argument of a method.
        out : ndarray (N, d(L)), or another exporter of DLPack, optional
            Filled in place and returned.

        Returns
        -------
        ndarray (N, d(L))

        Raises
        ------
        ValueError, TypeError
            If X or out do not fit; out is unchanged then.

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.MLP((2, 1), init="zeros").forward([[1.0, 2.0]])
        array([[0.]], dtype=float32)
        """
        return self._core.forward(self._params, X, out)

    def value(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, reduction: str = "mean"
    ) -> float:
        """The loss: sum c_n e_n / sum c_n plus penalties, or with reduction="sum" sum c_n e_n alone.

        Parameters
        ----------
        X : array_like (N, d(0))
        y : array_like
            (N, d(L)), or (N,) where d(L) = 1; for softmax class numbers (N,) or rows of probabilities.
        sample_weight : array_like (N,) or (N, d(L)), optional
            c: weights of rows, or of each output (then the mean is over sum c / d(L)). Weight 0 masks a row or target:
            it adds exactly 0 to values and derivatives, even if X or y is nan there. Negative: for reduction="sum".
        reduction : "mean" or "sum"

        Returns
        -------
        float

        Examples
        --------
        >>> import fastbp as fb
        >>> fb.MLP((2, 1), loss="squared_error", init="zeros").value([[1.0, 2.0]], [3.0])
        4.5
        """
        function = None
        if self._loss_is_function:
            X, y, function = self._with_row_loss("value", X, y)
        value: float = self._core.evaluate(
            "value", self._params, X, y, sample_weight, reduction, function, None, False, False, 0.0
        )[0]
        return value

    def value_and_grad(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: str = "mean",
        max_example_norm: float | None = None,
        out: Exporter | None = None,
        accumulate: bool = False,
    ) -> tuple[float, Array]:
        """The loss, as `value`, and its gradient with respect to params, equations (1) to (6).

        Parameters
        ----------
        X, y, sample_weight, reduction
            As for `value`.
        max_example_norm : float, optional
            Each row's own gradient, of e_n before weights and mean, is scaled down to this norm where its own is larger
            (Abadi et al. 2016), to 0 where that overflows: grad is sum c_n clipped_n / sum c_n plus penalties.
        out : ndarray (P,), or another exporter of DLPack, optional
            Where the gradient goes; returned.
        accumulate : bool
            Add to `out` instead of overwriting it: sums over chunks of rows need no second array.

        Returns
        -------
        value : float
        grad : ndarray (P,)

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> net.value_and_grad([[1.0, 2.0]], [3.0])
        (4.5, array([-3., -6., -3.], dtype=float32))
        """
        if accumulate and out is None:
            raise ValueError("[value_and_grad] accumulate=True needs `out`, the array to add to")
        function = None  # as with the norm below: what is not given costs no frame of its own
        if self._loss_is_function:
            X, y, function = self._with_row_loss("value_and_grad", X, y)
        return self._core.evaluate(
            "value_and_grad", self._params, X, y, sample_weight, reduction, function, out, True, bool(accumulate),
            0.0 if max_example_norm is None else limit_of("value_and_grad", "max_example_norm", max_example_norm),
        )  # fmt: skip

    def backward(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        reduction: str = "mean",
        returns: Iterable[str] = RETURNS,
    ) -> SimpleNamespace:
        """Every quantity of the backward pass by name, equations (1) to (7).

        Parameters
        ----------
        X, y, sample_weight, reduction
            As for `value`.
        returns : iterable of str
            Of "s", "x", "deltas" (lists over the layers; x[0] is X), "weight_grads", "bias_grads", "input_grad",
            "example_loss" (e_n itself, before weights and mean), "example_grad_norm" (the norm of its gradient with
            respect to params, from norms of x and deltas; weights of single outputs belong to e_n there). Both are 0
            for a row of weight 0.

        Returns
        -------
        namespace
            The named fields, and `value`, `loss` (without penalties). deltas and input_grad are derivatives
            of `loss`, so 1/N is in them; weight_grads[k] = x[k].T @ deltas[k] plus penalties. Where gradients are
            asked for, `grad` (P,) is the array that weight_grads and bias_grads are views of.

        Examples
        --------
        >>> import fastbp as fb
        >>> r = fb.MLP((2, 1), loss="squared_error", init="zeros").backward([[1.0, 2.0]], [3.0])
        >>> r.deltas[0], r.weight_grads[0].ravel()
        (array([[-3.]], dtype=float32), array([-3., -6.], dtype=float32))
        """
        try:
            asked, shadows = asked_of(returns)  # type: ignore[arg-type]  # checked by trying: looking would cost more
        except TypeError:
            asked, shadows = asked_of(as_names(returns))
        X, function = self._rows("backward", X) if "x" in asked else X, None
        if self._loss_is_function:
            X, y, function = self._with_row_loss("backward", X, y)
        found = self._core.backward(
            self._params, X, y, sample_weight, reduction, function, asked
        )
        if "x" in found:
            found["x"] = [X, *found["x"]]
        if shadows:
            by_layer = layer_views(found["grad"], self.layer_sizes)
            found.update({name: by_layer[name] for name in shadows})
        return SimpleNamespace(**found)

    def vjp(self, X: ArrayLike) -> tuple[Array, "Pullback"]:
        """The output, and a function from a cotangent to gradients: one forward pass, the caller's loss, one backward.

        Parameters
        ----------
        X : array_like (N, d(0))
            Kept by the pullback, not copied: leave it unchanged until then.

        Returns
        -------
        x : ndarray (N, d(L))
        pullback : callable
            ``grad, input_grad = pullback(cotangent)`` for de/dx(L) (N, d(L)): the gradient with respect to the
            parameters as they were (P,), and to X (N, d(0)). May be called any number of times.

        Examples
        --------
        >>> import fastbp as fb
        >>> x, pullback = fb.MLP((2, 1), init="zeros").vjp([[1.0, 2.0]])
        >>> grad, input_grad = pullback(x - 3.0)
        >>> grad
        array([-3., -6., -3.], dtype=float32)
        """
        X = self._rows("vjp", X)
        params = self._params.copy()
        x, kept = self._core.forward_kept(params, X)
        return x, Pullback(self._core, params, X, kept)

    def train_step(
        self, X: ArrayLike, y: ArrayLike, state: TrainState, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """One optimiser step on all the rows given; returns the value before it, as `value` would.

        Examples
        --------
        >>> import fastbp as fb
        >>> net = fb.MLP((2, 1), loss="squared_error", init="zeros")
        >>> state = fb.SGD(lr=0.1).init(net.params)
        >>> net.train_step([[1.0, 2.0]], [3.0], state)
        4.5
        """
        return train_step(self, X, y, sample_weight, state)

    def fit(
        self,
        X: ArrayLike | Chunks,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        optimizer: _Optimizer | None = None,
        state: TrainState | None = None,
        batch_size: int | None = 128,
        epochs: int = 10,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | None = None,
        validation_data: tuple[Any, ...] | None = None,
        metrics: Iterable[Metric] = (),
        early_stopping: int | EarlyStopping | None = None,
        schedule: Schedule | None = None,
        max_grad_norm: float | None = None,
        max_example_norm: float | None = None,
        callbacks: Iterable[Callback] = (),
        grad_hook: GradHook | None = None,
        time_limit: float | None = None,
        on_nonfinite: str = "raise",
        progress: bool | str = "auto",
    ) -> History:
        """Train on mini-batches; each epoch, or chunk, is one call of the core, with the GIL released.

        Parameters
        ----------
        X, y, sample_weight
            As for `value`; the mean is taken over each mini-batch, and one whose weights are all 0 makes no step.
            X may be chunks, without y: a function that returns one pass of tuples (X, y) or (X, y, sample_weight), an
            iterable that starts over, or a list of such tuples (of arrays or lists: a tuple of numbers is a row).
            Mini-batches do not span chunks, rows are shuffled within theirs, and memory is one chunk's. A list is
            checked beforehand; else the first chunk is, with a schedule all are: it needs the number of steps.
        optimizer : one of fb.SGD, RMSprop, Adagrad, Adam, AdamW, Rprop; optional
            Optimizer of a new training; None: Adam(). Not together with `state`.
        state : TrainState, optional
            Resume from this state, with its optimizer and seed. ``fit(state=history.state)`` after a fit gives the same
            bits as one longer fit.
        batch_size : int or None
            Rows of a mini-batch; None: all of X or of a chunk.
        epochs : int
            How many more.
        shuffle : bool
            A new row order each epoch, drawn from the seed and the numbers of the epoch and the chunk.
        drop_last : bool
            Skip the last mini-batch of each chunk if it has fewer rows. Raises ValueError if no mini-batch is left.
        seed : int, optional
            Seed of the row orders. Not together with `state`, which has a seed.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Its mean loss is taken after each epoch.
        metrics : iterable of str or callable
            Computed after each epoch, unweighted, on the rows and outputs with a weight above 0. "accuracy": softmax
            predicts the largest output, logistic each output above 0.5; all outputs of a row must be right. "r2": mean
            over the outputs. f(y, x) -> float: x = x(L), of shape (N,) if y is; it gets all outputs of a row that has
            any weight above 0. Chunks are read a second time.
        early_stopping : int or EarlyStopping, optional
            Patience in epochs, or more; fit ends with the best epoch's parameters and state.
        schedule : callable, optional
            f(epochs done) -> factor on the learning rate of the coming step; see `fastbp.schedules`.
        max_grad_norm : float, optional
            A step's gradient, penalties included, of a larger norm is scaled down to it, as by torch's clip_grad_norm_.
        max_example_norm : float, optional
            As for `value_and_grad`, in each step: with noise added by a grad_hook, differentially private training.
        callbacks : iterable of callable
            f(net, history) after each epoch, such as fb.Checkpoint; may write net.params; StopIteration ends the fit.
        grad_hook : callable, optional
            f(k, g) in each step for k = L-1 .. 0, before clipping: g, the gradient of weights[k] and biases[k]
            (flat), may be written, to add up the gradients of several processes, say. The next step overwrites it:
            keep a copy.
        time_limit : float, optional
            Seconds; fit ends with the epoch in which they pass.
        on_nonfinite : "raise" or "stop"
            If a loss or a gradient is not finite: raise FloatingPointError, or return.
        progress : bool or "auto"
            A progress bar; "auto": where stderr is a terminal.

        Returns
        -------
        History

        Raises
        ------
        FloatingPointError
            If a loss or a gradient is not finite. Parameters and moments are those after the last complete step. The
            message names the layer of the gradient, and the first nan or inf of the data, or else the data's scale.
            Like every exception that ends a fit, KeyboardInterrupt too, it has the history so far as `.history`.

        Examples
        --------
        >>> import numpy as np, fastbp as fb
        >>> X = np.linspace(-1, 1, 64)[:, None]
        >>> net = fb.MLP((1, 8, 1), loss="squared_error", activation="tanh", seed=0)
        >>> history = net.fit(X, X**2, epochs=200, batch_size=16, optimizer=fb.Adam(lr=0.02), seed=0)
        >>> history.loss[-1] < 1e-3
        True
        """
        return fit(
            self, X, y, sample_weight, optimizer, state, batch_size, epochs, shuffle,
            drop_last, seed, validation_data, metrics, early_stopping, schedule, callbacks, time_limit, on_nonfinite,
            progress, max_grad_norm, max_example_norm, grad_hook,
        )  # fmt: skip


class Pullback:
    """From a cotangent de/dx(L) to gradients, at the parameters and the input of one forward pass; see `MLP.vjp`."""

    def __init__(self, core: "_core.Net", params: Array, X: Any, kept: Array) -> None:
        self._core, self._params, self._X, self._kept = core, params, X, kept

    def __call__(self, cotangent: ArrayLike) -> tuple[Array, Array]:
        """(grad (P,), input_grad (N, d(0))) for a cotangent (N, d(L))."""
        grad, input_grad = self._core.pull_back(self._params, self._X, self._kept, cotangent)
        return grad, input_grad

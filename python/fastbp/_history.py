"""What a fit leaves behind."""

from dataclasses import dataclass, field
from typing import Any

from ._optimizers import TrainState
from ._plots import new_axes


@dataclass
class History:
    """The course of a training, one entry per epoch in each list, and the state to go on from.

    Attributes
    ----------
    loss : list of float
        Mean loss over the epoch's mini-batches as they were met, without penalties.
    val_loss : list of float
        Mean loss on the validation data after the epoch; empty without such data.
    metrics, val_metrics : dict of str to list of float
        Each metric after the epoch, on the training and on the validation data, by name.
    lr : list of float
        Learning rate of the epoch's last step.
    seconds, rows_per_second : list of float
        Time of the epoch, without metrics, validation and callbacks.
    best_epoch : int or None
        Index into the lists; None without early stopping, or before any epoch of it.
    stop_reason : str
        Why fit ended: "epochs" (all are done), "callback", "early_stopping", "time_limit", "nonfinite", or the name
        of an exception.
    state : TrainState
        Pass it as ``fit(state=history.state)`` to go on exactly as if training had not stopped. With early stopping
        it is that of the best epoch, as are the net's parameters.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = fb.MLP((1, 8, 1), loss="squared_error", activation="tanh", seed=0)
    >>> history = net.fit(X, X**2, epochs=20, seed=0)
    >>> len(history.loss), history.stop_reason, history.loss[-1] < history.loss[0]
    (20, 'epochs', True)
    >>> net.fit(X, X**2, state=history.state, epochs=1).state.epoch
    21
    """

    state: TrainState
    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_per_second: list[float] = field(default_factory=list)
    stop_reason: str = "epochs"
    metrics: dict[str, list[float]] = field(default_factory=dict)
    val_metrics: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int | None = None

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the epochs, from 1, and mark the best one.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; None: a new figure of pyplot's.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import fastbp as fb
        >>> history = fb.MLP((1, 1), loss="squared_error").fit([[1.0]], [2.0], epochs=3)
        >>> history.plot().figure.savefig("loss.png")  # doctest: +SKIP
        """
        ax = new_axes() if ax is None else ax
        for label, values in (("loss", self.loss), ("val_loss", self.val_loss)):
            if values:
                ax.plot(range(1, len(values) + 1), values, label=label)
        if self.best_epoch is not None:
            ax.axvline(self.best_epoch + 1, color="gray", linestyle=":", label="best epoch")
        ax.set_xlabel("epoch")
        ax.set_ylabel("mean loss")
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return ax

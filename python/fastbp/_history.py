"""What a fit leaves behind."""

from dataclasses import dataclass, field

from ._optimizers import TrainState


@dataclass
class History:
    """The course of a training, one entry per epoch in each list, and the state to go on from.

    Attributes
    ----------
    loss : list of float
        Mean loss over the epoch's mini-batches as they were met, without penalties.
    val_loss : list of float
        Mean loss on the validation data after the epoch; empty without such data.
    lr : list of float
        Learning rate.
    seconds, rows_per_second : list of float
        Time of the epoch, without validation and callbacks.
    stop_reason : str
        Why fit ended: "epochs", "callback", or the name of an exception.
    state : TrainState
        Pass it as ``fit(state=history.state)`` to go on exactly as if training had not stopped.
    """

    state: TrainState
    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows_per_second: list[float] = field(default_factory=list)
    stop_reason: str = "epochs"

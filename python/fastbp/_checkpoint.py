"""fastbp.Checkpoint: files from which an interrupted training goes on."""

import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ._early_stopping import check_monitor, monitored, sign
from ._files import check_writable
from ._history import History
from ._models import PathLike, path_of, save
from ._numbers import count, finite
from ._warn import warn

if TYPE_CHECKING:
    from ._mlp import MLP

_NAME = r"epoch-(\d+)(?:-(.+)=(-?(?:inf|nan|\d+(?:\.\d+)?(?:e[-+]\d+)?)))?\.safetensors"


class _Saved(NamedTuple):
    """A file of the folder, by its name."""

    path: Path
    epoch: int
    monitor: str | None
    value: float


class Checkpoint:
    """A callback of `MLP.fit` that saves the net and the state of its training in a folder, by `save`.

    The files are named by the epochs done, counted over all fits of a training, and by what is monitored:
    ``epoch-000012.safetensors``, ``epoch-000012-val_loss=0.25.safetensors``. A fit that goes on from one equals,
    bit for bit, one that was never interrupted, if it is given the same data and arguments; callbacks that write
    params come before this one.

    Parameters
    ----------
    folder : str or path-like
        Folder of one training, created if missing. `fit` raises an exception before its first epoch if the folder is
        not writable, or if it holds checkpoints of that epoch or later ones.
    every : int, optional
        Save after every so many epochs. Without `every` and `minutes`: after each.
    minutes : float, optional
        Save after the epoch in which so many minutes have passed since this was made or last saved.
    keep : int, optional
        How many files stay: the newest ones, or with `monitor` the best ones and the newest. None: all.
    monitor : str, optional
        What makes a file better: "val_loss", "loss" or a metric, as in `EarlyStopping`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range; in fit, if it measures no such thing as monitor, or as said for `folder`.
    OSError
        In fit: before its first epoch if the folder cannot be created or written, later if a file cannot be written.
        Earlier files then stay unchanged.

    Examples
    --------
    >>> import tempfile, numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = fb.MLP((1, 8, 1), loss="squared_error", activation="tanh", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = fb.Checkpoint(folder, every=2, keep=3)
    ...     history = net.fit(X, X**2, epochs=9, seed=0, callbacks=[checkpoint])
    ...     checkpoint.latest.name
    ...     again, state = fb.load(checkpoint.latest, with_state=True)
    'epoch-000008.safetensors'
    >>> rest = again.fit(X, X**2, state=state, epochs=1)
    >>> (again.params == net.params).all()
    np.True_
    """

    def __init__(
        self,
        folder: PathLike,
        *,
        every: int | None = None,
        minutes: float | None = None,
        keep: int | None = None,
        monitor: str | None = None,
    ) -> None:
        self.folder = path_of("Checkpoint", "folder", folder)
        self._every = None if every is None else count("Checkpoint", "every", every, 1)
        self._seconds = math.inf if minutes is None else 60 * finite("Checkpoint", "minutes", minutes, zero=False)
        if every is None and minutes is None:
            self._every = 1
        self._keep = None if keep is None else count("Checkpoint", "keep", keep, 1)
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"[Checkpoint] monitor is {monitor!r}, expected a name such as 'val_loss' or None")
        self._monitor = monitor
        self._saved_at = time.monotonic()

    @property
    def latest(self) -> Path | None:
        """The file of the last epoch, or None where there is none yet."""
        saved = self._saved()
        return saved[-1].path if saved else None

    @property
    def best(self) -> Path | None:
        """The file with the best value of what is monitored, the earliest of equals, or None."""
        if self._monitor is None:
            raise ValueError("[Checkpoint] best needs a monitor, as in fb.Checkpoint(folder, monitor='val_loss')")
        ranked = self._ranked(self._monitor)
        return ranked[0].path if ranked else None

    def __call__(self, net: "MLP", history: History) -> None:
        """Save, if it is time to: what fit calls after each epoch."""
        if len(history.loss) == 1:  # another callback makes this call, so nothing is checked yet
            self._check(history, bool(history.val_loss), history.state.epoch)
        epoch, now = history.state.epoch, time.monotonic()
        due = self._every is not None and epoch % self._every == 0
        if not (due or now - self._saved_at >= self._seconds):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        value = "" if self._monitor is None else f"-{self._monitor}={float(monitored(history)[self._monitor][-1])!r}"
        save(net, self.folder / f"epoch-{epoch:06d}{value}.safetensors", state=history.state)
        self._saved_at = now
        self._tidy()

    def _begin_fit(self, history: History, has_validation: bool) -> None:
        """Check the arguments and the folder before the first epoch; make the folder."""
        self._check(history, has_validation, history.state.epoch + 1)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.folder)
        except OSError as error:
            text = f"[fit] Checkpoint cannot write into the folder: {error.strerror}. Use a writable folder"
            raise type(error)(error.errno, text, str(self.folder)) from None

    def _check(self, history: History, has_validation: bool, epoch: int) -> None:
        """Raise ValueError if the fit has no such monitor, or the folder has files of epochs from `epoch` on."""
        if self._monitor is not None:
            check_monitor("[fit] Checkpoint", self._monitor, history, has_validation)
        saved = self._saved()
        if saved and saved[-1].epoch >= epoch:
            raise ValueError(
                f"[fit] Checkpoint finds '{saved[-1].path}' at epoch {epoch}, expected none of that epoch "
                "or later: resume from that file with fit(state=..), or use a new folder for each training"
            )

    def _saved(self) -> list[_Saved]:
        """What the folder holds, by epochs."""
        found = []
        for path in self.folder.glob("epoch-*.safetensors"):
            if match := re.fullmatch(_NAME, path.name):
                epoch, monitor, value = match.groups()
                found.append(_Saved(path, int(epoch), monitor, math.nan if value is None else float(value)))
        return sorted(found, key=lambda saved: saved.epoch)

    def _ranked(self, monitor: str) -> list[_Saved]:
        """The best first, of what has the monitored value; not a number comes last."""
        factor = sign(monitor)
        rated = [saved for saved in self._saved() if saved.monitor == monitor]
        return sorted(rated, key=lambda saved: (math.isnan(saved.value), -factor * saved.value))

    def _tidy(self) -> None:
        """Delete what need not be kept; files of other names, and of other monitors, stay."""
        if self._keep is None:
            return
        by_worth = self._saved()[::-1] if self._monitor is None else self._ranked(self._monitor)
        latest = self.latest
        for saved in by_worth[self._keep :]:
            if saved.path != latest:
                self._delete(saved.path)

    def _delete(self, path: Path) -> None:
        """Delete a file; only warn if the file system does not permit it, so that the training goes on."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warn(f"[Checkpoint] '{path}' cannot be deleted and stays: {error.strerror}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._saved_at = time.monotonic()  # each start of a machine has its own clock

"""fastbp demo: handwritten digits, learned by fastbp and by the NumPy reference from the same start."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference, testing
from ._bench import THREADS, threads_held
from ._data import load_digits, stratified_split
from ._mlp import MLP
from ._optimizers import Adam, TrainState

Array = NDArray[Any]

WIDTHS = (64, 64, 10)
LEARNING_RATE, BATCH, EPOCHS = 3e-3, 32, 60
TEST_FRACTION, SEED = 0.2, 0
LARGEST_DIFFERENCE, LEAST_ACCURACY = 1e-4, 0.96
CURVE = "fastbp-demo.png"


@dataclass
class Course:
    """One side's training, an entry per epoch."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class _Reference:
    """The net in NumPy, from the same parameters."""

    def __init__(self, net: MLP) -> None:
        self.w, self.b = reference.views(net.params.copy(), WIDTHS)
        self.net, self.adam = net, dict[str, Any]()

    def epoch(self, X: Array, y: Array, order: Array) -> float:
        """Train on the rows in this order; the mean loss."""
        return reference.train(
            self.w, self.b, X, y, self.net.activations, self.net.loss, [order],
            lambda params, grads: reference.adam_step(params, grads, self.adam, LEARNING_RATE), BATCH,
        )[0]  # fmt: skip

    def forward(self, X: Array) -> Array:
        """Compute the output x(L)."""
        return reference.forward(self.w, self.b, X, self.net.activations)[1][-1]


def demo(out: Path) -> bool:
    """Train, check, print and draw into the folder; whether every check passed."""
    images, y = load_digits()
    X = images / 16.0
    train, test = stratified_split(y, TEST_FRACTION, SEED)
    print(
        f"{len(y):,} handwritten digits of 8 x 8 pixels: {len(train):,} to train on, {len(test)} to test\n"
        f"{'-'.join(map(str, WIDTHS))}, relu, softmax, cross entropy; Adam {LEARNING_RATE}, batch {BATCH}, "
        f"{EPOCHS} epochs, float64",
        flush=True,
    )
    net = MLP(WIDTHS, loss="cross_entropy", activation="relu", seed=SEED, dtype="float64")
    gradient = _check_gradient(net, X[train[:100]], y[train[:100]])
    fast, slow = _train(net, (X[train], y[train]), (X[test], y[test]))
    checks = [gradient, _check_losses(fast, slow), _check_accuracy(fast, slow)]
    for passed, text in checks:
        print(f"{'ok' if passed else 'FAILED':8}{text}")
    ratio = sum(slow.seconds) / sum(fast.seconds)
    print(
        f"{'time':8}fastbp {sum(fast.seconds):.2f} s, NumPy {sum(slow.seconds):.2f} s, ratio {ratio:.1f}, "
        f"on {THREADS} thread{'s' if THREADS > 1 else ''} each"
    )
    print(f"{'curve':8}{_draw(out / CURVE, fast, slow)}")
    return all(passed for passed, _ in checks)


def _train(net: MLP, train: tuple[Array, Array], test: tuple[Array, Array]) -> tuple[Course, Course]:
    """Epochs of both in turn, so that a slow moment of the machine meets both."""
    from tqdm.auto import tqdm

    twin, state = _Reference(net), Adam(lr=LEARNING_RATE).init(net.params, seed=SEED)
    fast, slow = Course(), Course()
    with threads_held(), tqdm(total=EPOCHS, unit="epoch", disable=None) as bar:
        for _ in range(EPOCHS):
            order = state.order(len(train[1]))  # before fit moves on to the next epoch's
            start = time.perf_counter()
            fast.loss.append(_fit(net, train, state))
            middle = time.perf_counter()
            slow.loss.append(twin.epoch(*train, order))
            end = time.perf_counter()
            for course, model, seconds in ((fast, net, middle - start), (slow, twin, end - middle)):
                course.seconds.append(seconds)
                course.accuracy.append(_accuracy(model, *test))
            bar.set_postfix(loss=f"{fast.loss[-1]:.4f}", accuracy=f"{fast.accuracy[-1]:.3f}", refresh=False)
            bar.update()
    return fast, slow


def _fit(net: MLP, train: tuple[Array, Array], state: TrainState) -> float:
    return net.fit(*train, state=state, batch_size=BATCH, epochs=1, progress=False).loss[0]


def _accuracy(model: MLP | _Reference, X: Array, y: Array) -> float:
    return float(np.mean(model.forward(X).argmax(axis=1) == y))


def _check_gradient(net: MLP, X: Array, y: Array) -> tuple[bool, str]:
    try:
        error = testing.check_gradient(net, X, y)
    except AssertionError as found:
        return False, f"gradient: {found}"
    return True, f"gradient: within {error:.1e} of central differences, relative to its largest entry"


def _check_losses(fast: Course, slow: Course) -> tuple[bool, str]:
    difference = float(np.max(np.abs(np.divide(fast.loss, slow.loss) - 1)))
    text = f"losses: within {difference:.1e} of the NumPy reference's at every epoch"
    text += f" (limit {LARGEST_DIFFERENCE:g})"
    return difference <= LARGEST_DIFFERENCE, text


def _check_accuracy(fast: Course, slow: Course) -> tuple[bool, str]:
    ours, theirs = fast.accuracy[-1], slow.accuracy[-1]
    text = f"test accuracy: {ours:.3f}, NumPy {theirs:.3f} (at least {LEAST_ACCURACY})"
    return ours >= LEAST_ACCURACY, text


def _draw(path: Path, fast: Course, slow: Course) -> str:
    """Draw the learning curves; returns the path, or why there are none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "not drawn: matplotlib is not installed (pip install fastbp[plot])"
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(fast.loss) + 1)
    for axes, ours, theirs in ((left, fast.loss, slow.loss), (right, fast.accuracy, slow.accuracy)):
        axes.plot(epochs, theirs, color="tab:orange", linewidth=4, alpha=0.5, label="NumPy reference")
        axes.plot(epochs, ours, color="tab:blue", linewidth=1.2, label="fastbp")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    left.set_yscale("log")
    left.set_ylabel("training loss (cross entropy)")
    right.set_ylabel("test accuracy")
    left.legend()
    figure.savefig(path, dpi=120)
    return str(path.resolve())

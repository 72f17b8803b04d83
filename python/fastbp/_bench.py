"""fastbp bench: the time of a training step beside the NumPy reference, the answers checked first."""

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from ._config import config
from ._fit import Epochs
from ._mlp import MLP
from ._optimizers import SGD
from ._threads import set_num_threads

Array = NDArray[Any]

# For both: the helpers of NumPy's OpenBLAS spin for 0.1 s after a product, on the processor that fastbp's second thread
# would have in its turn.
THREADS = 1
LEARNING_RATE = 1e-3
ROUND_SECONDS = 0.03  # of fastbp's part of a round
PROBLEM_SECONDS = 4.0  # for all rounds of a problem
MOST_ROUNDS, FEWEST_ROUNDS = 41, 7
MOST_ROWS = 100_000
CHECKED_STEPS = 4
CHECKED_RATE = 0.01  # larger steps lead more units over the kinks of relu, on either side alone
TOLERANCE = 1e-5  # relative to the norm


@dataclass(frozen=True)
class Problem:
    """A net and its mini-batch: relu, softmax and cross entropy with class numbers, float32, plain SGD."""

    widths: tuple[int, ...]
    batch: int

    @property
    def name(self) -> str:
        """As in 4-64-64-2, batch 32."""
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}"

    @property
    def flops(self) -> int:
        """Of the matrix products of one step: three per layer, less the first layer's delta product."""
        products = [rows * cols for rows, cols in pairwise(self.widths)]
        return 2 * self.batch * (3 * sum(products) - products[0])

    def net(self) -> MLP:
        """Its net, the same in every call."""
        return MLP(self.widths, loss="cross_entropy", activation="relu", seed=0)

    def data(self, rows: int) -> tuple[Array, Array]:
        """Random rows and classes, the same in every call."""
        rng = np.random.default_rng(1)
        X = rng.standard_normal((rows, self.widths[0]), dtype=np.float32)
        return X, rng.integers(0, self.widths[-1], rows)


PROBLEMS = (
    Problem((4, 64, 64, 2), 32),
    Problem((64, 100, 10), 200),
    Problem((784, 128, 10), 32),
    Problem((784, 256, 256, 10), 128),
    Problem((32, 64, 64, 64, 64, 16), 8192),
    Problem((1024, 2048, 2048, 1000), 512),
)


@dataclass(frozen=True)
class Timing:
    """Median microseconds of a step; the ratio is the median of the rounds' ratios, with its quartiles."""

    steps: int
    rounds: int
    fastbp: float
    numpy: float
    ratio: float
    quartiles: tuple[float, float]


@contextmanager
def threads_held() -> Iterator[None]:
    """NumPy's BLAS held to fastbp's number of threads."""
    from threadpoolctl import ThreadpoolController

    # Not fastbp's own OpenBLAS, which its threads call and which stays at one.
    controller = ThreadpoolController()
    others = [info["filepath"] for info in controller.info() if "fastbp" not in Path(info["filepath"]).name]
    with controller.select(filepath=others).limit(limits=THREADS), set_num_threads(THREADS):
        yield


def interleaved(functions: Sequence[Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Time functions round by round, so that a slow moment of the machine meets all of them.

    Parameters
    ----------
    functions : sequence of callable
        Called once per round, every other round in reverse order.
    rounds : int

    Returns
    -------
    ndarray (rounds, len(functions))
        Seconds.
    """
    seconds = np.empty((rounds, len(functions)))
    forwards = range(len(functions))
    for i in range(rounds):
        for k in forwards if i % 2 == 0 else reversed(forwards):
            start = time.perf_counter()
            functions[k]()
            seconds[i, k] = time.perf_counter() - start
    return seconds


def bench(file: Path | None, rounds: int | None, problems: int | None) -> bool:
    """Check and time the first problems, print the table, write the file; whether all answers are right."""
    with threads_held():
        conditions = machine()
    print("\n".join(f"{name:14}{fact}" for name, fact in conditions.items()))
    print("A step is one mini-batch inside fit. Microseconds are medians, ratios those of paired rounds.")
    print(f"\n{'problem':36}{'fastbp':>11}{'NumPy':>11}{'ratio':>8}", end="")
    print(f"{'quartiles':>14}{'GFLOP/s':>9}{'rounds x steps':>16}")
    results, right = [], True
    with threads_held():
        for problem in PROBLEMS[:problems]:
            errors = check_answers(problem)
            passed = all(error <= TOLERANCE for error in errors.values())
            right = right and passed
            timing = measure(problem, rounds) if passed else None
            print(_row(problem, timing, errors), flush=True)
            entry = {"widths": problem.widths, "batch": problem.batch, "errors": errors}
            results.append(entry | (vars(timing) if timing else {}))
    if file is not None:
        file.write_text(json.dumps({"conditions": conditions, "problems": results}, indent=2) + "\n")
    return right


def machine() -> dict[str, Any]:
    """Return the conditions of a measurement: processor, versions and the number of threads in force."""
    facts = config()
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {
        "cpu": _cpu(),
        **{name: fact for name, fact in facts.items() if name not in ("machine", "devices")},
        "numpy_blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def check_answers(problem: Problem) -> dict[str, float]:
    """Compare with the reference in float64: value and gradient of a mini-batch, parameters after some steps.

    Returns
    -------
    dict
        Relative errors.
    """
    net = problem.net()
    X, y = problem.data(2 * problem.batch)
    rows = _away_from_kinks(net, X)[: problem.batch]
    value, grad = net.value_and_grad(X[rows], y[rows])
    w, b = _weights(net, np.float64)
    true_value, *grads = reference.value_and_grad(w, b, X[rows], y[rows], net.activations, net.loss)
    true = reference.flatten(*grads)
    errors = {"value": abs(value - true_value) / abs(true_value), "gradient": _distance(grad, true)}

    X, y = problem.data(CHECKED_STEPS * problem.batch)
    state = SGD(lr=CHECKED_RATE).init(net.params, seed=0)
    order = state.order(len(X))
    net.fit(X, y, state=state, batch_size=problem.batch, epochs=1, progress=False)
    reference.train(
        w, b, X, y, net.activations, net.loss, [order],
        lambda params, grads: reference.sgd_step(params, grads, {}, CHECKED_RATE), problem.batch,
    )  # fmt: skip
    errors["parameters"] = _distance(net.params, reference.flatten(w, b))
    return errors


def _away_from_kinks(net: MLP, X: Array) -> NDArray[np.intp]:
    """Find the rows where rounding cannot move any unit over the kink of its relu."""
    s, _ = reference.forward(*_weights(net, np.float64), X, net.activations)
    nearest = np.min([np.abs(s_l).min(axis=1) for s_l in s[:-1]], axis=0)
    return np.flatnonzero(nearest > 1e-5)


def _weights(net: MLP, dtype: type[np.floating[Any]]) -> tuple[list[Array], list[Array]]:
    """Copy the net's parameters into what the reference takes."""
    return reference.views(net.params.astype(dtype), net.layer_sizes)


def _distance(given: Array, true: Array) -> float:
    return float(np.linalg.norm(given - true) / np.linalg.norm(true))


def measure(problem: Problem, rounds: int | None = None) -> Timing:
    """Time the same mini-batches in fastbp and in the reference; the caller holds NumPy's threads."""
    steps = _steps_per_round(problem)
    X, y = problem.data(steps * problem.batch)
    functions = (_fastbp(problem, X, y), _numpy(problem, X, y))
    warm = interleaved(functions, 1).sum()
    if rounds is None:
        rounds = int(np.clip(PROBLEM_SECONDS / warm, FEWEST_ROUNDS, MOST_ROUNDS))
    seconds = interleaved(functions, rounds)
    fast, slow = (float(microseconds) for microseconds in np.median(seconds, axis=0) / steps * 1e6)
    low, ratio, high = (float(part) for part in np.percentile(seconds[:, 1] / seconds[:, 0], (25, 50, 75)))
    return Timing(steps, rounds, fast, slow, ratio, (low, high))


def _steps_per_round(problem: Problem) -> int:
    one_batch = _fastbp(problem, *problem.data(problem.batch))
    step = interleaved([one_batch], 5)[1:].min()
    return int(np.clip(ROUND_SECONDS / step, 1, max(1, MOST_ROWS // problem.batch)))


def _fastbp(problem: Problem, X: Array, y: Array) -> Callable[[], object]:
    net = problem.net()
    epochs = Epochs("fit", net, X, y, None, SGD(lr=LEARNING_RATE).init(net.params, seed=0))
    return lambda: epochs.run(problem.batch, shuffle=False, drop_last=False, lr=LEARNING_RATE)


def _numpy(problem: Problem, X: Array, y: Array) -> Callable[[], object]:
    net = problem.net()
    w, b = _weights(net, np.float32)
    params = [part for layer in zip(w, b, strict=True) for part in layer]
    batches = [slice(start, start + problem.batch) for start in range(0, len(X), problem.batch)]

    def epoch() -> None:
        for rows in batches:
            _, *grads = reference.value_and_grad(w, b, X[rows], y[rows], net.activations, net.loss)
            flat = [part for layer in zip(*grads, strict=True) for part in layer]
            reference.sgd_step(params, flat, {}, LEARNING_RATE)

    return epoch


def _row(problem: Problem, timing: Timing | None, errors: dict[str, float]) -> str:
    if timing is None:
        wrong = ", ".join(f"{name} {error:.2g}" for name, error in errors.items())
        return f"{problem.name:36}FAILED, not timed; relative errors: {wrong} (limit {TOLERANCE:g})"
    low, high = timing.quartiles
    return (
        f"{problem.name:36}{timing.fastbp:11,.1f}{timing.numpy:11,.1f}{timing.ratio:8.2f}"
        f"{f'{low:.2f} .. {high:.2f}':>14}{problem.flops / timing.fastbp / 1e3:9.1f}"
        f"{f'{timing.rounds} x {timing.steps}':>16}"
    )

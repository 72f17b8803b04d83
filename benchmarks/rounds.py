"""Cases, the check of their answers, and times in interleaved rounds."""

import gc
import time
from dataclasses import dataclass, field

import numpy as np
from peers import fastbp_library, module, numpy_reference

from fastbp._bench import PROBLEMS, Problem

MNIST = (Problem((784, 128, 10), 32), Problem((784, 256, 256, 10), 128), Problem((784, 1000, 10), 128))
RATE, ADAM_RATE = 0.01, 1e-3
CHECKED_STEPS = 4
TOLERANCE = 1e-4  # of the loss, relative, and of the parameters, norm for norm
TOLERANCE_OF_CHANGE = 1e-2  # of what the steps changed, which is small beside the float32 rounding of the parameters
ROUND_SECONDS = 0.01  # of fastbp's part of a round
SLOW_SECONDS = 0.1  # a part of a round that takes longer is cut to its first mini-batches
SETTLE_SECONDS = 0.02  # before each part: idle threads of the last one spin for up to 7 ms before they sleep
MOST_ROUNDS, FEWEST_ROUNDS = 200, 11
MOST_BETWEEN = 11  # looks at the machine between rounds
MOST_ROWS = 100_000
ADAM = "fastbp, Adam"


@dataclass
class Case:
    """Some mini-batches of a net; `shuffled`: a whole epoch in random order, else rows as they lie."""

    kind: str
    problem: Problem
    X: np.ndarray
    y: np.ndarray
    shuffled: bool
    start: np.ndarray = field(init=False)

    def __post_init__(self):
        self.start = self.problem.net().params.copy()

    @property
    def name(self):
        return f"{self.kind} {self.problem.name}"

    @property
    def steps(self):
        return -(-len(self.X) // self.problem.batch)

    @property
    def gigaflops(self):
        return self.problem.flops * len(self.X) / self.problem.batch / 1e9

    def prepare(self, peer, rows=None, rate=RATE):
        rule = fastbp_library.prepare_adam if peer == ADAM else module(peer).prepare
        X, y = self.X[:rows], self.y[:rows]
        return rule(self.problem.widths, self.start, X, y, self.problem.batch, ADAM_RATE if peer == ADAM else rate)


def step_cases(chosen):
    for problem in (PROBLEMS[k] for k in chosen):
        X, y = problem.data(CHECKED_STEPS * problem.batch)
        probe = Case("step", problem, X, y, False).prepare("fastbp")
        time.sleep(SETTLE_SECONDS)
        for _ in range(20):  # until the threads are awake, each on a processor of its own
            probe.epoch()
        seconds = min(_seconds(probe.epoch) for _ in range(5)) / CHECKED_STEPS
        most = max(CHECKED_STEPS, MOST_ROWS // problem.batch)
        steps = int(np.clip(np.ceil(ROUND_SECONDS / seconds), 1, most))
        yield Case("step", problem, *problem.data(steps * problem.batch), False)


def epoch_cases(path):
    with np.load(path) as archive:
        X, y = archive["x_train"], archive["y_train"]
    X = X.reshape(len(X), -1).astype(np.float32) / 255
    for problem in MNIST:
        yield Case("epoch", problem, X, y.astype(np.int64), True)


def errors(case, peers):
    """How far each answer is off the float64 reference after some steps; the last is short where rows are shuffled."""
    batch = case.problem.batch
    X, y = (case.X, case.y) if case.shuffled else case.problem.data(CHECKED_STEPS * batch)
    rows = CHECKED_STEPS * batch + (batch // 2 if case.shuffled else 0)
    small, found = Case(case.kind, case.problem, X[:rows], y[:rows], case.shuffled), {}
    order = shuffled_rows(rows) if case.shuffled else None
    arguments = (case.problem.widths, small.start, small.X, small.y, batch)
    for peer in peers:
        adam = peer == ADAM
        loss, params = numpy_reference.truth(*arguments, ADAM_RATE if adam else RATE, order, adam)
        training = small.prepare(peer)
        training.epoch(order)
        wrong = training.params() - params
        found[peer] = {
            "loss": abs(training.loss() - loss) / abs(loss),
            "parameters": float(np.linalg.norm(wrong) / np.linalg.norm(params)),
            "change": float(np.linalg.norm(wrong) / np.linalg.norm(params - small.start)),
        }
    return found


def right(error):
    """Not where an error is NaN."""
    return (
        error["loss"] <= TOLERANCE and error["parameters"] <= TOLERANCE and error["change"] <= TOLERANCE_OF_CHANGE
    )  # fmt: skip


def shuffled_rows(rows):
    """The order of fastbp's first epoch with seed 0."""
    return np.random.default_rng([0, 0]).permutation(rows)


def measure(case, peers, most_rounds, between=None):
    """Seconds (rounds, peers) of a step, or of a shuffled epoch: in turns, every other round in reverse.

    `between` is called before some of the rounds, evenly over all.
    """
    order = shuffled_rows(len(case.X)) if case.shuffled else None
    trainings, steps = map(list, zip(*(_ready(case, peer, order) for peer in peers), strict=True))
    seconds = min(_seconds(lambda: trainings[0].epoch(order)) for _ in range(3)) / steps[0]
    rounds = int(np.clip(MOST_ROUNDS * ROUND_SECONDS / seconds, FEWEST_ROUNDS, MOST_ROUNDS))
    seconds = np.empty((min(rounds, most_rounds or rounds), len(peers)))
    gc.collect()
    gc.disable()
    try:
        for i, row in enumerate(seconds):
            if between is not None and i % -(-len(seconds) // MOST_BETWEEN) == 0:
                time.sleep(SETTLE_SECONDS)
                between()
            for k in range(len(peers))[:: 1 if i % 2 == 0 else -1]:
                time.sleep(SETTLE_SECONDS)
                trainings[k].epoch(order)  # not timed: threads that have slept first share the caller's processor
                start = time.perf_counter()
                trainings[k].epoch(order)
                row[k] = (time.perf_counter() - start) / steps[k]
    finally:
        gc.enable()
    return seconds


def _ready(case, peer, order):
    """A peer, warm, and by how many its time in a round is to be divided."""
    training = case.prepare(peer)
    training.epoch(order)
    if case.shuffled:
        return training, 1
    seconds = _seconds(training.epoch)
    steps = int(np.clip(np.ceil(case.steps * SLOW_SECONDS / seconds), 1, case.steps))
    if peer != "fastbp" and steps < case.steps:
        training = case.prepare(peer, steps * case.problem.batch)
        training.epoch()
        return training, steps
    return training, case.steps


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary(peers, seconds):
    """Medians, and each peer's ratio to the first: the median of the rounds' own ratios, with quartiles."""
    ratios = seconds / seconds[:, :1]
    return {
        peer: {
            "seconds": float(np.median(seconds[:, k])),
            "ratio": float(np.median(ratios[:, k])),
            "quartiles": [float(q) for q in np.percentile(ratios[:, k], (25, 75))],
        }
        for k, peer in enumerate(peers)
    }

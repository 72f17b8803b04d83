"""Draw problems, compute them in every way, compare. `PYTHONPATH=tests python -m differential.run --minutes 20`."""

import argparse
import os
import secrets
import sys
import time
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings

from differential.availability import available
from differential.compare import Account, MismatchError, against_truth, same_bits
from differential.problems import Problem, Training
from differential.reproduction import program
from differential.strategies import problems
from differential.truth import Truth
from differential.ways import all_ways
from differential.workers import Workers

ROUND = 200  # problems of one seed
SHRINKING = 45.0  # seconds for a smaller problem
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "report_multiple_bugs": False}


class Harness:
    """Ways, the processes that compute them, and the account of all comparisons."""

    def __init__(self, ways, workers):
        self.ways, self.workers, self.account = ways, workers, Account()

    def check(self, problem, ways=None):
        """Raise MismatchError if a way differs from the expected results, or from the way whose bits it repeats."""
        ways = [way for way in ways or self.ways if applies(way, problem)]
        answers = self.workers.answers(problem, ways)
        truths = {dtype: Truth(problem, dtype) for dtype in {way.dtype(problem) for way in ways}}
        self.account.problems += 1
        for way in ways:
            said = against_truth(way, answers[way.name], truths[way.dtype(problem)], self.account)
            if way.same_bits_as in answers and (way.same_bits_if == "always" or problem.deterministic):
                pair = (way.name, way.same_bits_as)
                said += same_bits(answers[way.name], answers[way.same_bits_as], pair, self.account)
            if said:
                raise mismatch(way, problem, said)

    def explore(self, seconds, first_seed=None):
        """Check random problems for a time; a MismatchError is that of the smallest problem that hypothesis found."""
        end, number = time.monotonic() + seconds, first_seed
        while time.monotonic() < end:
            number = secrets.randbits(32) if number is None else number
            print(f"differential: seed {number}", flush=True)
            self.explore_seed(number, end)
            number = None

    def explore_seed(self, number, end):
        """Check one round of problems. After the first mismatch only its way is checked, to find a small problem."""
        smallest = []

        @seed(number)
        @settings(max_examples=ROUND, phases=[Phase.generate, Phase.shrink], **QUIET)
        @given(problems())
        def one(problem):
            if time.monotonic() >= (smallest[0].until if smallest else end):
                raise OutOfTime
            try:
                self.check(problem, smallest[0].suspects if smallest else None)
            except MismatchError as found:
                found.suspects = [way for way in self.ways if way.name in (found.way.name, found.way.same_bits_as)]
                found.until = smallest[0].until if smallest else time.monotonic() + SHRINKING
                smallest[:] = [found]  # hypothesis tries smaller problems only
                raise

        try:
            one()
        except OutOfTime:
            if smallest:
                raise smallest[0] from None


class OutOfTime(BaseException):
    """End a round. hypothesis does not count this exception as a failure."""


def applies(way, problem):
    """Return whether a way can compute this problem."""
    if problem.seed % way.every:
        return False
    if way.name == "loss function":
        return problem.logits is None and problem.weights != "outputs"  # it has one value per row
    return True


def mismatch(way, problem, said):
    text = f"{way.name!r} differs\n  " + "\n  ".join(said) + "\n" + program(way, problem)
    error = MismatchError(text)
    error.way = way
    return error


def main(arguments=None):
    """The command line; the exit status is 1 if there is a mismatch."""
    parser = argparse.ArgumentParser(prog="differential", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="of the first round; later rounds draw theirs")
    parser.add_argument("--ways", default="", help="compute with ways whose name contains one of these, by commas")
    parser.add_argument("--keep-going", action="store_true", help="go on without a way that differs")
    parser.add_argument("--problem", help="check this problem alone: a text such as Problem(sizes=(3, 1))")
    given = parser.parse_args(arguments)
    names = [name for name in given.ways.split(",") if name]
    ways = [way for way in available(all_ways()) if not names or any(name in way.name for name in names)]
    with Workers() as workers:
        harness = Harness(ways, workers)
        if given.problem:
            values = {"Problem": Problem, "Training": Training, "nan": float("nan"), "inf": float("inf")}
            found = caught(lambda: harness.check(eval(given.problem, values)))
        else:
            found = search(harness, 60 * given.minutes, given.seed, given.keep_going)
    print(harness.account.table())
    print(f"{len(found)} ways differ" if found else "no mismatch")
    return 1 if found else 0


def caught(action):
    """A list with the MismatchError that the action raises, which is printed; or an empty one."""
    try:
        action()
    except MismatchError as found:
        print(found, flush=True)
        return [found]
    return []


def search(harness, seconds, first_seed, keep_going):
    """All mismatches of a time, one for each way."""
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end and harness.ways and (keep_going or not found):
        new = caught(partial(harness.explore, end - time.monotonic(), first_seed))
        for mismatch in new:
            harness.ways = [way for way in harness.ways if way.name != mismatch.way.name]
        found += new
        first_seed = None
    return found


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())

"""Random problems in every way for FASTBP_DIFFERENTIAL_SECONDS, 60 by default, shared by the tests of this file.

The first seed is fixed. Later ones are drawn and printed, and FASTBP_DIFFERENTIAL_SEED takes one of them as the first.
"""

import math
import os

import pytest
from helpers import require

from differential.availability import available
from differential.bounded import Bounded, Precision
from differential.compare import MismatchError
from differential.problems import Problem
from differential.run import Harness
from differential.truth import Truth
from differential.ways import all_ways
from differential.ways.canary import CANARIES
from differential.workers import Workers

SECONDS = float(os.environ.get("FASTBP_DIFFERENTIAL_SECONDS", "60"))
SEED = int(os.environ.get("FASTBP_DIFFERENTIAL_SEED", "0"))


def explored(ways, seconds):
    """The account of all problems of a time."""
    with Workers() as workers:
        harness = Harness(available(ways), workers)
        harness.explore(seconds, SEED)
    print(harness.account.table())
    return harness.account


def test_ways_agree():
    account = explored([way for way in all_ways() if way.framework is None], 0.6 * SECONDS)
    assert account.problems > 0
    assert sum(account.exact.values()) > 0


@pytest.mark.frameworks
def test_frameworks_agree():
    require("torch")
    require("jax")
    account = explored([way for way in all_ways() if way.framework], 0.3 * SECONDS)
    assert {"torch autograd", "fastbp.torch", "jax", "fastbp.jax, callback"} <= {first for first, _ in account.arrays}


FOUND = [  # problems that once showed a wrong result
    Problem(sizes=(1, 65), weights="outputs", reduction="sum"),
    Problem(sizes=(1, 130), rows=3, output=("logistic", 0.0), loss=("cross_entropy", 0.0), weights="outputs"),
    Problem(sizes=(1, 65), rows=2, output=("exp", 0.0), loss=("poisson", 0.0), weights="outputs"),
    Problem(sizes=(1, 2), output=("logistic", 0.0), loss=("cross_entropy", 0.0), reduction="sum", nonfinite=math.inf),
]


@pytest.mark.parametrize("problem", FOUND, ids=repr)
def test_what_was_found_stays_right(problem):
    with Workers() as workers:
        Harness([way for way in all_ways() if way.name in ("cpu", "plain", "reference")], workers).check(problem)


@pytest.mark.parametrize("canary", CANARIES, ids=lambda way: way.name)
def test_a_wrong_way_is_found(canary):
    base = [way for way in all_ways() if way.name == canary.same_bits_as]
    with Workers() as workers, pytest.raises(MismatchError) as found:
        Harness([*base, canary], workers).explore(max(0.1 * SECONDS, 20), SEED)
    assert found.value.way.name == canary.name
    assert f"--ways '{canary.name}'" in str(found.value)
    assert "Problem(" in str(found.value)


def test_a_bound_is_zero_for_whole_numbers_and_small_for_others():
    whole = Truth(Problem(sizes=(5, 4, 3), rows=4, hidden=(("relu", 0.0),), whole=True), "float32")
    assert max(result.error.max() for name, result in whole.results.items() if name != "example_grad_norm") == 0
    real = Truth(Problem(sizes=(5, 4, 3), rows=4, hidden=(("tanh", 0.0),)), "float32")
    grad = real.results["grad"]
    assert 0 < (grad.error / abs(grad.value).max()).max() < 1e-4


def test_a_sum_is_exact_up_to_the_last_bit():
    precision = Precision("float32")
    below, above = (Bounded(precision, [2.0**24 - n, 1.0], 0.0, 1.0) for n in (1, 0))
    assert below.sum().error == 0
    assert above.sum().error > 0

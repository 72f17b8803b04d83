"""Ways with wrong results on purpose, which the harness must find. They do not belong to `all_ways`."""

from dataclasses import replace

import numpy as np

from differential.ways import Way
from differential.ways.mlp import results


def scaled_gradient(problem):
    """One weight's gradient is off by a thousandth."""
    found = results(problem)
    grad = found["grad@value_and_grad"].copy()
    grad[0] *= 1 + 1e-3
    return found | {"grad@value_and_grad": grad}


def dropped_row(problem):
    """The last row is left out of a sum."""
    data = problem.data()
    if problem.rows < 2 or problem.reduction == "mean" or problem.training:
        return {}
    shorter = replace(problem, x_form="C")
    whole = results(shorter)["grad@value_and_grad"]
    return {"grad": whole - last_row(shorter, data)}


def last_row(problem, data):
    """The gradient of the last row alone."""
    from differential.ways.mlp import network

    last = slice(-1, None)
    c = None if data.c is None else data.c[last]
    return network(problem, data).value_and_grad(data.X[last], data.y[last], c, reduction="sum")[1]


def other_bits(problem):
    """A result that is right within its bound, and not bit for bit that of another way."""
    found = results(problem)
    return found | {"grad@value_and_grad": np.nextafter(found["grad@value_and_grad"], np.inf)}


CANARIES = [
    Way("a scaled gradient", "canary:scaled_gradient"),
    Way("a dropped row", "canary:dropped_row"),
    Way("other bits", "canary:other_bits", same_bits_as="cpu"),
]

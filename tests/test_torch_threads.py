"""The threads of fastbp.torch: torch's own, which its operations have awake, and the same numbers by them."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from helpers import require

import fastbp as fb

pytestmark = pytest.mark.frameworks
torch = require("torch")
nets = require("fastbp.torch._nets")
ROWS = 4000


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with fb.set_num_threads(2):
        yield
    torch.set_num_threads(before)


def gradients():
    torch.manual_seed(0)
    model = fb.torch.MLP((20, 100, 7))
    model.loss(torch.randn(ROWS, 20), torch.arange(ROWS) % 7)
    return [p.grad.numpy() for p in model.parameters()]


def test_the_members_of_a_team_are_torchs_threads(monkeypatch):
    """By a count of torch's that a net is made with in place of the runtime's own."""
    loaded = ctypes.CDLL(torch._C.__file__)
    seen = []

    @ctypes.CFUNCTYPE(ctypes.c_int)
    def thread_num():
        seen.append(loaded.omp_get_thread_num())
        return seen[-1]

    counted = [loaded.GOMP_parallel, thread_num, loaded.omp_get_num_threads]
    openmp = fb._core.OpenMP(*(ctypes.cast(function, ctypes.c_void_p).value for function in counted))
    monkeypatch.setattr(nets, "openmp_of_torch", lambda: openmp)
    nets.core_of.cache_clear()
    gradients()
    nets.core_of.cache_clear()
    assert sorted(seen) == [0, 1]


def test_the_numbers_are_those_of_fastbps_own_threads(monkeypatch):
    own_taken = fb._core.jobs_taken()
    nets.core_of.cache_clear()
    by_torchs = gradients()
    assert fb._core.jobs_taken() == own_taken
    monkeypatch.setattr(nets, "openmp_of_torch", lambda: None)
    nets.core_of.cache_clear()
    by_own = gradients()
    nets.core_of.cache_clear()
    assert fb._core.jobs_taken() != own_taken
    for found, expected in zip(by_torchs, by_own, strict=True):
        np.testing.assert_array_equal(found, expected)


FORK = """
import os, torch, fastbp as fb
from fastbp.torch import MLP
fb.set_num_threads(2)
torch.set_num_threads(2)
model, X, y = MLP((20, 100, 7)), torch.randn(4000, 20), torch.arange(4000) % 7
expected = model.loss(X, y)
child = os.fork()
right = model.loss(X, y) == expected
if child == 0:
    os._exit(0 if right else 1)
assert right
assert os.waitpid(child, 0)[1] == 0
"""


def test_the_child_of_a_fork_does_not_wait_for_its_parents_threads():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)

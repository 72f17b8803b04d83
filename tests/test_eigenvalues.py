"""The extreme eigenvalues of a Hessian by Lanczos' method end in bounded time, and say whether they converged."""

import time

import numpy as np
import pytest
import scipy.sparse.linalg

from fastbp import optimize
from fastbp.optimize import _eigenvalues


def no_convergence(*arguments, **options):
    raise scipy.sparse.linalg.ArpackNoConvergence("no convergence", np.empty(0), np.empty((0, 0)))


LIMITS = {
    "products": lambda patch: patch.setattr(_eigenvalues, "MOST_PRODUCTS", 21),
    "time": lambda patch: patch.setattr(_eigenvalues, "MOST_SECONDS", 0.02),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_search_for_eigenvalues_ends_where_it_does_not_converge(limit, monkeypatch):
    LIMITS[limit](monkeypatch)
    n, calls = 2000, []
    for spectrum, kind in ((np.linspace(1, 2, n), "degenerate"), (np.linspace(-1, 2, n), "saddle")):

        def hessp(x, v, spectrum=spectrum):
            calls.append(time.sleep(0.002))
            return spectrum * v

        low, high, converged = _eigenvalues.extreme_eigenvalues(np.zeros(n), None, hessp)
        assert not converged
        assert spectrum[0] <= low < high <= spectrum[-1]
        assert optimize.classify_stationary_point(np.zeros(n), hessp=hessp).kind == kind
    assert len(calls) <= 4 * 2 * 23


def test_failures_of_the_eigensolver(monkeypatch):
    spectrum = np.linspace(1, 2, 100)
    monkeypatch.setattr("scipy.sparse.linalg.eigsh", no_convergence)
    found = _eigenvalues.extreme_eigenvalues(np.zeros(100), None, lambda x, v: spectrum * v)
    assert not found.converged
    assert found.low == found.high == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("n", [3, 100])
def test_a_hessian_that_is_not_finite(n):
    found = _eigenvalues.extreme_eigenvalues(np.zeros(n), None, lambda x, v: np.full(n, np.nan))
    assert np.isnan(found[:2]).all()

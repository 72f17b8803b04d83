"""Shared parts of the tests of the seam's operations: numbers, layouts and tolerances."""

import numpy as np

TYPES = {"32": (np.float32, 2e-6), "64": (np.float64, 1e-14)}
PARAMETERS = {"leaky_relu": 0.01, "elu": 1.0}


def numbers(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


def nan(dtype, *shape):
    return np.full(shape, np.nan, dtype)


def close(found, expected, tolerance):
    scale = np.abs(expected).max(initial=1e-30)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(scale, 1.0))


def forms(array):
    """The same matrix as it is, as a transposed view, and inside a larger one."""
    wide = np.full((array.shape[0], array.shape[1] + 3), np.nan, array.dtype)
    wide[:, 1:-2] = array
    return [array, np.array(array, order="F"), wide[:, 1:-2]]

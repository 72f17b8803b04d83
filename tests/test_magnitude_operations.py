"""The operations that find numbers that are not finite or too large, on all backends."""

import numpy as np
import pytest

TYPES = {"32": (np.float32, 2.0**63), "64": (np.float64, 2.0**511)}
SPECIAL = [np.nan, -np.nan, np.inf, -np.inf]


@pytest.fixture(params=[(d, t) for d in ("plain", "cpu", "cuda") for t in TYPES], ids="-".join)
def ops(request, seam):
    device, bits = request.param
    return getattr(seam, f"Operations{bits}")(device), *TYPES[bits]


def views(array):
    """The same matrix as it is, as a transposed view, and inside a larger one that is full of nan."""
    wide = np.full((array.shape[0], array.shape[1] + 3), np.nan, array.dtype)
    wide[:, 1:-2] = array
    return [array, np.array(array, order="F"), wide[:, 1:-2]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (5, 16), (33, 17), (64, 70), (1, 4000)])
def test_largest_magnitude(ops, rng, shape):
    on, dtype, _ = ops
    m = rng.standard_normal(shape).astype(dtype)
    for place in {0, m.size // 2, m.size - 1}:
        changed = m.copy()
        for number in (-50.0, 50.0, np.finfo(dtype).max, *SPECIAL):
            changed.flat[place] = number
            expected = abs(number) if np.isfinite(number) else np.inf
            assert [on.largest_magnitude(view, 0.0) for view in views(changed)] == [expected] * 3
            assert on.largest_magnitude(changed, np.inf) == np.inf
    assert on.largest_magnitude(0 * m, 3.0) == 3.0
    assert on.largest_magnitude(m, 0.0) == np.abs(m).max()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 16), (33, 17), (64, 70)])
def test_bounds_of_a_pass(ops, rng, shape):
    """The bounds are never below a magnitude, never much above it or 2, and inf for nan."""
    on, dtype, _ = ops

    def check(x, hidden, delta):
        bounds = on.largest_magnitudes(x, hidden, delta)
        for bound, arrays in zip(bounds, ((x, hidden), (delta,)), strict=True):
            with np.errstate(invalid="ignore"):
                most = max(np.abs(a).max() if np.isfinite(a).all() else np.inf for a in arrays)
            assert most <= bound <= max(2.0, most) * (1 + 1e-6)

    one = rng.uniform(-1, 1, shape).astype(dtype)
    for x in views(one):
        check(x, np.abs(one), one)
        check(x, one, 3 * one)
    for number in (-50.0, 50.0, -2.0, 2.0, *SPECIAL):
        for k in range(3):
            arrays = [one.copy() for _ in range(3)]
            for place in {0, one.size // 2, one.size - 1}:
                arrays[k].flat[place] = number
                check(*arrays)
                arrays[1] = np.abs(arrays[1])
                check(*arrays)


@pytest.mark.parametrize("size", [1, 3, 8, 100, 1024, 1025, 5000])
def test_find_larger(ops, rng, size):
    on, dtype, large = ops
    v = rng.uniform(-1, 1, size).astype(dtype)
    assert on.find_larger(v, large) == -1
    assert on.find_larger(v * dtype(large), large) == -1
    assert on.find_larger(np.full(size, np.finfo(dtype).max), float(np.finfo(dtype).max)) == -1
    for place in {0, size // 2, size - 1}:
        for number in (4 * large, -4 * large, *SPECIAL):
            changed = v.copy()
            changed[place] = number
            assert on.find_larger(changed, large) == place
            changed[0] = np.nan
            assert on.find_larger(changed, large) == place


def test_note_gradient(ops):
    on, dtype, _ = ops
    v = np.array([1, np.inf, 3], dtype)
    assert on.note_gradient(v, -1) == (-1, -1, 0.0, 1)
    assert on.note_gradient(v, 1) == (1, 1, np.inf, 0)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_norms_do_not_overflow(ops, rng, size):
    on, dtype, _ = ops
    v = rng.uniform(1, 2, size).astype(dtype)
    for scale in (1.0, float(np.finfo(dtype).max) / 2):
        scaled = v * dtype(scale)
        expected = min(1.0, 1 / scale / (np.sqrt((v.astype(float) ** 2).sum()) + 1e-6 / scale))
        assert on.clip_to_1(scaled) == pytest.approx(expected, rel=1e-12)

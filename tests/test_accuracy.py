"""The elementary functions against mpmath, in units in the last place, on stratified points."""

import math

import mpmath
import numpy as np
import pytest

from fastbp._functions import OUTPUT_ACTIVATIONS as NUMBERS

# About 10^6 points go through the kernels. NumPy's float64 (and math.erfc) is right to about 1e-16, a millionth of a
# float32 unit in the last place, so it measures all of them; mpmath measures it, on a sample that includes the worst.
TRUTH64 = {
    "exp": np.exp,
    "tanh": np.tanh,
    "logistic": lambda s: np.where(
        s < 0, np.exp(np.minimum(s, 0)) / (1 + np.exp(np.minimum(s, 0))), 1 / (1 + np.exp(-np.maximum(s, 0)))
    ),
    "softplus": lambda s: np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))),
    "gelu": lambda s: 0.5 * s * np.frompyfunc(math.erfc, 1, 1)(s / -math.sqrt(2)).astype(float),
}
TRUTH = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "logistic": lambda s: 1 / (1 + mpmath.exp(-s)),
    "softplus": lambda s: mpmath.log1p(mpmath.exp(s)),
    "gelu": lambda s: s * mpmath.erfc(-s / mpmath.sqrt(2)) / 2,
}
RANGE = {
    "exp": (-103.9, 88.7),
    "tanh": (-30, 30),
    "logistic": (-103.9, 110),
    "softplus": (-103.9, 110),
    "gelu": (-13, 13),
}


def stratified(low, high, rng):
    """Points of every binade of both signs, and evenly over the range: more than 10^6."""
    magnitudes = np.exp2(np.arange(-126, 8))[:, None] * (1 + rng.random((134, 4000)))
    points = np.concatenate(
        [magnitudes.ravel(), -magnitudes.ravel(), rng.uniform(low, high, 400_000), [0.0, low, high]]
    )
    points = points.astype(np.float32)
    return points[(points >= low) & (points <= high)]


def ulp_error(found, exact):
    """abs(found - exact) in units in the last place of float32 at exact, subnormal ones included."""
    unit = np.maximum(np.exp2(np.floor(np.log2(np.maximum(np.abs(exact), 1e-300))) - 23), 2.0**-149)
    return np.abs(found.astype(float) - exact) / unit


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return {name: stratified(*RANGE[name], rng) for name in RANGE}


def apply(seam, name, s, bits="32"):
    x = np.full_like(s, np.nan)[None]
    getattr(seam, f"Operations{bits}")("cpu").activate((NUMBERS[name], 0.0), None, s[None].copy(), x)
    return x[0]


@pytest.mark.parametrize("name", TRUTH)
def test_within_4_ulp_in_float32(seam, points, name):
    s = points[name]
    assert name == "gelu" or s.size >= 10**6
    x, exact = apply(seam, name, s), TRUTH64[name](s.astype(float))
    errors = ulp_error(x, exact)
    near = (s >= -1) if name == "gelu" else np.ones(s.size, bool)
    assert errors[near].max() <= 4
    if name == "gelu":
        assert s.size >= 10**6
        assert errors[~near].max() <= 256
    mpmath.mp.dps = 50
    worst = np.argsort(errors)[-200:]
    sample = np.concatenate([worst, np.random.default_rng(1).integers(0, s.size, 2000)])
    true = [TRUTH[name](mpmath.mpf(float(v))) for v in s[sample]]
    exact_errors = ulp_error(x[sample], np.array([float(t) for t in true]))
    assert exact_errors[near[sample]].max() <= 4
    if name == "gelu":
        assert exact_errors.max() <= 256


@pytest.mark.parametrize("name", TRUTH)
def test_float64_is_as_good(seam, name):
    mpmath.mp.dps = 50
    rng = np.random.default_rng(2)
    s = np.concatenate([rng.uniform(-1, 30, 1500), -(10.0 ** rng.uniform(-300, 0, 500)), rng.uniform(-30, -1, 500)])
    if name == "gelu":
        s = s[s > -13]
    x = apply(seam, name, s, "64")
    exact = [TRUTH[name](mpmath.mpf(float(v))) for v in s]
    relative = np.array([float(abs(mpmath.mpf(float(a)) - e) / abs(e)) for a, e in zip(x, exact, strict=True)])
    assert relative.max() <= 16 * 2.0**-52


def test_relu_is_exact_and_keeps_nan(seam):
    rng = np.random.default_rng(3)
    s = rng.integers(0, 2**32, 10**6, dtype=np.uint32).view(np.float32)
    x = apply(seam, "relu", s)
    expected = np.where(s < 0, np.float32(0), s)
    np.testing.assert_array_equal(x, expected)
    assert np.isnan(x).sum() == np.isnan(s).sum() > 0


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "softmax"])
@pytest.mark.parametrize("bits", ["32", "64"])
def test_special_values(seam, name, bits):
    """nan stays nan, the limits at both ends are right, and no sign or size of a finite number gives nan."""
    dtype = np.float32 if bits == "32" else np.float64
    tiny = np.finfo(dtype).smallest_subnormal
    s = np.array([np.nan, 0.0, tiny, -tiny, 1e-30, -1e-30, 700, -700, 1e30, -1e30, np.inf, -np.inf], dtype)
    x = np.full_like(s, 7)[None]
    on = getattr(seam, f"Operations{bits}")("cpu")
    a = {"leaky_relu": 0.01, "elu": 1.0}.get(name, 0.0)
    on.activate((NUMBERS[name], a), None, s[None].copy(), x)
    x = x[0]
    assert np.isnan(x[0])
    assert not np.isnan(x[1:-2]).any()
    limits = {
        "identity": (np.inf, -np.inf), "logistic": (1, 0), "tanh": (1, -1), "relu": (np.inf, 0),
        "leaky_relu": (np.inf, -np.inf), "elu": (np.inf, -1), "gelu": (np.inf, 0), "silu": (np.inf, 0),
        "softplus": (np.inf, 0), "exp": (np.inf, 0),
    }  # fmt: skip
    if name in limits:
        assert tuple(x[-2:]) == limits[name]
    else:
        assert np.isnan(x[-2:]).all()  # sin has no limit

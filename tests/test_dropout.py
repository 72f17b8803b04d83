"""Dropout, clipping and gradient hooks: a training step against the same step in NumPy."""

import numpy as np
import pytest
from dropout_masks import factors, philox

import fastbp as fb
from fastbp import reference


def test_philox_gives_the_known_answers():
    """Random123's known-answer vectors for philox4x32, 10 rounds."""
    assert [int(w) for w in philox(0, 0, 0, 0, 0, 0)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert [int(w) for w in philox(ones, ones, ones, ones, ones, ones)] == [
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD,
    ]  # fmt: skip
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    assert [int(w) for w in philox(*pi)] == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def numpy_gradient(net, X, y, masks):
    """The reference's pass with masks between the layers."""
    w, b, g = net.weights, net.biases, net.activations
    s, x, kept = [], [X], [X]
    for k in range(len(w)):
        s.append(kept[-1] @ w[k] + b[k])
        x.append(reference.activate(g[k], s[-1]))
        kept.append(x[-1] * masks[k] if k < len(masks) else x[-1])
    value, delta = reference.output_delta(net.loss, g[-1], s[-1], x[-1], y, scale=1 / len(X))
    deltas = [delta]
    for k in range(len(w) - 1, 0, -1):
        u = (deltas[0] @ w[k].T) * masks[k - 1]
        deltas.insert(0, reference.multiply_by_derivative(*g[k - 1], s[k - 1], x[k], u))
    return value, reference.flatten(*reference.weight_gradients(kept, deltas))


@pytest.mark.parametrize("device", ["plain", "cpu", "cuda"])
@pytest.mark.parametrize("bits, dtype", [("32", np.float32), ("64", np.float64)])
def test_the_operation(seam, device, bits, dtype):
    on = getattr(seam, f"Operations{bits}")(device)
    rng = np.random.default_rng(8)
    values, rows = rng.standard_normal((6, 37)).astype(dtype), np.array([5, 0, 2**20, 7, 7, 1])
    expected = values * factors(2**50 + 9, 12, 3, rows, 37, 0.4).astype(dtype)
    dropped = np.full_like(values, np.nan)
    on.drop(0.6, 2**50 + 9, 12, 3, rows, 0, values, dropped)
    np.testing.assert_allclose(dropped, expected, rtol=1e-6 if bits == "32" else 1e-15)
    part = np.full((2, 10), np.nan, dtype)
    on.drop(0.6, 2**50 + 9, 12, 3, rows[2:4], 20, values[2:4, 20:30], part)
    np.testing.assert_array_equal(part, dropped[2:4, 20:30])
    in_place = values.copy()
    on.drop(0.6, 2**50 + 9, 12, 3, rows, 0, in_place, in_place)
    np.testing.assert_array_equal(in_place, dropped)


@pytest.mark.parametrize("hidden", [("tanh", "relu"), ("gelu", "logistic"), ("silu", "elu"), ("identity", "sine")])
@pytest.mark.parametrize("threads", [1, 3])
def test_steps_with_dropout_equal_numpy(hidden, threads):
    rng = np.random.default_rng(0)
    rates, lr, seed = (0.3, 0.5), 0.2, 2**40 + 77
    X, y = rng.standard_normal((90, 5)), rng.integers(0, 3, 90)
    net = fb.MLP(
        (5, 33, 18, 3), loss="cross_entropy", activation=list(hidden), dropout=rates, seed=1, dtype="float64"
    )
    expected = fb.MLP((5, 33, 18, 3), loss="cross_entropy", activation=list(hidden), dtype="float64")
    expected.params = net.params
    with fb.set_num_threads(threads):
        history = net.fit(X, y, optimizer=fb.SGD(lr), batch_size=40, epochs=2, seed=seed)
    step, losses = 0, []
    for epoch in range(2):
        order = np.random.default_rng([seed, epoch]).permutation(90)
        total = 0.0
        for begin in range(0, 90, 40):
            rows = order[begin : begin + 40]
            step += 1
            masks = [factors(seed, step, k, rows, d, rates[k]) for k, d in enumerate((33, 18))]
            value, grad = numpy_gradient(expected, X[rows], y[rows], masks)
            expected.params -= lr * grad
            total += value * len(rows)
        losses.append(total / 90)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(net.params, expected.params, rtol=0, atol=1e-12)


def test_the_rate_is_met():
    rows, units = 500, 400
    kept = factors(9, 3, 1, np.arange(rows), units, 0.25) > 0
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / kept.size)
    assert abs(np.corrcoef(kept[:, 0], kept[:, 1])[0, 1]) < 0.2


def test_evaluation_drops_nothing_and_resuming_is_exact():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((64, 4)), rng.standard_normal((64, 2))

    def fresh():
        return fb.MLP((4, 30, 2), loss="squared_error", dropout=0.4, seed=2)

    plain = fb.MLP((4, 30, 2), loss="squared_error", seed=2)
    assert fresh().value(X, y) == plain.value(X, y)
    np.testing.assert_array_equal(fresh().forward(X), plain.forward(X))
    whole, parts = fresh(), fresh()
    whole.fit(X, y, epochs=4, batch_size=20, seed=5)
    history = parts.fit(X, y, epochs=1, batch_size=20, seed=5)
    parts.fit(X, y, epochs=3, batch_size=20, state=history.state)
    np.testing.assert_array_equal(whole.params, parts.params)
    other = fresh()
    other.fit(X, y, epochs=4, batch_size=20, seed=6)
    assert not np.array_equal(whole.params, other.params)


@pytest.mark.parametrize("wrong", [-0.1, 1.0, 1.5, float("nan"), (0.1, 0.2), "0.5", [None]])
def test_refused_rates(wrong):
    with pytest.raises((ValueError, TypeError), match="dropout"):
        fb.MLP((3, 4, 2), dropout=wrong)


def clipped(grad, largest):
    return grad * min(1.0, largest / (np.linalg.norm(grad) + 1e-6))


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("rows", [40, 400])
@pytest.mark.parametrize("largest", [0.05, 1e6])
def test_clipping_by_norm(threads, rows, largest):
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((800, 6)), rng.standard_normal((800, 2))
    net = fb.MLP((6, 90, 2), loss="squared_error", activation="tanh", seed=1, dtype="float64", l2=0.01)
    expected = net.params.copy()
    twin = fb.MLP((6, 90, 2), loss="squared_error", activation="tanh", dtype="float64", l2=0.01)
    with fb.set_num_threads(threads):
        net.fit(X, y, optimizer=fb.SGD(0.1), batch_size=rows, epochs=1, shuffle=False, max_grad_norm=largest)
    for begin in range(0, 800, rows):
        twin.params = expected
        grad = twin.value_and_grad(X[begin : begin + rows], y[begin : begin + rows])[1]
        expected -= 0.1 * clipped(grad, largest)
    np.testing.assert_allclose(net.params, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_hook_sees_and_changes_each_layers_gradient(threads):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    net = fb.MLP((5, 70, 3), loss="cross_entropy", activation="tanh", seed=1, dtype="float64")
    expected = net.value_and_grad(X, y)[1]
    before, seen = net.params.copy(), []

    def hook(k, g):
        seen.append((k, g.copy()))
        g *= k + 1

    with fb.set_num_threads(threads):
        net.fit(X, y, optimizer=fb.SGD(0.5), batch_size=None, epochs=1, shuffle=False, grad_hook=hook)
    assert [k for k, _ in seen] == [1, 0]
    np.testing.assert_allclose(np.concatenate([seen[1][1], seen[0][1]]), expected, rtol=0, atol=1e-14)
    factor = np.repeat([1, 2], [5 * 70 + 70, 70 * 3 + 3])
    np.testing.assert_allclose(net.params, before - 0.5 * factor * expected, rtol=0, atol=1e-14)


def test_a_failing_hook_ends_the_fit_before_its_step():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    net = fb.MLP((5, 8, 3), loss="cross_entropy", seed=1)
    calls, states = [], []

    def hook(k, g):
        calls.append(k)
        states.append(net.params.copy())
        if len(calls) == 4:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more") as caught:
        net.fit(X, y, optimizer=fb.Adam(), batch_size=10, epochs=2, grad_hook=hook)
    np.testing.assert_array_equal(net.params, states[3])
    assert caught.value.history.state.step == 1


def test_gradients_that_a_hook_keeps_are_valid_after_the_training():
    """They are parts of one array, which holds the gradient of the last step."""
    net = fb.MLP((3, 4, 2), loss="squared_error", seed=0)
    X, y = np.ones((8, 3)), np.ones((8, 2))
    kept, last = [], {}

    def hook(k, g):
        kept.append(g[1:])
        last[k] = g.copy()

    net.fit(X, y, optimizer=fb.Adam(), batch_size=4, epochs=1, grad_hook=hook)
    assert len(kept) == 4
    for part, k in zip(kept, (1, 0, 1, 0), strict=True):
        np.testing.assert_array_equal(part, last[k][1:])
    if isinstance(kept[0], np.ndarray):  # not on a device
        owner = kept[0].base
        assert owner.flags.owndata
        assert owner.size == net.params.size
        assert all(part.base is owner for part in kept)


@pytest.mark.parametrize(
    "options", [{"max_grad_norm": 0}, {"max_grad_norm": -1.0}, {"max_grad_norm": "1"}, {"grad_hook": 3}]
)
def test_refused_options(options):
    net = fb.MLP((2, 1), loss="squared_error", seed=0)
    before = net.params.copy()
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        net.fit(np.ones((4, 2)), np.ones(4), **options)
    np.testing.assert_array_equal(net.params, before)

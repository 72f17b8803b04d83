"""RMSprop, Adagrad, AdamW and Rprop against NumPy steps from torch's documented formulas, and by hand."""

import dataclasses
import pickle

import numpy as np
import pytest

import fastbp as fb
from fastbp import _core

X, Y = np.random.default_rng(11).normal(size=(40, 3)), np.random.default_rng(12).normal(size=(40, 2))
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def adam(p, g, memory, t, lr, betas, eps, weight_decay):
    return adam_direction(p, g + weight_decay * p, memory, t, lr, betas, eps)


def adamw(p, g, memory, t, lr, betas, eps, weight_decay):
    return adam_direction(p - lr * weight_decay * p, g, memory, t, lr, betas, eps)


def adam_direction(p, g, memory, t, lr, betas, eps):
    memory["m"] = betas[0] * memory.get("m", 0) + (1 - betas[0]) * g
    memory["v"] = betas[1] * memory.get("v", 0) + (1 - betas[1]) * g**2
    m, v = memory["m"] / (1 - betas[0] ** t), memory["v"] / (1 - betas[1] ** t)
    return p - lr * m / (np.sqrt(v) + eps)


def rmsprop(p, g, memory, t, lr, alpha, eps, weight_decay, momentum, centered):
    g = g + weight_decay * p
    memory["v"] = alpha * memory.get("v", 0) + (1 - alpha) * g**2
    memory["mean"] = alpha * memory.get("mean", 0) + (1 - alpha) * g
    v = memory["v"] - memory["mean"] ** 2 if centered else memory["v"]
    memory["b"] = momentum * memory.get("b", 0) + g / (np.sqrt(v) + eps)
    return p - lr * memory["b"]


def adagrad(p, g, memory, t, lr, lr_decay, weight_decay, initial_accumulator_value, eps):
    g = g + weight_decay * p
    memory["sum"] = memory.get("sum", initial_accumulator_value) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(memory["sum"]) + eps)


def rprop(p, g, memory, t, lr, etas, step_sizes):
    previous, size = memory.get("previous", np.zeros_like(p)), memory.get("size", np.full_like(p, lr))
    p, g = p.copy(), g.copy()
    for i in range(len(p)):
        if g[i] * previous[i] > 0:
            size[i] = min(size[i] * etas[1], step_sizes[1])
        elif g[i] * previous[i] < 0:
            size[i] = max(size[i] * etas[0], step_sizes[0])
            g[i] = 0
        else:
            size[i] = min(max(size[i], step_sizes[0]), step_sizes[1])
        p[i] -= size[i] * np.sign(g[i])
    memory.update(previous=g, size=size)
    return p


STEPS = {fb.Adam: adam, fb.AdamW: adamw, fb.RMSprop: rmsprop, fb.Adagrad: adagrad, fb.Rprop: rprop}
RECIPES = {
    "adam": fb.Adam(lr=0.02),
    "adamw": fb.AdamW(lr=0.02),
    "adamw all": fb.AdamW(lr=0.03, betas=(0.7, 0.95), eps=1e-3, weight_decay=0.5),
    "rmsprop": fb.RMSprop(),
    "rmsprop decay": fb.RMSprop(lr=0.02, alpha=0.8, eps=1e-3, weight_decay=0.2),
    "rmsprop momentum": fb.RMSprop(momentum=0.9),
    "rmsprop centered": fb.RMSprop(centered=True),
    "rmsprop all": fb.RMSprop(lr=0.02, alpha=0.9, eps=1e-3, weight_decay=0.2, momentum=0.5, centered=True),
    "adagrad": fb.Adagrad(),
    "adagrad all": fb.Adagrad(lr=0.1, lr_decay=0.3, weight_decay=0.2, initial_accumulator_value=0.7, eps=1e-3),
    "rprop": fb.Rprop(),
    "rprop all": fb.Rprop(lr=0.03, etas=(0.3, 1.5), step_sizes=(0.01, 0.05)),
}
by_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def expected_step(recipe, memory, t, p, g):
    return STEPS[type(recipe)](p, g, memory, t, **vars(recipe))


def close(found, expected, rtol):
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max(initial=1e-300))


@by_recipe
@by_dtype
@pytest.mark.parametrize("size", [1, 17, 1000])
def test_updates_equal_numpy(recipe, dtype, size, rng):
    p = rng.normal(size=size).astype(dtype)
    state, expected, memory = recipe.init(p), p.astype("f8"), {}
    for t in range(1, 31):
        g = (rng.normal(size=size) + np.sin(np.arange(size))).astype(dtype)
        g[rng.random(size) < 0.1] = 0
        state.update(p, g)
        expected = expected_step(recipe, memory, t, expected, g.astype("f8"))
        close(p, expected, TOLERANCE[dtype])
    assert p.dtype == dtype
    assert {m.dtype for m in state.moments} == {np.dtype(dtype)}


@by_recipe
@pytest.mark.parametrize("batch_size", [40, 16])
def test_fit_equals_numpy(recipe, batch_size):
    make = lambda: fb.MLP((3, 6, 2), loss="squared_error", activation="tanh", seed=0, dtype="float64", l2=0.1)  # noqa: E731
    net, twin, memory, t = make(), make(), {}, 0
    net.fit(X, Y, optimizer=recipe, epochs=6, batch_size=batch_size, shuffle=False)
    for _ in range(6):
        for begin in range(0, 40, batch_size):
            rows, t = slice(begin, begin + batch_size), t + 1
            grad = twin.value_and_grad(X[rows], Y[rows])[1]
            twin.params[:] = expected_step(recipe, memory, t, twin.params.copy(), grad)
    close(net.params, twin.params, 1e-11)


@by_dtype
def test_fit_in_both_dtypes(dtype):
    for recipe in RECIPES.values():
        net = fb.MLP((3, 6, 2), loss="squared_error", seed=0, dtype=dtype)
        before = net.value(X, Y)
        net.fit(X, Y, optimizer=recipe, epochs=40, batch_size=40, shuffle=False)
        assert net.params.dtype == dtype
        assert net.value(X, Y) < before


BY_HAND = {
    # v = 0.25 * 9, and 3 / 1.5 is the direction
    "rmsprop": (fb.RMSprop(lr=0.1, alpha=0.75, eps=0), 1.0, [3.0], [0.8]),
    # alpha 0 makes the direction a sign; the second one is 0.5 * 1 + 1
    "rmsprop momentum": (fb.RMSprop(lr=0.1, alpha=0, eps=0, momentum=0.5), 1.0, [3.0, 7.0], [0.9, 0.75]),
    # v = 2, mean = 1: a variance of 1
    "rmsprop centered": (fb.RMSprop(lr=0.1, alpha=0.5, eps=0, centered=True), 1.0, [2.0], [0.8]),
    # the gradient becomes 2 + 0.5 * 2, v = 0.75 * 0 + 0.25 * 9, and the denominator 1.5 + 0.5
    "rmsprop decay": (fb.RMSprop(lr=0.1, alpha=0.75, eps=0.5, weight_decay=0.5), 2.0, [2.0], [1.85]),
    # sums of 25 and 169; the second learning rate is halved
    "adagrad": (
        fb.Adagrad(lr=0.5, lr_decay=1, initial_accumulator_value=16, eps=0), 1.0, [3.0, 12.0], [0.7, 0.7 - 3 / 13],
    ),
    "adagrad decay": (fb.Adagrad(lr=0.5, weight_decay=0.5, eps=3), 2.0, [2.0], [1.75]),
    # 0.95 of the parameter stays, and the first direction is a sign
    "adamw": (fb.AdamW(lr=0.5, weight_decay=0.1, eps=0), 1.0, [2.0], [0.45]),
    # steps 0.5, 0.6; a change of sign: 0.3 and rest; then 0.3 without looking back; then 0.36
    "rprop": (fb.Rprop(lr=0.5), 1.0, [3.0, 0.1, -1.0, -1.0, -1.0], [0.5, -0.1, -0.1, 0.2, 0.56]),
    "rprop limits": (fb.Rprop(lr=0.5, step_sizes=(0.4, 0.55)), 1.0, [1.0, 1.0, -1.0, 1.0], [0.5, -0.05, -0.05, -0.45]),
    "rprop lr too large": (fb.Rprop(lr=0.5, step_sizes=(0.1, 0.2)), 1.0, [1.0], [0.8]),
    "rprop gradient 0": (fb.Rprop(lr=0.5), 1.0, [0.0, 1.0, 0.0, 1.0], [1.0, 0.5, 0.5, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
@by_dtype
def test_steps_worked_by_hand(name, dtype):
    recipe, start, gradients, values = BY_HAND[name]
    p = np.array([start], dtype)
    state = recipe.init(p)
    for g, value in zip(gradients, values, strict=True):
        state.update(p, [g])
        assert p[0] == pytest.approx(value, rel=1e-6 if dtype == "float32" else 1e-14)


def test_moments_start_as_documented():
    def start(recipe):
        return [m.tolist() for m in recipe.init(np.ones(2)).moments]

    assert start(fb.AdamW()) == [[0, 0]] * 2
    assert start(fb.RMSprop()) == [[0, 0]]
    assert start(fb.RMSprop(momentum=0.1)) == start(fb.RMSprop(centered=True)) == [[0, 0]] * 2
    assert start(fb.RMSprop(momentum=0.1, centered=True)) == [[0, 0]] * 3
    assert start(fb.Adagrad(initial_accumulator_value=0.5)) == [[0.5, 0.5]]
    assert start(fb.Rprop(lr=0.25)) == [[0, 0], [0.25, 0.25]]


def test_a_later_learning_rate_means_nothing_to_rprop_only():
    for recipe in RECIPES.values():
        a, b = np.ones(3), np.ones(3)
        one, other = recipe.init(a), recipe.init(b)
        other.optimizer = dataclasses.replace(recipe, lr=2 * recipe.lr)
        one.update(a, [1.0, 2.0, 3.0])
        other.update(b, [1.0, 2.0, 3.0])
        assert np.array_equal(a, b) == isinstance(recipe, fb.Rprop)


@by_recipe
@by_dtype
def test_a_pickled_state_goes_on(recipe, dtype, rng):
    p, gradients = rng.normal(size=9).astype(dtype), rng.normal(size=(6, 9))
    state, begin = recipe.init(p, seed=4), p.copy()
    for g in gradients[:3]:
        state.update(p, g)
    q, other = p.copy(), pickle.loads(pickle.dumps(state))
    assert other.optimizer == recipe
    assert (other.step, other.seed) == (3, 4)
    for g in gradients[3:]:
        state.update(p, g)
        other.update(q, g)
    assert (p != begin).all()
    np.testing.assert_array_equal(p, q)
    for a, b in zip(state.moments, other.moments, strict=True):
        np.testing.assert_array_equal(a, b)


def test_defaults():
    assert fb.RMSprop() == fb.RMSprop(
        lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False
    )  # fmt: skip
    assert fb.Adagrad() == fb.Adagrad(lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10)
    assert fb.AdamW() == fb.AdamW(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    assert fb.Rprop() == fb.Rprop(lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50))
    assert fb.AdamW() != fb.Adam(weight_decay=1e-2)


NUMBERS = {
    fb.RMSprop: ["lr", "alpha", "eps", "weight_decay", "momentum"],
    fb.Adagrad: ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"],
    fb.AdamW: ["lr", "eps", "weight_decay"],
    fb.Rprop: ["lr"],
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in NUMBERS.items() for name in names])
def test_numbers_below_zero_are_refused(kind, name):
    for value in (-1e-3, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"^{name} is .*, expected a finite number >= 0"):
            kind(**{name: value})
    for value in ("0.1", None, True, [0.1]):
        with pytest.raises(TypeError, match=rf"^{name} is .*, expected a finite number >= 0"):
            kind(**{name: value})


REFUSED = [
    (fb.RMSprop, {"alpha": 1.0}, r"alpha is 1\.0, expected a number from 0 to below 1"),
    (fb.RMSprop, {"alpha": 2}, "alpha is 2, expected"),
    (fb.AdamW, {"betas": (0.9, 1.0)}, r"betas is \(0\.9, 1\.0\), expected two numbers from 0 to below 1"),
    (fb.AdamW, {"betas": (-0.1, 0.9)}, "betas is"),
    (fb.AdamW, {"betas": (0.9,)}, "betas is"),
    (fb.Rprop, {"etas": (1.2, 0.5)}, r"etas is \(1\.2, 0\.5\), expected two numbers with 0 < etas\[0\] < 1"),
    (fb.Rprop, {"etas": (0.0, 1.2)}, "etas is"),
    (fb.Rprop, {"etas": (0.5, 1.0)}, "etas is"),
    (fb.Rprop, {"etas": (0.5, float("inf"))}, "etas is"),
    (fb.Rprop, {"etas": (0.5, 1.2, 2.0)}, "etas is"),
    (fb.Rprop, {"step_sizes": (1.0, 0.5)}, r"step_sizes is \(1\.0, 0\.5\), expected two numbers with 0 <= least"),
    (fb.Rprop, {"step_sizes": (-1.0, 0.5)}, "step_sizes is"),
    (fb.Rprop, {"step_sizes": (float("nan"), 0.5)}, "step_sizes is"),
]


@pytest.mark.parametrize("kind, given, text", REFUSED)
def test_values_out_of_range_are_refused(kind, given, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        kind(**given)


@pytest.mark.parametrize("value", [0.5, "ab", (0.5, "1.2"), {0.5, 1.2}, None, (True, 2)])
def test_pairs_are_pairs_of_numbers(value):
    for kind, name in ((fb.AdamW, "betas"), (fb.Rprop, "etas"), (fb.Rprop, "step_sizes")):
        with pytest.raises(TypeError, match=rf"^{name} is .*, expected two numbers"):
            kind(**{name: value})


def test_numbers_of_numpy_and_lists_will_do():
    p, q = np.ones(4), np.ones(4)
    fb.Rprop(lr=np.float32(0.25), etas=[np.float64(0.5), 2], step_sizes=[0, float("inf")]).init(p).update(p, np.ones(4))
    fb.RMSprop(lr=np.float32(0.25), alpha=np.float64(0), eps=np.int64(0), centered=np.False_).init(q).update(q, -p - 1)
    np.testing.assert_array_equal(p, np.full(4, 0.75))
    np.testing.assert_array_equal(q, np.full(4, 1.25))


def test_a_number_that_is_no_optimiser():
    assert [_core.StepRule(kind=kind).moment_count for kind in (-1, 6)] == [-1, -1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "optimizer",
    [
        fb.Adam(lr=1e-3),
        fb.AdamW(lr=1e-3, weight_decay=0),
        fb.SGD(lr=1e-3, momentum=0.5),
        fb.RMSprop(alpha=0.5, momentum=0.5, centered=True),
    ],
    ids=lambda o: type(o).__name__,
)
def test_moments_die_before_they_become_subnormal(optimizer, dtype):
    """A weight whose gradient has become zero, as of a rare pixel: its moments reach 0 and move it no more."""
    p = np.ones(5, dtype)
    state = optimizer.init(p)
    state.update(p, np.full(5, 0.1, dtype))
    zeros = np.zeros(5, dtype)
    for _ in range(10_000):
        before = p.copy()
        state.update(p, zeros)
        moments = np.concatenate(state.moments)
        assert not ((moments != 0) & (np.abs(moments) < np.finfo(dtype).tiny)).any()
    assert not state.moments[0].any() or isinstance(optimizer, fb.RMSprop)
    np.testing.assert_array_equal(p, before)


def test_squares_stay_where_the_step_depends_on_them_alone():
    """With eps = 0 Adam's step does not depend on the gradient's scale, however small."""
    p, tiny = np.ones(3, np.float32), np.full(3, 1e-19, np.float32)
    state = fb.Adam(lr=1e-3, eps=0).init(p)
    state.update(p, tiny)
    np.testing.assert_allclose(p, 1 - 1e-3, rtol=1e-6)

"""fit, train_step and state.update against the NumPy reference, going on after a stop, what ends a fit."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference as ref

SIZES = (3, 6, 2)
N = 37


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)), rng.normal(size=(N, 2)), rng.uniform(0.5, 2.0, size=N)


X, Y, C = data()
OPTIMIZERS = {
    "sgd": fb.SGD(lr=0.1),
    "momentum": fb.SGD(lr=0.05, momentum=0.9),
    "dampening": fb.SGD(lr=0.1, momentum=0.8, dampening=0.3),
    "nesterov": fb.SGD(lr=0.05, momentum=0.9, nesterov=True),
    "sgd decay": fb.SGD(lr=0.1, weight_decay=0.1),
    "momentum decay": fb.SGD(lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam": fb.Adam(lr=0.02),
    "adam decay": fb.Adam(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
}


def make(**options):
    settings = {"loss": "squared_error", "activation": "tanh", "seed": 0, "dtype": "float64"}
    return fb.MLP(SIZES, **{**settings, **options})


def reference_step(optimizer):
    """The reference's step(params, grads) with a memory of its own."""
    options, memory = vars(optimizer).copy(), {}
    step = ref.adam_step if isinstance(optimizer, fb.Adam) else ref.sgd_step
    return lambda params, grads: step(params, grads, memory, **options)


def close(a, b, rtol=1e-12):
    b = np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max(initial=1e-300))


def compare(optimizer, c=None, batch_size=8, *, shuffle=True, drop_last=False, y=Y, **options):
    """Train by fit and by the reference in the same row orders; returns the history."""
    net, epochs, rtol = make(**options), 4, 1e-12
    params = net.params.copy()
    w, b = ref.views(params, SIZES)
    state = optimizer.init(net.params, seed=5)
    orders = []
    for epoch in range(epochs):
        state.epoch = epoch
        orders.append(state.order(N) if shuffle else np.arange(N))
        if drop_last:
            orders[-1] = orders[-1][: N // batch_size * batch_size]
    state.epoch = 0
    losses = ref.train(
        w, b, X, y, net.activations, net.loss, orders, reference_step(optimizer), batch_size, sample_weight=c,
        l2=options.get("l2", 0.0), l1=options.get("l1", 0.0),
    )  # fmt: skip
    history = net.fit(X, y, c, state=state, batch_size=batch_size, epochs=epochs, shuffle=shuffle, drop_last=drop_last)
    assert not np.array_equal(net.params, make().params)
    close(net.params, params, rtol)
    close(history.loss, losses, rtol)
    return history


@pytest.mark.parametrize("penalties", [{}, {"l2": 0.05}, {"l1": 0.02}, {"l2": 0.05, "l1": 0.02}], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_equals_the_reference(name, penalties):
    assert compare(OPTIMIZERS[name], **penalties).state.step == 4 * 5
    compare(OPTIMIZERS[name], C, **penalties)
    compare(OPTIMIZERS[name], deterministic=True, **penalties)


@pytest.mark.parametrize("name", ["sgd", "sgd decay", "nesterov", "adam"])
@pytest.mark.parametrize("batch_size", [1, 8, N - 1, N, N + 1, 10**12, None])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches(batch_size, shuffle, name):
    history = compare(OPTIMIZERS[name], C, batch_size, shuffle=shuffle, l2=0.01)
    assert history.state.step == 4 * math.ceil(N / (batch_size or N))
    assert history.state.epoch == 4
    if batch_size and batch_size < N:
        history = compare(OPTIMIZERS[name], C, batch_size, shuffle=shuffle, drop_last=True)
        assert history.state.step == 4 * (N // batch_size)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mini_batches_that_weigh_nothing_make_no_step(name):
    c = C.copy()
    c[8:24] = 0
    c[0] = 0
    history = compare(OPTIMIZERS[name], c, shuffle=False, l2=0.05)
    assert history.state.step == 4 * 3
    c[:] = 0
    c[3] = 2.0
    assert compare(OPTIMIZERS[name], c, batch_size=4).state.step == 4


def test_other_losses(rng):
    classes, rates = rng.integers(0, 2, size=N), rng.poisson(1.0, size=Y.shape)
    compare(fb.Adam(), C, y=classes, loss="cross_entropy", activation="relu")
    compare(fb.SGD(0.1), C, y=rates, loss="poisson", activation="gelu")
    compare(fb.SGD(0.1), C[:, None] * rng.integers(0, 2, size=Y.shape))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_update(name, rng):
    p = rng.normal(size=(4, 3))
    expected, step = [p.copy()], reference_step(OPTIMIZERS[name])
    state = OPTIMIZERS[name].init(p)
    single = p.astype("f4")
    single_state = OPTIMIZERS[name].init(single)
    for k in range(5):
        grad = rng.normal(size=p.shape)
        step(expected, [grad])
        state.update(p, np.asfortranarray(grad) if k % 2 else grad.tolist())
        single_state.update(single, grad)
    close(p, expected[0], 1e-14)
    close(single, expected[0], 1e-5)
    assert state.step == 5
    assert {m.dtype for m in single_state.moments} <= {np.dtype("f4")}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_going_on_equals_one_fit(name, dtype):
    whole, parts = (make(dtype=dtype, l2=0.01) for _ in range(2))
    long = whole.fit(X, Y, C, optimizer=OPTIMIZERS[name], epochs=5, batch_size=8, seed=2)
    first = parts.fit(X, Y, C, optimizer=OPTIMIZERS[name], epochs=2, batch_size=8, seed=2)
    parts, state = pickle.loads(pickle.dumps((parts, first.state)))
    second = parts.fit(X, Y, C, state=state, epochs=3, batch_size=8)
    assert second.state is state
    np.testing.assert_array_equal(parts.params, whole.params)
    assert first.loss + second.loss == long.loss
    assert (state.step, state.epoch, state.seed) == (long.state.step, long.state.epoch, long.state.seed)
    for a, b in zip(state.moments, long.state.moments, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seeds():
    def trained(**options):
        net = make()
        net.fit(X, Y, epochs=2, batch_size=8, **options)
        return net.params

    np.testing.assert_array_equal(trained(seed=1), trained(seed=1))
    assert not np.array_equal(trained(seed=1), trained(seed=2))
    assert not np.array_equal(trained(), trained())
    np.testing.assert_array_equal(trained(seed=1, shuffle=False), trained(seed=2, shuffle=False))
    state = fb.SGD().init(np.zeros(1), seed=4)
    first, again = state.order(50), state.order(50)
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == list(range(50))
    state.epoch = 1
    assert not np.array_equal(state.order(50), first)
    assert fb.SGD().init(np.zeros(1)).seed != fb.SGD().init(np.zeros(1)).seed


def test_history():
    net = make(l2=0.1)
    validation = (X[:9] + 0.1, Y[:9], C[:9])
    seen = []

    def look(given, history):
        assert given is net
        found = net.value(*validation) - 0.05 * sum((w**2).sum() for w in net.weights)
        seen.append((len(history.loss), history.val_loss[-1], found))

    history = net.fit(X, Y, epochs=3, optimizer=fb.Adam(0.02), validation_data=validation, callbacks=[look])
    assert [k for k, _, _ in seen] == [1, 2, 3]
    close([v for _, v, _ in seen], [v for _, _, v in seen], 1e-13)
    lists = (history.loss, history.val_loss, history.lr, history.seconds, history.rows_per_second)
    assert [len(v) for v in lists] == [3] * 5
    assert all(type(v) is float for numbers in lists for v in numbers)
    assert history.lr == [0.02] * 3
    assert min(history.seconds) > 0
    close(np.multiply(history.seconds, history.rows_per_second), [N] * 3)
    assert history.stop_reason == "epochs"
    assert history.val_loss[0] > history.val_loss[-1]
    one = make(l2=0.1)
    first = one.fit(X, Y, epochs=1, batch_size=None)
    close(first.loss, [make().value(X, Y)])
    assert first.val_loss == []
    bare = make().fit(X, Y, epochs=1, validation_data=validation[:2])
    assert len(bare.val_loss) == 1


def test_callbacks_may_stop_and_write():
    net = make()

    def stop(net, history):
        net.params = np.zeros(net.params.size)
        if len(history.loss) == 3:
            raise StopIteration

    late = []
    history = net.fit(X, Y, epochs=9, callbacks=[stop, lambda net, history: late.append(0)], seed=0)
    assert history.stop_reason == "callback"
    assert len(history.loss) == 3
    assert len(late) == 2
    assert not net.params.any()
    close(history.loss[1:], [0.5 * (Y**2).sum() / N] * 2)  # each epoch, one mini-batch, starts from 0


def diverging_at(first_bad, optimizer, **options):
    """A fit without shuffling over rows of which one is not a number."""
    x = X.copy()
    x[first_bad, 1] = np.nan
    net = make(**options)
    before = make(**options)
    whole = first_bad // 8 * 8
    good = before.fit(X[:whole], Y[:whole], optimizer=optimizer, epochs=1, batch_size=8, shuffle=False)
    with pytest.raises(FloatingPointError, match=rf"^\[fit\] X\[{first_bad}, 1\] is nan: the loss is not") as caught:
        net.fit(x, Y, optimizer=optimizer, epochs=3, batch_size=8, shuffle=False)
    history = caught.value.history
    assert history.stop_reason == "FloatingPointError"
    assert history.loss == []
    assert history.state.step == good.state.step == first_bad // 8
    assert history.state.epoch == 0
    np.testing.assert_array_equal(net.params, before.params)
    for a, b in zip(history.state.moments, good.state.moments, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_that_is_not_finite_ends_the_fit(name, dtype):
    for options in ({}, {"l2": 0.1}, {"l1": 0.1}, {"deterministic": True}):
        for first_bad in (8, 15, 17, N - 1):
            diverging_at(first_bad, OPTIMIZERS[name], dtype=dtype, **options)


def test_a_late_tile_may_be_the_one_that_is_not_finite(rng):
    x, y = rng.normal(size=(5000, 3)), rng.normal(size=(5000, 2))
    x[-1] = np.inf
    x[-1, 1] = -np.inf
    for optimizer in OPTIMIZERS.values():
        for deterministic in (False, True):
            net = make(deterministic=deterministic, activation="identity")
            state = optimizer.init(net.params)
            with pytest.raises(FloatingPointError, match=r"^\[train_step\]"):
                net.train_step(x, y, state)
            np.testing.assert_array_equal(net.params, make().params)
            assert (state.step, state.epoch) == (0, 0)
            assert not np.any(state.moments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [fb.SGD(5.0), fb.SGD(5.0, momentum=0.5), fb.SGD(0.1, weight_decay=50)])
def test_divergence(optimizer, dtype):
    net = fb.MLP((3, 2), loss="squared_error", seed=0, dtype=dtype)
    with pytest.raises(FloatingPointError) as caught:
        net.fit(X, Y, optimizer=optimizer, epochs=500, batch_size=8, seed=0)
    history = caught.value.history
    if dtype == "float64":  # a float32 net's loss is summed in float64 and may outlive its parameters
        assert np.isfinite(net.params).all()
    value = net.value(X, Y)
    assert not np.isfinite(value) or value > 1e30
    assert np.isfinite(history.loss).all()
    assert len(history.loss) == history.state.epoch
    assert history.state.step > 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_exceptions_carry_the_history(error):
    def interrupt(net, history):
        if len(history.loss) == 2:
            raise error("now")

    net, whole = make(), make()
    with pytest.raises(error, match="now") as caught:
        net.fit(X, Y, C, epochs=5, batch_size=8, seed=1, callbacks=[interrupt])
    history = caught.value.history
    assert history.stop_reason == error.__name__
    assert len(history.loss) == 2
    rest = net.fit(X, Y, C, epochs=3, batch_size=8, state=history.state)
    long = whole.fit(X, Y, C, epochs=5, batch_size=8, seed=1)
    assert history.loss + rest.loss == long.loss
    np.testing.assert_array_equal(net.params, whole.params)


def test_a_loss_function_that_raises_leaves_whole_steps():
    calls = []

    def loss(y, x):
        calls.append(len(y))
        if len(calls) == 3:
            raise ZeroDivisionError("third")
        return 0.5 * ((x - y) ** 2).sum(axis=1), x - y

    for optimizer in OPTIMIZERS.values():
        calls.clear()
        net, before = make(loss=loss), make()
        with pytest.raises(ZeroDivisionError, match="third") as caught:
            net.fit(X, Y, optimizer=optimizer, epochs=2, batch_size=8, shuffle=False)
        before.fit(X[:16], Y[:16], optimizer=optimizer, epochs=1, batch_size=8, shuffle=False)
        assert caught.value.history.state.step == 2
        close(net.params, before.params, 1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, N])
def test_train_step(name, dtype, rows):
    net = make(dtype=dtype, l2=0.1, l1=0.05)
    other, state = copy.copy(net), OPTIMIZERS[name].init(net.params)
    other_state = copy.deepcopy(state)
    for _ in range(4):
        value, grad = other.value_and_grad(X[:rows], Y[:rows], C[:rows])
        other_state.update(other.params, grad)
        found = net.train_step(X[:rows], Y[:rows], state, sample_weight=C[:rows])
        assert type(found) is float
        close(found, value, 1e-5 if dtype == "float32" else 1e-12)
        close(net.params, other.params, 1e-4 if dtype == "float32" else 1e-11)
    assert (state.step, state.epoch) == (4, 0)
    for a, b in zip(state.moments, other_state.moments, strict=True):
        close(a, b, 1e-4 if dtype == "float32" else 1e-10)


def test_no_epochs():
    net = make()
    history = net.fit(X, Y, epochs=0)
    assert (history.loss, history.stop_reason, history.state.step) == ([], "epochs", 0)
    np.testing.assert_array_equal(net.params, make().params)


def step_recipe(optimizer, error, text, **options):
    return pytest.param(optimizer, options, error, text, id=f"{optimizer.__name__} {options}")


STEPS = [
    step_recipe(fb.SGD, ValueError, "lr is -1, expected a finite number >= 0", lr=-1),
    step_recipe(fb.Adam, ValueError, "lr is nan, expected a finite number", lr=np.nan),
    step_recipe(fb.Adam, TypeError, r"lr is '0\.1', expected a finite number", lr="0.1"),
    step_recipe(fb.SGD, TypeError, "lr is None", lr=None),
    step_recipe(fb.SGD, ValueError, "momentum is -1", momentum=-1),
    step_recipe(fb.SGD, ValueError, "dampening is -1", dampening=-1),
    step_recipe(fb.SGD, ValueError, "nesterov needs a momentum > 0", nesterov=True),
    step_recipe(fb.SGD, ValueError, "dampening of 0", nesterov=True, momentum=0.9, dampening=0.1),
    step_recipe(fb.Adam, ValueError, r"betas is \(1, 0\.9\), expected two", betas=(1, 0.9)),
    step_recipe(fb.Adam, ValueError, r"betas is \(0\.9, -0\.1\), expected two", betas=(0.9, -0.1)),
    step_recipe(fb.Adam, ValueError, "betas is .*nan", betas=(np.nan, 0.9)),
    step_recipe(fb.Adam, ValueError, r"betas is \(0\.9,\), expected two", betas=(0.9,)),
    step_recipe(fb.Adam, TypeError, r"betas is 0\.9, expected two", betas=0.9),
    step_recipe(fb.Adam, TypeError, r"betas is \('a', 'b'\), expected two", betas=("a", "b")),
    step_recipe(fb.Adam, ValueError, "eps is -1", eps=-1),
    step_recipe(fb.Adam, ValueError, "weight_decay is inf", weight_decay=np.inf),
]


@pytest.mark.parametrize(("optimizer", "options", "error", "text"), STEPS)
def test_recipes_of_optimizers(optimizer, options, error, text):
    with pytest.raises(error, match=text):
        optimizer(**options)


def test_init_of_a_state():
    for params in (3, [1.0], np.ones(2, int), None):
        with pytest.raises(TypeError, match=r"^\[init\] params is"):
            fb.SGD().init(params)
    with pytest.raises(ValueError, match=r"^\[init\] seed is -1"):
        fb.SGD().init(np.ones(2), seed=-1)
    with pytest.raises(TypeError, match=r"^\[init\] seed is True"):
        fb.SGD().init(np.ones(2), seed=True)

"""A gradient that is not finite changes nothing, a huge finite one makes the right step, and moments stay numbers."""

import itertools

import numpy as np
import pytest

import fastbp as fb

OPTIMIZERS = {
    "sgd": fb.SGD(lr=0.5),
    "decay": fb.SGD(lr=0.5, weight_decay=0.25),
    "momentum": fb.SGD(lr=0.5, momentum=0.5),
    "nesterov": fb.SGD(lr=0.5, momentum=0.5, nesterov=True),
    "adam": fb.Adam(),
    "adamw": fb.AdamW(),
    "rmsprop": fb.RMSprop(),
    "centered": fb.RMSprop(centered=True, momentum=0.5),
    "adagrad": fb.Adagrad(),
    "rprop": fb.Rprop(),
}
# Nets and mini-batches that are cut in each way for two threads: by groups of rows, in several tiles, by operations.
SHAPES = {"one group": ((3, 6, 2), 8), "rows": ((16, 32, 2), 2000), "together": ((256, 512, 2), 32)}


def huge(dtype):
    """A number whose square overflows."""
    return 1e25 if dtype == "float32" else 1e200


def problem(sizes, rows, dtype, **options):
    """A net that reads X[:, 0] alone, and data where the products of the last row overflow while its loss is finite."""
    rng = np.random.default_rng(0)
    net = fb.MLP(sizes, loss="squared_error", activation="relu", seed=0, dtype=dtype, **options)
    net.weights[0][0] = 0
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    y = rng.normal(size=(rows, sizes[-1])).astype(dtype)
    X[-1] = 1
    X[-1, 0] = huge(dtype) ** 0.9 * 1e10
    y[-1] = -(huge(dtype) ** 0.75)
    return net, X, y


def unchanged(net, before, state, moments, step):
    assert np.array_equal(net.params, before)
    assert all(np.array_equal(a, b) for a, b in zip(state.moments, moments, strict=True))
    assert (state.step, state.epoch) == (step, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_refused_as_a_whole(name, shape, threads, dtype):
    sizes, rows = SHAPES[shape]
    net, X, y = problem(sizes, rows, dtype)
    state = OPTIMIZERS[name].init(net.params, seed=0)
    good = np.vstack([X[:-1], X[:1]])
    with fb.set_num_threads(threads):
        net.train_step(good, y * 0, state=state)
        net.weights[0][0] = 0
        before, moments = net.params.copy(), [m.copy() for m in state.moments]
        with pytest.raises(FloatingPointError, match=r"^\[train_step\] step 2: the gradient of layer 1 \(w"):
            net.train_step(X, y, state=state)
        unchanged(net, before, state, moments, 1)
        with pytest.raises(FloatingPointError, match=r"^\[fit\] epoch 1, step 2: the gradient of layer 1 \(w"):
            net.fit(X, y, state=state, batch_size=None, epochs=2)
        unchanged(net, before, state, moments, 1)
        history = net.fit(X, y, state=state, batch_size=None, epochs=2, on_nonfinite="stop")
        assert history.stop_reason == "nonfinite"
        unchanged(net, before, state, moments, 1)
    for bad in (np.nan, np.inf, -np.inf):
        grad = np.ones_like(before)
        grad[-2] = bad
        with pytest.raises(FloatingPointError, match=rf"^\[update\] grad\[{len(grad) - 2}\] is -?(nan|inf), expected"):
            state.update(net.params, grad)
        unchanged(net, before, state, moments, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"max_grad_norm": 1.0},
        {"net": {"l2": 0.25}},
        {"net": {"l1": 0.25, "l2": 4.0}},
        {"net": {"dropout": 0.25}},
        {"net": {"deterministic": True}},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_options_do_not_hide_it(name, dtype, options):
    options = dict(options)
    for shape in SHAPES:
        net, X, y = problem(*SHAPES[shape], dtype, **options.get("net", {}))
        before = net.params.copy()
        state = OPTIMIZERS[name].init(net.params, seed=0)
        clip = {key: value for key, value in options.items() if key != "net"}
        with pytest.raises(FloatingPointError, match=r"layer 1 \(weights\[0\]\) is not finite"):
            net.fit(X, y, state=state, batch_size=None, epochs=1, **clip)
        unchanged(net, before, state, [0 * m for m in state.moments], 0)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_hook_may_not_bring_it_in(place, clip):
    net, X, y = problem(*SHAPES["one group"], "float32")

    def hook(k, g):
        if k == place:
            g[-1] = np.nan

    before = net.params.copy()
    with pytest.raises(FloatingPointError, match=rf"^\[fit\] epoch 1, step 1: .* layer {place + 1} "):
        net.fit(X[:-1], y[:-1], batch_size=4, grad_hook=hook, max_grad_norm=clip)
    assert np.array_equal(net.params, before)


def test_the_text_names_epoch_step_and_layer():
    net = fb.MLP((1, 1), loss="squared_error", init="zeros", dtype="float32")
    X, y = np.ones((12, 1), np.float32), np.zeros((12, 1))
    X[8], y[8] = 1e15, 1e25
    with pytest.raises(FloatingPointError, match=r"^\[fit\] epoch 1, step 5: the gradient of .*X reaches 1e\+15"):
        net.fit(X, y, batch_size=2, shuffle=False, optimizer=fb.SGD(0.1))
    assert not net.params.any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_whose_square_overflows(name):
    """Rules that keep squares refuse it; the others make the step that float64 makes."""
    for dtype, low in (("float32", 1e17), ("float64", 1e150)):
        squares = name in ("adam", "adamw", "rmsprop", "centered", "adagrad")
        params = np.ones(40, dtype)
        grad = np.linspace(-1, 1, 40).astype(dtype)
        for size in (low, low * 1e10):
            p, wide = params.copy(), params.astype(np.longdouble)
            state = OPTIMIZERS[name].init(p)
            if size > low and squares:
                with pytest.raises(FloatingPointError, match=r"^\[update\] grad\[39\] is 1e\+\d+, which is too"):
                    state.update(p, grad * dtype_of(dtype)(size))
                assert np.array_equal(p, params)
                assert not any(m.any() for m in state.moments)
                continue
            state.update(p, grad * dtype_of(dtype)(size))
            assert np.isfinite(p).all()
            assert all(np.isfinite(m).all() for m in state.moments)
            if dtype == "float32":
                wide = params.astype(np.float64)
                OPTIMIZERS[name].init(wide).update(wide, (grad * dtype_of(dtype)(size)).astype(np.float64))
                np.testing.assert_allclose(p, wide, rtol=1e-5)


def dtype_of(name):
    return np.dtype(name).type


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e10, 1e28])
def test_huge_products_make_the_right_sgd_step(size, dtype):
    if dtype == "float64":
        size = size**5
    for shape, (name, clip) in itertools.product(SHAPES, itertools.product(("sgd", "momentum"), (None, 2.0))):
        sizes, rows = SHAPES[shape]
        net = fb.MLP((sizes[0], 2), loss="squared_error", init="zeros", dtype=dtype)
        X = np.zeros((rows, sizes[0]), dtype)
        X[0, :3] = 1, 2, -4
        y = np.zeros((rows, 2), dtype)
        y[0] = size, -2 * size
        optimizer = OPTIMIZERS[name]
        delta = -y[:1].astype(np.longdouble) / rows
        w = X[:1].T.astype(np.longdouble) @ delta
        grad = np.append(w.ravel(), delta.ravel())
        if clip is not None:
            norm = np.abs(grad).max()
            grad = grad * (clip / (norm * np.sqrt(((grad / norm) ** 2).sum()) + 1e-6))
        if size > 1e30:  # the loss overflows: the gradient is the caller's
            grad = grad.astype(dtype)
            optimizer.init(net.params).update(net.params, grad)
        else:
            net.fit(X, y, optimizer=optimizer, batch_size=None, epochs=1, max_grad_norm=clip)
        np.testing.assert_allclose(net.params, (-0.5 * grad).astype(dtype), rtol=3e-6 if dtype == "float32" else 1e-13)


def test_clipping_where_squares_overflow_float64():
    for shape in SHAPES:
        sizes, rows = SHAPES[shape]
        net = fb.MLP((sizes[0], 2), loss="squared_error", init="zeros", dtype="float64")
        X, y = np.ones((rows, sizes[0])), np.zeros((rows, 2))

        def hook(k, g):
            g[:] = np.where(np.arange(g.size) % 2, 1.0, -1.0) * 1e200

        net.fit(X, y, optimizer=fb.SGD(lr=1.0), batch_size=None, epochs=1, grad_hook=hook, max_grad_norm=3.0)
        expected = np.where(np.arange(net.params.size) % 2, -1.0, 1.0) * 3 / np.sqrt(net.params.size)
        np.testing.assert_allclose(net.params, expected, rtol=1e-13)


@pytest.mark.parametrize(("alpha", "steps"), [(0.9, 400), (0.95, 800)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_variance_of_a_constant_gradient_is_not_negative(alpha, steps, dtype):
    grad = (10 ** np.random.default_rng(0).uniform(-6, 6, 2000)).astype(dtype)
    for eps, momentum in ((1e-8, 0.0), (0.0, 0.5)):
        p = np.zeros(2000, dtype)
        state = fb.RMSprop(lr=1e-3, centered=True, alpha=alpha, eps=eps, momentum=momentum).init(p)
        for _ in range(steps):
            state.update(p, grad)
        assert np.isfinite(p).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        fb.Adam(eps=0.0),
        fb.AdamW(eps=0.0, weight_decay=0.0),
        fb.RMSprop(eps=0.0),
        fb.RMSprop(eps=0.0, centered=True, alpha=0.0),
        fb.RMSprop(eps=0.0, momentum=0.5),
        fb.Adagrad(eps=0.0),
    ],
    ids=str,
)
def test_0_over_0_is_no_step(optimizer, dtype):
    for count in (1, 5, 37):
        p = np.ones(count, dtype)
        grad = np.zeros(count, dtype)
        grad[::3] = 0.25
        tiny = grad.copy()
        tiny[1::3] = np.finfo(dtype).tiny  # its square is 0
        for g in (grad, tiny, grad):
            optimizer.init(p).update(p, g)
        assert np.isfinite(p).all()
        rest = np.arange(count) % 3 != 0
        assert (p[rest] == 1).all()


def test_the_reference_makes_no_step_of_0_over_0_either():
    p = np.ones(2)
    fb.reference.adam_step([p], [np.array([2.0, 0.0])], {}, lr=0.5, eps=0.0)
    assert p.tolist() == [0.5, 1.0]


def test_a_step_number_that_cannot_be_is_refused():
    p = np.ones(3)
    state = fb.Adam().init(p)
    state.step = -1
    with pytest.raises(ValueError, match="step is 0, expected at least 1"):
        state.update(p, np.ones(3))
    assert (p == 1).all()

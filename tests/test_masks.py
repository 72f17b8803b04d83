"""Rows and outputs of weight 0 have no effect on values, gradients and norms, even if they hold nan or inf."""

import numpy as np
import pytest
import scipy.sparse

import fastbp as fb
from fastbp import reference

N, MASKED = 23, np.array([0, 5, 6, 22])
KEPT = np.setdiff1d(np.arange(N), MASKED)
GARBAGE = (np.nan, np.inf, -np.inf, 1e38)
LOSSES = {
    "squared_error": "identity", "cross_entropy": "softmax", "labels": "logistic", "poisson": "exp",
    "huber": "identity", "absolute_error": "tanh", "pinball": "softplus", "probabilities": "softmax",
}  # fmt: skip
NETS = {  # sizes and options: the last one's team shares its products
    "tiles of rows": ((5, 7, 6, 3), {}),
    "blocks of a team": ((300, 256, 130, 3), {"deterministic": True}),
}


def quadratic(y, x):
    """The squared error as a function; nan where y is nan."""
    return ((x - y) ** 2).sum(axis=1) / 2, x - y


def spoiled(array, rows, generator):
    """Return a copy of the array with garbage in these rows."""
    found = np.array(array, dtype=np.result_type(array, np.float32))
    found[rows] = generator.choice(GARBAGE, found[rows].shape)
    return found


def problem(loss, sizes=(5, 7, 6, 3), dtype="float64", weights=1, **options):
    """A net, and X, y and weights in which the masked rows hold garbage."""
    rng = np.random.default_rng(1)
    output = LOSSES.get(loss, "identity")
    name = {"labels": "cross_entropy", "probabilities": "squared_error", "function": quadratic}.get(loss, loss)
    net = fb.MLP(
        sizes, loss=name, activation="gelu", output_activation=output, dtype=dtype, seed=2, l2=0.1, **options
    )
    d = sizes[-1]
    X = spoiled(rng.standard_normal((N, sizes[0])), MASKED, rng)
    if loss == "cross_entropy":
        y = rng.integers(0, d, N)
        y[MASKED] = [-7, 10**9, d, 99]
    else:
        y = rng.poisson(1.0, (N, d)) if loss == "poisson" else rng.random((N, d))
        y = spoiled(y / y.sum(axis=1, keepdims=True) if output == "softmax" else y, MASKED, rng)
    c = rng.uniform(0.5, 2, (N, d) if weights == 2 else N)
    c[MASKED] = 0
    return net, X, y, c


def close(found, expected, dtype="float64"):
    scale = max(np.abs(np.asarray(expected)).max(initial=0), 1e-3)
    tolerance = 3e-5 if np.dtype(dtype) == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_gradient_are_those_of_the_other_rows(loss, weights, dtype):
    net, X, y, c = problem(loss, dtype=dtype, weights=weights)
    for reduction in ("mean", "sum"):
        value, grad = net.value_and_grad(X, y, c, reduction=reduction)
        alone = net.value_and_grad(X[KEPT], y[KEPT], c[KEPT], reduction=reduction)
        assert value == pytest.approx(alone[0], rel=1e-5 if dtype == "float32" else 1e-12)
        close(grad, alone[1], dtype)
        assert net.value(X, y, c, reduction=reduction) == value
    limit = 0.05
    clipped = net.value_and_grad(X, y, c, max_example_norm=limit)[1]
    close(clipped, net.value_and_grad(X[KEPT], y[KEPT], c[KEPT], max_example_norm=limit)[1], dtype)


@pytest.mark.parametrize("kind", ["rows", "columns", "float16", "reversed", "csr", "csr32"])
@pytest.mark.parametrize("plan", NETS)
def test_no_form_of_x_lets_a_masked_row_in(plan, kind):
    sizes, options = NETS[plan]
    net, X, y, c = problem("squared_error", sizes, **options)
    X[KEPT] = np.round(X[KEPT], 2)
    form = {
        "rows": np.ascontiguousarray, "columns": np.asfortranarray, "float16": lambda a: a.astype(np.float16),
        "reversed": lambda a: a[:, ::-1].copy()[:, ::-1], "csr": scipy.sparse.csr_matrix,
        "csr32": lambda a: scipy.sparse.csr_matrix(a.astype(np.float32)),
    }[kind]  # fmt: skip
    with np.errstate(over="ignore"):
        given = form(X)
    before = given.copy()
    found = net.value_and_grad(given, y, c)[1]
    close(found, net.value_and_grad(form(X[KEPT]), y[KEPT], c[KEPT])[1])
    there, then = (a.toarray() if scipy.sparse.issparse(a) else a for a in (given, before))
    np.testing.assert_array_equal(there, then)  # X itself is only read


@pytest.mark.parametrize("plan", NETS)
def test_integers_are_exact(plan):
    """Sums of small integers have no rounding, so that every bit must agree."""
    sizes, options = NETS[plan]
    rng = np.random.default_rng(3)
    net = fb.MLP(sizes, loss="squared_error", activation="relu", init="zeros", dtype="float64", **options)
    net.params = rng.integers(-1, 2, net.params.size) * (rng.random(net.params.size) < 0.2)
    X = spoiled(rng.integers(-1, 2, (N, sizes[0])).astype(float), MASKED, rng)
    y, c = rng.integers(-2, 3, (N, sizes[-1])), np.ones(N)
    c[MASKED] = 0
    value, grad = net.value_and_grad(X, y, c, reduction="sum")
    alone = net.value_and_grad(X[KEPT], y[KEPT], reduction="sum")
    assert value == alone[0]
    np.testing.assert_array_equal(grad, alone[1])


@pytest.mark.parametrize("plan", NETS)
@pytest.mark.parametrize("loss", [*LOSSES, "function"])
def test_backward_gives_zeros_for_a_masked_row_and_shows_its_values(loss, plan):
    sizes, options = NETS[plan]
    net, X, y, c = problem(loss, sizes, **options)
    asked = ("s", "x", "deltas", "weight_grads", "bias_grads", "input_grad", "example_loss", "example_grad_norm")
    found, alone = (net.backward(*a, returns=asked) for a in ((X, y, c), (X[KEPT], y[KEPT], c[KEPT])))
    assert found.value == pytest.approx(alone.value, rel=1e-12)
    for name in ("weight_grads", "bias_grads"):
        for mine, theirs in zip(getattr(found, name), getattr(alone, name), strict=True):
            close(mine, theirs)
    for mine, theirs in zip([*found.deltas, found.input_grad], [*alone.deltas, alone.input_grad], strict=True):
        close(mine[KEPT], theirs)
        assert (mine[MASKED] == 0).all()
    for mine, theirs in ((found.example_loss, alone.example_loss), (found.example_grad_norm, alone.example_grad_norm)):
        close(mine[KEPT], theirs)
        assert (mine[MASKED] == 0).all()
    plain = net.backward(X, np.full((N, 3), 1 / 3), returns=("s", "x"))
    for mine, theirs in zip([*found.s, *found.x], [*plain.s, *plain.x], strict=True):
        np.testing.assert_array_equal(mine, theirs)  # nan too
    np.testing.assert_array_equal(found.x[-1], net.forward(X))


@pytest.mark.parametrize("weights", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_second_order_products(loss, weights):
    net, X, y, c = problem(loss, weights=weights)
    rng = np.random.default_rng(4)
    v, u = rng.standard_normal(net.params.size), spoiled(rng.standard_normal(X.shape), MASKED, rng)
    all_rows, others = (X, y), (X[KEPT], y[KEPT])
    for product in (net.hvp, net.gnvp):
        close(product(*all_rows, v, sample_weight=c), product(*others, v, sample_weight=c[KEPT]))
    found = net.input_grad_vjp(*all_rows, u, sample_weight=c)
    close(found, net.input_grad_vjp(*others, u[KEPT], sample_weight=c[KEPT]))
    objective, smaller = net.objective(*all_rows, c), net.objective(*others, c[KEPT])
    close(objective.jac(objective.x0), smaller.jac(objective.x0))
    close(objective.hessp(objective.x0, v), smaller.hessp(objective.x0, v))
    close(objective.gnvp(objective.x0, v), smaller.gnvp(objective.x0, v))


@pytest.mark.parametrize("bad", GARBAGE)
def test_a_loss_function_may_return_anything_for_a_masked_row(bad):
    def loss(y, x):
        e, dx = quadratic(y[:, 1:], x)
        return np.where(y[:, 0] == 1, bad, e), np.where(y[:, :1] == 1, bad, dx)

    net, X, y, c = problem("function")
    twin = fb.MLP(net.layer_sizes, loss=loss, activation="gelu", dtype="float64", l2=0.1)
    twin.params = net.params
    y[MASKED] = 0
    marked = np.hstack([np.isin(np.arange(N), MASKED)[:, None], y])
    value, grad = net.value_and_grad(X[KEPT], y[KEPT], c[KEPT])
    found = twin.value_and_grad(X, marked, c)
    assert found[0] == pytest.approx(value, rel=1e-12)
    close(found[1], grad)
    assert (twin.backward(X, marked, c, returns=("example_loss",)).example_loss[MASKED] == 0).all()


@pytest.mark.parametrize("output", ["exp", "identity", "softplus"])
@pytest.mark.parametrize("weighs_row", [False, True])
def test_an_output_of_weight_0_may_overflow(output, weighs_row):
    """exp(800) and its slope are inf, in a masked output and in a masked row."""
    net = fb.MLP((2, 2), loss="squared_error", output_activation=output, init="zeros", dtype="float64")
    net.weights[0], net.biases[0] = [[0.5, 0.0], [-0.25, 0.0]], [0.1, 800.0]
    X, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.5, np.nan], [1.0, np.inf]])
    c = np.array([[1.0, 0], [2, 0]])
    if weighs_row:
        c[1] = 0
    v = np.array([1.0, 5, 2, 6, 3, 7])
    one = fb.MLP((2, 1), loss="squared_error", output_activation=output, dtype="float64")
    one.params = net.params[::2]
    total = {"reduction": "sum"}
    args = X, y[:, 0], c[:, 0]
    r = net.backward(X, y, c, **total, returns=("grad", "input_grad", "deltas"))
    close(r.grad[::2], one.value_and_grad(*args, **total)[1])
    close(r.input_grad, one.backward(*args, **total, returns=("input_grad",)).input_grad)
    assert (r.grad[1::2] == 0).all()
    assert (r.deltas[0][:, 1] == 0).all()
    for name in ("hvp", "gnvp"):
        product = getattr(net, name)(X, y, v, sample_weight=c, **total)
        close(product[::2], getattr(one, name)(*args[:2], v[::2], sample_weight=args[2], **total))
        assert (product[1::2] == 0).all()


@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.9), fb.Adam(), fb.Rprop()])
@pytest.mark.parametrize("batch_size, shuffle", [(None, False), (7, True), (4, False)])
def test_training_never_sees_a_masked_row(optimizer, batch_size, shuffle):
    """The bits are those of the same training with zeros in the masked rows, and with other garbage."""
    rng = np.random.default_rng(5)
    fits = []
    for filling in ("zeros", "nan", "garbage"):
        net, X, y, c = problem("cross_entropy", dtype="float32")
        X = np.nan_to_num(X, posinf=0, neginf=0)
        X[MASKED] = 0
        if filling != "zeros":
            X[MASKED] = np.nan if filling == "nan" else rng.choice(GARBAGE, X[MASKED].shape)
        history = net.fit(
            X, y, c, epochs=3, batch_size=batch_size, shuffle=shuffle, optimizer=optimizer, seed=6,
            max_grad_norm=1.0, validation_data=(X, y, c), metrics=["accuracy"], progress=False,
        )  # fmt: skip
        net.train_step(X, y, net_state := optimizer.init(net.params), sample_weight=c)
        assert net_state.step == 1
        assert np.isfinite(np.asarray(net.params)).all()
        assert history.stop_reason == "epochs"
        fits.append((np.asarray(net.params).tobytes(), history.loss, history.val_loss, history.metrics))
    assert fits[0] == fits[1] == fits[2]


def test_training_clips_examples_and_takes_penalties():
    trained = []
    for rows in (slice(None), KEPT):
        net, X, y, c = problem("squared_error", l1=0.01)
        net.fit(X[rows], y[rows], c[rows], epochs=2, batch_size=None, shuffle=False, max_example_norm=0.3, seed=7)
        trained.append(np.asarray(net.params))
    close(*trained)


def test_metrics_leave_masked_rows_and_outputs_out():
    net, X, y, c = problem("squared_error", weights=2)
    c[KEPT[3], 1], y[KEPT[3], 1] = 0, np.nan
    seen = []

    def rows(y, x):
        seen.append((y, x))
        return len(x)

    history = net.fit(X, y, c, epochs=1, optimizer=fb.SGD(lr=0.0), batch_size=None, metrics=["r2", rows])
    assert history.metrics["rows"] == [len(KEPT)]
    np.testing.assert_array_equal(seen[0][0], y[KEPT])
    x, scores = np.asarray(net.forward(X)), []
    for j in range(3):
        among = KEPT[c[KEPT, j] != 0]
        t, p = y[among, j], x[among, j]
        scores.append(1 - ((t - p) ** 2).sum() / ((t - t.mean()) ** 2).sum())
    assert history.metrics["r2"] == [pytest.approx(np.mean(scores), rel=1e-9)]
    net, X, _, c = problem("labels", weights=2)
    y = (np.asarray(net.forward(X)) > 0.5).astype(float)
    y[KEPT[0], 0] = 1 - y[KEPT[0], 0]
    y[KEPT[1], 0], c[KEPT[1], 0] = 1 - y[KEPT[1], 0], 0
    history = net.fit(X, y, c, epochs=1, optimizer=fb.SGD(lr=0.0), batch_size=None, metrics=["accuracy"])
    assert history.metrics["accuracy"] == [pytest.approx(1 - 1 / len(KEPT))]


def test_chunks_with_masked_rows():
    net, X, y, c = problem("squared_error")
    net.fit(lambda: ((X[i : i + 6], y[i : i + 6], c[i : i + 6]) for i in range(0, N, 6)), epochs=2, metrics=["r2"])
    assert np.isfinite(np.asarray(net.params)).all()


def test_levenberg_marquardt_and_diagnose():
    net, X, y, c = problem("squared_error", weights=2)
    found, alone = (
        fb.optimize.levenberg_marquardt(net, *a, sample_weight=w, maxiter=5)
        for *a, w in ((X, y, c), (X[KEPT], y[KEPT], c[KEPT]))
    )
    close(found.x, alone.x, np.float32)  # rounding, five systems of equations later
    assert found.fun == pytest.approx(alone.fun, rel=1e-7)
    report, other = (fb.diagnose(net, *a) for a in ((X, y, c), (X[KEPT], y[KEPT], c[KEPT])))
    assert report.value == pytest.approx(other.value, rel=1e-12)
    assert report.safe_step == pytest.approx(other.safe_step, rel=1e-6)
    assert [layer.dead for layer in report.layers] == [layer.dead for layer in other.layers]


def test_the_cure_for_masked_arrays_works():
    """A masked array raises TypeError. Its data with any fill value and weights of 0 give the expected results."""
    net, X, y, _ = problem("squared_error")
    mask = np.isin(np.arange(N), MASKED)[:, None] | (np.arange(3) == 1) & (np.arange(N) == KEPT[2])[:, None]
    masked = np.ma.array(y, mask=mask)
    with pytest.raises(TypeError, match=r"y is a masked array.*a weight of 0 masks a target"):
        net.value_and_grad(X, masked)
    weights = 1.0 - np.ma.getmaskarray(masked)
    for filled in (masked.data, masked.filled(1e20)):
        value, grad = net.value_and_grad(X, filled, weights)
        expected = net.value_and_grad(X[KEPT], y[KEPT], weights[KEPT])
        assert value == pytest.approx(expected[0], rel=1e-12)
        close(grad, expected[1])


@pytest.mark.parametrize("weights", [1, 2])
@pytest.mark.parametrize("loss", [name for name in LOSSES if name not in ("pinball", "probabilities")])
def test_the_reference_has_the_same_rule(loss, weights):
    net, X, y, c = problem(loss, weights=weights)
    w, b = reference.views(np.asarray(net.params), net.layer_sizes)
    args = net.activations, net.loss
    found = reference.value_and_grad(w, b, X, y, *args, sample_weight=c, l2=0.1)
    expected = net.value_and_grad(X, y, c)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    close(reference.flatten(*found[1:]), expected[1])

"""X in compressed rows: every result is that of the same X, dense."""

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import informative

import fastbp as fb

ROWS, INPUTS, CLASSES = 203, 57, 5


def sparse(rows=ROWS, columns=INPUTS, density=0.1, dtype=np.float64):
    rng = np.random.default_rng(41)
    X = sp.random_array((rows, columns), density=density, rng=rng, dtype=np.float64, data_sampler=rng.standard_normal)
    return sp.csr_array(X.astype(dtype))


DENSE = sparse().toarray()
DENSE[7] = DENSE[:, 3] = 0  # a row and a column without numbers
X = sp.csr_array(DENSE)
LABELS = np.random.default_rng(42).integers(0, CLASSES, ROWS)
C = np.random.default_rng(43).uniform(0.1, 2, ROWS)


def net_of(dtype="float64", **options):
    settings = {"loss": "cross_entropy", "activation": "tanh", "seed": 0, "dtype": dtype, "l2": 0.01, **options}
    return fb.MLP((INPUTS, 24, 9, CLASSES), **settings)


def close(found, expected, rtol=1e-12):
    scale = np.abs(informative(expected)).max()
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 2e-5)])
def test_everything_equals_dense(dtype, rtol, deterministic, threads, rng):
    net = net_of(dtype, deterministic=deterministic)
    v, u = rng.standard_normal(net.params.size), rng.standard_normal(DENSE.shape)
    s = rng.standard_normal((ROWS, CLASSES))
    with fb.set_num_threads(threads):
        close(net.forward(X), net.forward(DENSE), rtol)
        for kind in ("mean", "sum"):
            value, grad = net.value_and_grad(X, LABELS, C, reduction=kind)
            expected_value, expected_grad = net.value_and_grad(DENSE, LABELS, C, reduction=kind)
            assert value == pytest.approx(expected_value, rel=rtol)
            close(grad, expected_grad, rtol)
        wanted = ("s", "deltas", "grad", "input_grad", "example_loss", "example_grad_norm")
        r, expected = (net.backward(some, LABELS, C, returns=wanted) for some in (X, DENSE))
        for name in ("grad", "input_grad", "example_loss", "example_grad_norm"):
            close(getattr(r, name), getattr(expected, name), rtol)
        for k in range(3):
            close(r.s[k], expected.s[k], rtol)
            close(r.deltas[k], expected.deltas[k], rtol)
        clipped = [net.value_and_grad(some, LABELS, max_example_norm=0.5)[1] for some in (X, DENSE)]
        close(*clipped, rtol)
        for name, arguments in (("hvp", (LABELS, v)), ("gnvp", (LABELS, v)), ("input_grad_vjp", (LABELS, u))):
            close(getattr(net, name)(X, *arguments), getattr(net, name)(DENSE, *arguments), rtol)
        close(net.jvp(X, v, u), net.jvp(DENSE, v, u), rtol)
        for part, expected_part in zip(net.vjp(X)[1](s), net.vjp(DENSE)[1](s), strict=True):
            close(part, expected_part, rtol)
        for wrt in ("inputs", "params"):
            close(net.jacobian(X, wrt=wrt), net.jacobian(DENSE, wrt=wrt), rtol)
        close(net.example_grads(X, LABELS), net.example_grads(DENSE, LABELS), rtol)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr"])
def test_every_form(form):
    net = net_of()
    for kind in ("array", "matrix"):
        close(net.forward(getattr(sp, f"{form}_{kind}")(X)), net.forward(DENSE))


@pytest.mark.parametrize("values", ["f4", "f8", "i4", "u1", "?", ">f8", "f2"])
@pytest.mark.parametrize("places", [np.int32, np.int64])
def test_every_type_of_numbers_and_places(values, places):
    net = net_of()
    whole = sp.csr_array(np.round(X * 3))
    given = sp.csr_array((ROWS, INPUTS))
    given.data, given.indices, given.indptr = (
        np.abs(whole.data).astype(values), whole.indices.astype(places), whole.indptr.astype(places)
    )  # fmt: skip
    dense = np.zeros((ROWS, INPUTS))
    for i in range(ROWS):
        row = slice(given.indptr[i], given.indptr[i + 1])
        dense[i, given.indices[row]] = given.data[row]
    close(net.forward(given), net.forward(dense))


def test_duplicates_are_added_and_the_matrix_is_left_alone():
    doubled = sp.csr_array((np.ones(4), np.array([1, 1, 0, 1]), np.array([0, 3, 4])), shape=(2, 3))
    net = fb.MLP((3, 4, 2), loss="cross_entropy", seed=0, dtype="float64")
    y = [0, 1]
    expected = net.backward([[1, 2, 0], [0, 1, 0]], y, returns=("grad", "example_grad_norm"))
    found = net.backward(doubled, y, returns=("grad", "example_grad_norm"))
    close(found.grad, expected.grad)
    close(found.example_grad_norm, expected.example_grad_norm)
    assert doubled.nnz == 4


@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.9), fb.Adam(lr=0.01)])
@pytest.mark.parametrize("options", [{}, {"l2": 0.0}, {"dropout": 0.3}])
def test_training_equals_dense(optimizer, options):
    nets = [net_of(**options) for _ in range(2)]
    histories = [
        net.fit(some, LABELS, C, optimizer=optimizer, batch_size=32, epochs=4, seed=1, metrics=["accuracy"],
                validation_data=(some[:50], LABELS[:50]))
        for net, some in zip(nets, (X, DENSE), strict=True)
    ]  # fmt: skip
    assert (nets[1].params != net_of(**options).params).any()
    close(nets[0].params, nets[1].params, 1e-10)
    close(histories[0].loss, histories[1].loss, 1e-11)
    close(histories[0].val_loss, histories[1].val_loss, 1e-11)
    assert histories[0].metrics == histories[1].metrics
    states = [optimizer.init(net.params, seed=3) for net in nets]
    values = [net.train_step(some, LABELS, state) for net, some, state in zip(nets, (X, DENSE), states, strict=True)]
    assert values[0] == pytest.approx(values[1])


def test_chunks_functions_and_objectives(rng):
    nets = [net_of() for _ in range(2)]
    for net, some in zip(nets, (X, DENSE), strict=True):
        net.fit([(some[:100], LABELS[:100]), (some[100:], LABELS[100:])], epochs=2, seed=0)
    close(nets[0].params, nets[1].params, 1e-11)
    target = rng.standard_normal((ROWS, CLASSES))
    own = net_of(loss=lambda y, x: (0.5 * ((x - y) ** 2).sum(1), x - y))
    close(own.value_and_grad(X, target, C)[1], own.value_and_grad(DENSE, target, C)[1])
    for name in ("jac", "fun"):
        close(*[getattr(net_of().objective(some, LABELS), name)(own.params) for some in (X, DENSE)])
    reports = [str(fb.diagnose(net_of(), some, LABELS)) for some in (X, DENSE)]
    assert reports[0].splitlines()[0] == reports[1].splitlines()[0]
    squared = net_of(loss="squared_error", output_activation="identity")
    found = [fb.optimize.levenberg_marquardt(squared, some, target, maxiter=3).fun for some in (X, DENSE)]
    assert found[0] == pytest.approx(found[1], rel=1e-8)


def test_wide_inputs_take_memory_for_what_is_there():
    wide = sp.csr_array((np.ones(6), np.array([0, 999_999, 5, 7, 9, 2]), np.array([0, 2, 5, 6])), shape=(3, 1_000_000))
    net = fb.MLP((1_000_000, 2, 1), loss="squared_error", init="zeros", dtype="float64")
    net.weights[0][[0, 5, 999_999]] = [[1, 2], [3, 4], [5, 6]]
    net.weights[1][:] = 1
    np.testing.assert_array_equal(net.forward(wide), [[14.0], [7.0], [0.0]])
    grad = net.value_and_grad(wide, [0.0, 0.0, 0.0], reduction="sum")[1]
    touched = np.flatnonzero(grad[:2_000_000].reshape(-1, 2).any(axis=1))
    np.testing.assert_array_equal(touched, [0, 5, 7, 9, 999_999])
    product = net.hvp(wide, [0.0, 0.0, 0.0], np.ones_like(net.params))
    assert np.count_nonzero(product.reshape(-1)[:2_000_000]) == 10


def broken(**changes):
    matrix = X.copy()
    for name, array in changes.items():
        setattr(matrix, name, array)
    return matrix


@pytest.mark.parametrize("given, words", [
    (lambda: sparse(columns=9), r"X has 9 columns, layer 1 \(weights\[0\]\) expects 57"),
    (lambda: broken(indices=np.where(np.arange(X.nnz) == 5, INPUTS, X.indices)), "X has a number in column 57, of 57"),
    (lambda: broken(indices=np.where(np.arange(X.nnz) == 5, -1, X.indices)), "X has a number in column -1"),
    (lambda: broken(indptr=X.indptr[::-1].copy()), "X's starts begin with"),
    (lambda: broken(indptr=X.indptr * 2), "indptr, indices and data do not fit"),
    (lambda: broken(data=X.data[:-1]), "indptr, indices and data do not fit"),
    (lambda: broken(data=X.data * 1j), "X holds complex128, expected real numbers"),
])  # fmt: skip
def test_refused(given, words):
    matrix = given()
    matrix.has_canonical_format = True  # SciPy is not asked to look
    with pytest.raises((ValueError, TypeError), match=words):
        net_of().forward(matrix)


def test_only_x_may_be_sparse():
    net = fb.MLP((INPUTS, 3), loss="squared_error", dtype="float64")
    with pytest.raises(TypeError, match=r"y is a sparse csr_array, expected a dense array: pass y.toarray\(\)"):
        net.value(X, sparse(columns=3))
    with pytest.raises(TypeError, match=r"sample_weight is a sparse"):
        net.value(X, np.zeros((ROWS, 3)), sparse(columns=3))
    out = np.empty((ROWS, 3))
    assert net.forward(X, out=out) is out
    whole = np.zeros(ROWS * 3)
    overlapping = sp.csr_array((whole[:4], [0, 1, 2, 3], [0, 4, *[4] * (ROWS - 1)]), shape=(ROWS, INPUTS))
    overlapping.data = whole[:4]
    with pytest.raises(ValueError, match="out overlaps X in memory"):
        net.forward(overlapping, out=whole.reshape(ROWS, 3))


def test_places_are_the_calls_own():
    """What a callback, or an output, does to the caller's index arrays is not seen by the call."""
    matrix = X.copy()

    def loss(y, x):
        matrix.indices[:] = 2**30
        matrix.indptr[:] = 2**30
        return x[:, 0] ** 2, np.pad(2 * x[:, :1], ((0, 0), (0, CLASSES - 1)))

    net = net_of(loss=loss)
    value = net.value_and_grad(matrix, np.zeros(ROWS))[0]
    penalty = 0.01 / 2 * sum((w**2).sum() for w in net.weights)
    assert value == pytest.approx(float((net.forward(DENSE)[:, 0] ** 2).mean()) + penalty, rel=1e-12)
    with pytest.raises(ValueError, match="indptr, indices and data do not fit"):
        net.forward(matrix)


@pytest.mark.parametrize("name, array, words", [
    ("data", np.ones((X.nnz, 0)), "indptr, indices and data do not fit"),
    ("data", np.ones((X.nnz, 2)), "indptr, indices and data do not fit"),
    ("indices", X.indices.astype("i8") + 2**32, "a number in column 42949"),
    ("indices", X.indices.astype(float), "whose indices are not integers"),
    ("indptr", np.where(np.arange(ROWS + 1) == 3, 10**8, X.indptr), "starts at 100000000 and ends at"),
    ("indptr", np.where(np.arange(ROWS + 1) == ROWS, -1, X.indptr), "starts at"),
])  # fmt: skip
def test_places_are_looked_at_before_scipy_orders_them(name, array, words):
    matrix = X.copy()
    setattr(matrix, name, array)
    with pytest.raises(ValueError, match=words):
        net_of().forward(matrix)


def test_duplicates_are_found_whatever_scipy_remembers():
    matrix = sp.csr_array([[1.0, 1, 0], [0, 0, 1]])
    assert matrix.has_canonical_format
    matrix.indices[1] = 0
    net = fb.MLP((3, 4, 2), loss="cross_entropy", seed=0, dtype="float64")
    found, expected = (net.backward(some, [0, 1], returns="example_grad_norm") for some in (matrix, matrix.toarray()))
    close(found.example_grad_norm, expected.example_grad_norm)
    assert matrix.nnz == 3

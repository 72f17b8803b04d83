"""Weights as (d(l), d(l-1)), and parameters that lie each by itself: results are those of one flat array."""

import numpy as np
import pytest
import scipy.sparse
from helpers import informative

import fastbp as fb
from fastbp import _core
from fastbp._functions import LOSSES, OUTPUT_ACTIVATIONS


def by_outputs(flat, sizes):
    """The flat array w(1) b(1) .. with every w transposed."""
    weights, biases = fb.reference.views(flat, sizes)
    return np.concatenate([part.ravel() for w, b in zip(weights, biases, strict=True) for part in (w.T, b)])


def parts(flat, sizes, transposed):
    weights, biases = fb.reference.views(flat, sizes)
    return [
        np.ascontiguousarray(part)
        for w, b in zip(weights, biases, strict=True)
        for part in (w.T if transposed else w, b)
    ]


def core(net, transposed):
    names = [name for name, _ in net.activations]
    return _core.Net(
        list(net.layer_sizes), [OUTPUT_ACTIVATIONS[name] for name in names], [a for _, a in net.activations],
        LOSSES[net.loss], None, [0.0] * len(names), net.dtype, 0.0, 0.0, False, "cpu", transposed,
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "sizes, rows", [((3, 2), 5), ((5, 9, 4, 3), 40), ((300, 128, 10), 32), ((20, 64, 33, 10), 700)]
)
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 3e-5)])
def test_results_are_those_of_the_flat_array(dtype, rtol, sizes, rows, activation, threads, rng):
    net = fb.MLP(sizes, loss="squared_error", activation=activation, seed=0, dtype=dtype)
    X, y = rng.standard_normal((rows, sizes[0])).astype(dtype), rng.standard_normal((rows, sizes[-1]))
    v, c = rng.standard_normal(net.params.size).astype(dtype), rng.standard_normal(y.shape).astype(dtype)

    def close(found, expected):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())

    with fb.set_num_threads(threads):
        expected = net.forward(X), net.value_and_grad(X, y), net.vjp(X)[1](c), net.hvp(X, y, v), net.jvp(X, v)
        for transposed in (False, True):
            turned = by_outputs if transposed else lambda flat, _: flat
            found = core(net, transposed)
            for params in (turned(net.params, sizes), parts(net.params, sizes, transposed)):
                close(found.forward(params, X, None), expected[0])
                value, grad = found.evaluate("t", params, X, y, None, "mean", None, None, True, False, 0.0)
                assert value == pytest.approx(expected[1][0], rel=rtol)
                close(grad, turned(expected[1][1], sizes))
                kept = found.forward_kept(params, X)[1]
                grad, input_grad = found.pull_back(params, X, kept, c)
                close(grad, turned(expected[2][0], sizes))
                close(input_grad, expected[2][1])
                dot = found.push_forward(
                    "t", params, X, y, None, "mean", None, turned(v, sizes), None, None, False, None,
                    ["grad_dot", "output_dot"],
                )  # fmt: skip
                close(dot["grad_dot"], turned(expected[3], sizes))
                close(dot["output_dot"], expected[4])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(300, 128, 10), (77, 99, 5), (33, 70, 31)])
def test_integers_are_exact_in_both_layouts(sizes, dtype, rng):
    """Few rows to many: which of x and w a product turns depends on their number."""
    for rows in (1, 2, 7, 8, 9, 17, 32, 40, 64):
        flat = rng.integers(-2, 3, fb.MLP(sizes).params.size)
        X = rng.integers(-2, 3, (rows, sizes[0]))
        (w1, w2), (b1, b2) = fb.reference.views(flat, sizes)
        expected = np.maximum(X @ w1 + b1, 0) @ w2 + b2
        assert np.abs(expected).max() < 2**24
        net = fb.MLP(sizes, loss="squared_error", activation="relu", dtype=dtype)
        for transposed in (False, True):
            params = (by_outputs(flat, sizes) if transposed else flat).astype(dtype)
            np.testing.assert_array_equal(core(net, transposed).forward(params, X.astype(dtype), None), expected)


def trained(net, transposed, params, X, y, optimizer):
    """Return the parameters after one epoch."""
    params, rule = params.copy(), optimizer._rule()
    moments = [np.zeros_like(params) for _ in range(rule.moment_count)]
    core(net, transposed).run_epoch(
        "t", params, X, y, None, None, None, rule, moments, 16, False, np.full(len(y), 0.1), 0, np.zeros(6), 0.0, 0.0,
        None, 0, None, False, None,
    )  # fmt: skip
    return params


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "sizes, rows", [((30, 5, 2), 5), ((30, 9, 4, 3), 40), ((300, 128, 10), 32), ((57, 64, 10), 700)]
)
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 3e-5)])
def test_compressed_rows_in_both_layouts(dtype, rtol, sizes, rows, threads, rng):
    net = fb.MLP(sizes, loss="squared_error", activation="tanh", seed=0, dtype=dtype)
    dense = (rng.standard_normal((rows, sizes[0])) * (rng.random((rows, sizes[0])) < 0.2)).astype(dtype)
    X, y = scipy.sparse.csr_array(dense), rng.standard_normal((rows, sizes[-1]))
    v, c = rng.standard_normal(net.params.size).astype(dtype), rng.standard_normal(y.shape).astype(dtype)
    wanted = ["s", "deltas", "grad", "input_grad", "example_grad_norm"]

    def close(found, expected):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(informative(expected)).max())

    with fb.set_num_threads(threads):
        for transposed in (False, True):
            found = core(net, transposed)
            params, turned = (by_outputs(a, sizes) if transposed else a for a in (net.params, v))
            close(found.forward(params, X, None), net.forward(dense))
            results = [found.backward(params, some, y, None, "mean", None, wanted) for some in (X, dense)]
            for name in wanted[2:]:
                close(results[0][name], results[1][name])
            for name in wanted[:2]:
                for sparse_part, part in zip(results[0][name], results[1][name], strict=True):
                    close(sparse_part, part)
            for cotangent in (None, c):
                dots = [
                    found.push_forward(
                        "t", params, some, y, None, "mean", None, turned, None, cotangent, False, None,
                        ["grad_dot", "output_dot"],
                    )
                    for some in (X, dense)
                ]  # fmt: skip
                for name in dots[0]:
                    close(dots[0][name], dots[1][name])
            pulled = [found.pull_back(params, some, found.forward_kept(params, some)[1], c) for some in (X, dense)]
            for sparse_part, part in zip(*pulled, strict=True):
                close(sparse_part, part)
            for optimizer in (fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.9), fb.Adam(lr=0.1, eps=0.1)):
                after = trained(net, transposed, params, X, y, optimizer)
                assert not np.array_equal(after, params)
                close(after, trained(net, transposed, params, dense, y, optimizer))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "sizes, rows", [((5, 9, 4, 3), 40), ((300, 128, 10), 32), ((20, 64, 33, 10), 700), ((3, 2), 0)]
)
def test_gradients_that_lie_each_by_itself(sizes, rows, transposed, threads, rng):
    """By address: bit for bit those of the flat gradient, and not a number beside them is touched."""
    net = fb.MLP(sizes, loss="squared_error", activation="tanh", seed=0)
    found, given = core(net, transposed), parts(net.params, sizes, transposed)
    X, c = (rng.standard_normal((rows, d)).astype("f4") for d in (sizes[0], sizes[-1]))
    out, kept = np.empty((rows, sizes[-1]), "f4"), np.empty(found.kept_size(rows), "f4")
    framed = [np.full(part.size + 2, 7, "f4") for part in given]
    grads, input_grad = [frame[1:-1] for frame in framed], np.empty_like(X)
    with fb.set_num_threads(threads):
        expected_out, expected_kept = found.forward_kept(given, X)
        expected, expected_input_grad = found.pull_back(given, X, expected_kept, c)
        places = [part.ctypes.data for part in given]
        found.forward_at(places, X.ctypes.data, rows, out.ctypes.data, kept.ctypes.data)
        found.pull_back_at(
            places, X.ctypes.data, rows, kept.ctypes.data, c.ctypes.data, [g.ctypes.data for g in grads],
            input_grad.ctypes.data,
        )  # fmt: skip
    np.testing.assert_array_equal(out, expected_out)
    np.testing.assert_array_equal(np.concatenate(grads), expected)
    np.testing.assert_array_equal(input_grad, expected_input_grad)
    assert all(frame[0] == frame[-1] == 7 for frame in framed)


def test_separate_parameters_are_read_where_they_lie(rng):
    net = fb.MLP((3, 4, 2), loss="squared_error", seed=0)
    found, given = core(net, True), parts(net.params, net.layer_sizes, True)
    X = rng.standard_normal((5, 3)).astype(np.float32)
    before = found.forward(given, X, None)
    given[2][:] = 0
    given[3][:] = [1, 2]
    assert not np.array_equal(found.forward(given, X, None), before)
    np.testing.assert_array_equal(found.forward(given, X, None), np.tile(np.float32([1, 2]), (5, 1)))


def test_what_does_not_fit_is_refused():
    net = fb.MLP((3, 4, 2), loss="squared_error", seed=0)
    found, given = core(net, False), parts(net.params, net.layer_sizes, False)
    X = np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match="the parameters are 3 arrays, expected w and b of each layer"):
        found.forward(given[:3], X, None)
    for k, wrong in ((0, given[0].astype("f8")), (1, given[1][:2]), (2, np.asfortranarray(given[2])), (3, [1, 2])):
        with pytest.raises(ValueError, match=r"is not a row-major array of \d+ float32 numbers"):
            found.forward([*given[:k], wrong, *given[k + 1 :]], X, None)
    with pytest.raises(ValueError, match="out overlaps the parameters in memory"):
        found.forward(given, np.zeros((4, 3), np.float32), given[2])
    with pytest.raises(ValueError, match="3 addresses, expected those of w and b of each layer"):
        found.forward_at([part.ctypes.data for part in given[:3]], X.ctypes.data, 1, 0, 0)
    penalised = _core.Net([3, 2], [0], [0.0], 1, None, [0.0], np.dtype("f4"), 0.1, 0.0, False, "cpu")
    with pytest.raises(ValueError, match="a net with penalties needs its parameters in one array"):
        penalised.forward([np.zeros((3, 2), "f4"), np.zeros(2, "f4")], X, None)

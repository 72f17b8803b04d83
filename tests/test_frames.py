"""Data frames of any numeric columns, and arrays of objects, are read as the numbers they hold."""

import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers import require

import fastbp as fb
from fastbp import _core

VALUES = np.array([[1, 0, 0.5], [2, 1, 1.5], [0, 1, -2.0]])
Y, WEIGHTS = [1, 0, 1], [1.0, 0.5, 0.25]
NAN = float("nan")


def pandas_frames():
    pd = require("pandas")
    frame = pd.DataFrame({"a": [1, 2, 0], "b": [False, True, True], "c": [0.5, 1.5, -2.0]})
    twice = frame.copy()
    twice.columns = ["a", "a", "a"]
    return {
        "bool, int and float": frame,
        "nullable": frame.convert_dtypes(),
        "Float64": frame.astype("Float64"),
        "Float32 and UInt8": frame.astype({"a": "UInt8", "b": "boolean", "c": "Float32"}),
        "some nullable": frame.astype({"b": "boolean"}),
        "bool and float32": frame.astype({"c": "float32"}),
        "objects": frame.astype(object),
        "categories that are numbers": frame.astype({"a": "category"}),
        "sparse": frame.astype({"a": pd.SparseDtype(int), "c": pd.SparseDtype(float)}),
        "a name twice": twice.convert_dtypes(),
    }


def polars_frames():
    pl = require("polars")
    frame = pl.DataFrame({"a": [1, 2, 0], "b": [False, True, True], "c": [0.5, 1.5, -2.0]})
    return {"polars": frame, "polars, decimals": frame.with_columns(pl.col("c").cast(pl.Decimal(10, 2)))}


def objects():
    return {
        "array of objects": VALUES.astype(object),
        "exact decimals and fractions": [[1, False, Decimal("0.5")], [2, True, Fraction(3, 2)], [0, np.True_, -2]],
        "scalars of several types": [
            [np.int8(1), 0, np.float32(0.5)],
            [2, True, 1.5],
            [np.uint8(0), 1, np.float64(-2)],
        ],
    }


IN_FRAMES = [pytest.param(frames, marks=pytest.mark.frameworks) for frames in (pandas_frames, polars_frames)]


@pytest.mark.parametrize("frames", [*IN_FRAMES, objects])
def test_frames_are_numbers_in_every_method(frames):
    for name, X in frames().items():
        net = fb.MLP((3, 4, 2), loss="cross_entropy", seed=0, dtype="float64")
        other, v, before = copy.copy(net), np.ones(net.params.size), copy.deepcopy(X)
        np.testing.assert_array_equal(net.forward(X), net.forward(VALUES), err_msg=name)
        np.testing.assert_array_equal(net.jvp(X, u=X), net.jvp(VALUES, u=VALUES))
        np.testing.assert_array_equal(net.hvp(X, Y, v), net.hvp(VALUES, Y, v))
        np.testing.assert_array_equal(net.backward(X, Y).input_grad, net.backward(VALUES, Y).input_grad)
        np.testing.assert_array_equal(net.example_grads(X, Y), net.example_grads(VALUES, Y))
        assert net.objective(X, Y).fun(v) == net.objective(VALUES, Y).fun(v)
        assert str(fb.diagnose(net, X, Y)) == str(fb.diagnose(net, VALUES, Y))
        assert fb.testing.check_gradient(net, X, Y) < 1e-6
        assert (
            net.fit(X, Y, seed=0, epochs=2, validation_data=(X, Y)).loss == other.fit(VALUES, Y, seed=0, epochs=2).loss
        )
        assert net.fit([(X, Y), (X, Y)], seed=0, epochs=2).loss == other.fit([(VALUES, Y)] * 2, seed=0, epochs=2).loss
        assert net.train_step(X, Y, fb.SGD().init(v)) == other.train_step(VALUES, Y, fb.SGD().init(v))
        assert str(X) == str(before)  # what was given is unchanged


@pytest.mark.frameworks
def test_targets_and_weights_in_columns():
    pd, pl = require("pandas"), require("polars")
    net = fb.MLP((3, 2), loss="cross_entropy", seed=0)
    regression = fb.MLP((3, 1), loss="squared_error", seed=0)
    for y in (
        pd.Series(Y, dtype="Int64"),
        pd.Series(Y, dtype="UInt8"),
        pd.array(Y, dtype="Int16"),
        pl.Series(Y),
        [*map(np.int8, Y)],
    ):
        for c in (pd.Series(WEIGHTS, dtype="Float64"), pl.Series(WEIGHTS), np.array(WEIGHTS, dtype=object)):
            assert net.value(VALUES, y, c) == net.value(VALUES, Y, WEIGHTS)
            assert regression.value(VALUES, y, c) == regression.value(VALUES, Y, WEIGHTS)
    logistic = fb.MLP((3, 1), loss="cross_entropy", seed=0)
    for y in (pd.Series(Y).astype(bool).astype("boolean"), pl.Series(Y).cast(pl.Boolean)):
        assert logistic.value(VALUES, y) == logistic.value(VALUES, Y)
    frame = pd.DataFrame({"a": Y, "b": pd.Series(WEIGHTS, dtype="Float64")})
    both = fb.MLP((3, 2), loss="squared_error", seed=0)
    assert both.value(VALUES, frame, frame) == both.value(VALUES, np.c_[Y, WEIGHTS], np.c_[Y, WEIGHTS])


@pytest.mark.frameworks
def test_missing_values_become_nan():
    pd, pl = require("pandas"), require("polars")
    net = fb.MLP((3, 1), init="zeros", activation="identity", dtype="float64")
    net.weights[0] = [[1.0], [10.0], [100.0]]
    frames = [
        pd.DataFrame({"a": [1, None], "b": [True, True], "c": [1.0, 2.0]}).convert_dtypes(),
        pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([True, None], dtype="boolean"), "c": [1.0, 2.0]}),
        pl.DataFrame({"a": [1, 2], "b": [True, None], "c": [1.0, 2.0]}),
        np.array([[1, True, 1.0], [pd.NA, 1, 2.0]], dtype=object),
    ]
    for frame in frames:
        np.testing.assert_array_equal(net.forward(frame), [[111.0], [NAN]])
    classes = fb.MLP((3, 2), loss="cross_entropy", seed=0)
    with pytest.raises(ValueError, match=r"^\[value\] y\[1\] is nan, expected a class number"):
        classes.value(VALUES, pd.Series([1, None, 0], dtype="Int64"))
    with pytest.raises(ValueError, match=r"^\[value\] sample_weight\[1\] is nan, expected a finite number"):
        classes.value(VALUES, Y, pd.Series([1, None, 0], dtype="Float64"))


def refused():
    pd, pl = require("pandas"), require("polars")
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["1", "x"]})
    text = r".*X\[0, 2\] is '1' \(str\)\. Encode categories as numbers; convert text that holds numbers with X\."
    return [
        (frame, text + r"astype\(float\)$"),
        (frame.astype({"c": "string"}), text + r"astype\(float\)$"),
        (frame.astype({"c": "category"}), text + r"astype\(float\)$"),
        (pl.from_dict({name: frame[name].tolist() for name in frame}), text + r"(cast|astype)\(float\)$"),
        (np.array([["a"] * 3]), r"X holds <U1, .*Encode categories as numbers; .*X\.astype\(float\)"),
        (np.array([[b"a"] * 3]), r"X holds \|S1, .*X\.astype\(float\)"),
        (np.array([[1, None, 2.0]], dtype=object), r"X\[0, 1\] is None \(NoneType\)\. Replace a missing value by nan"),
        ([[1, Decimal("0.1"), 2]], r"changes a value: pass X\.astype\(float\) to round"),
        ([[1, 2**2000, 2]], "changes a value"),
        (VALUES * 1j, r"X holds complex128, .*pass X\.real"),
        (np.zeros((2, 3), "M8[s]"), r"X holds datetime64\[s\], .*convert times to numbers"),
        (frame.assign(c=pd.Timestamp(0)), r"X\[0, 2\] is Timestamp.* Convert X to numbers first"),
        (np.array([[[1], 2, 3], None], dtype=object), r"X\[0\] is \[\[1\], 2, 3\] \(list\)"),
    ]


@pytest.mark.frameworks
def test_what_holds_other_things_is_refused_with_the_cure():
    net = fb.MLP((3, 2), loss="cross_entropy", seed=0)
    state = fb.SGD().init(net.params)
    for X, text in refused():
        for method, call in {
            "forward": net.forward,
            "value": lambda X: net.value(X, Y[: len(X)]),
            "fit": lambda X: net.fit(X, Y[: len(X)]),
            "fit: chunk 0": lambda X: net.fit([(X, Y[: len(X)])]),
            "train_step": lambda X: net.train_step(X, Y[: len(X)], state),
            "objective": lambda X: net.objective(X, Y[: len(X)]),
            "diagnose": lambda X: fb.diagnose(net, X, Y[: len(X)]),
        }.items():
            with pytest.raises(TypeError, match=rf"^\[{method}\] X holds .*expected real numbers") as caught:
                call(X)
            assert pytest.raises(TypeError, match=text).matches(caught.value), str(caught.value)
    with pytest.raises(
        TypeError, match=r"^\[value\] y .*numpy\.unique\(y, return_inverse=True\); fastbp\.sklearn accepts"
    ):
        net.value(VALUES, ["a", "b", "a"])
    with pytest.raises(TypeError, match=r"^\[value\] sample_weight holds <U1"):
        net.value(VALUES, Y, ["a", "b", "a"])


@pytest.mark.frameworks
def test_numbers_are_not_copied():
    pd, pl = require("pandas"), require("polars")
    for given in (VALUES, VALUES.astype("f4"), pd.DataFrame(VALUES), pd.Series(Y), pl.Series(WEIGHTS)):
        array = _core.as_array("forward", "X", given)
        expected = given if isinstance(given, np.ndarray) else given.to_numpy()
        assert np.shares_memory(array, expected)
        assert array.dtype == expected.dtype


def test_a_loss_function_may_have_targets_that_are_no_numbers():
    names = np.array(["a", "b", "a"], dtype=object)

    def loss(y, x):
        r = x - (y == "a")[:, None]
        return 0.5 * (r**2).sum(axis=1), r

    net = fb.MLP((3, 1), loss=loss, seed=0, dtype="float64")
    expected = fb.MLP((3, 1), loss="squared_error", seed=0, dtype="float64")
    assert net.value(VALUES, names) == expected.value(VALUES, [1, 0, 1])


def test_parameters_and_gradients_from_objects():
    net = fb.MLP((3, 1), loss="squared_error", seed=0, dtype="float64")
    net.params = np.array([1, 2.5, True, -1], dtype=object)
    np.testing.assert_array_equal(net.params, [1, 2.5, 1, -1])
    fb.SGD(lr=1.0).init(net.params).update(net.params, np.array([1, 0.5, 0, 0], dtype=object))
    np.testing.assert_array_equal(net.params, [0, 2, 1, -1])
    np.testing.assert_array_equal(net.hvp(VALUES, Y, np.ones(4, dtype=object)), net.hvp(VALUES, Y, np.ones(4)))

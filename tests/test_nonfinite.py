"""A loss that is not finite: the message names the place in the data or parameters, or else the scale and the cure."""

import numpy as np
import pytest
import scipy.sparse
from helpers import require

import fastbp as fb
from fastbp import _nonfinite

N = 50


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)), rng.normal(size=N)


X, Y = data()


def make(outputs=1, **options):
    return fb.MLP((3, 4, outputs), **{"loss": "squared_error", "activation": "identity", "seed": 0, **options})


def changed(array, *places):
    """A copy with the (index, value) pairs written into it."""
    found = array.copy()
    for index, value in places:
        found[index] = value
    return found


def weights(*zeros):
    return changed(np.ones(N), *((row, 0) for row in zeros))


NAN, INF = np.nan, np.inf
HOLED = changed(X, ((7, 2), NAN), ((31, 0), INF))
PLACES = {
    "nan": ((HOLED, Y), "X[7, 2] is nan"),
    "inf": ((changed(X, ((3, 0), -INF)), Y), "X[3, 0] is -inf"),
    "y": ((X, changed(Y, (3, INF))), "y[3] is inf"),
    "a column y": ((X, changed(Y, (3, NAN))[:, None]), "y[3, 0] is nan"),
    "X before y": ((HOLED, changed(Y, (3, INF))), "X[7, 2] is nan"),
    "weight 0": ((HOLED, changed(Y, (8, INF)), weights(7, 8)), "X[31, 0] is inf"),
    "float64 for float32": ((changed(X, ((0, 1), 1e300)), Y), "X[0, 1] is 1e+300, beyond float32"),
    "y for float32": ((X, changed(Y, (1, -1e39))), "y[1] is -1e+39, beyond float32"),
    "float16": ((HOLED.astype("f2"), Y), "X[7, 2] is nan"),
    "the other byte order": ((HOLED.astype(">f8"), Y), "X[7, 2] is nan"),
    "columns that lie apart": ((np.asfortranarray(HOLED), Y), "X[7, 2] is nan"),
    "compressed rows": ((scipy.sparse.csr_array(HOLED), Y), "X[7, 2] is nan"),
    "compressed columns": ((scipy.sparse.csc_matrix(HOLED), Y), "X[7, 2] is nan"),
    "compressed rows of weight 0": ((scipy.sparse.csr_array(HOLED), Y, weights(7)), "X[31, 0] is inf"),
}


@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("block", [2**20, 7])
def test_the_place_is_named(case, block, monkeypatch):
    monkeypatch.setattr(_nonfinite, "BLOCK_NUMBERS", block)
    (x, y, *c), place = PLACES[case]
    for batch_size in (None, 8):
        net = make()
        with pytest.raises(FloatingPointError) as caught:
            net.fit(x, y, *c, batch_size=batch_size, shuffle=False, epochs=2)
        step = caught.value.history.state.step
        assert str(caught.value).startswith(f"[fit] {place}: ")
        assert f", step {step + 1}. " in str(caught.value)
    net, state = make(), fb.Adam().init(make().params)
    with pytest.raises(FloatingPointError) as caught:
        net.train_step(x, y, state, **({"sample_weight": c[0]} if c else {}))
    assert str(caught.value).startswith(f"[train_step] {place}: ")
    assert state.step == 0


@pytest.mark.frameworks
def test_the_other_ways_to_give_data(tmp_path):
    pd = require("pandas")
    frame = pd.DataFrame(HOLED, columns=["height", "mass", "age"])
    missing = frame.assign(mass=pd.array([1, None] * (N // 2), dtype="Int64"), age=True, height=1.0)
    mapped = np.memmap(tmp_path / "x", "f8", "w+", shape=X.shape)
    mapped[...] = HOLED
    cut = [(X[:20], Y[:20]), (HOLED[20:], Y[20:])]
    cases = [
        ((frame, Y), "[fit] X[7, 2] (column 'age') is nan: "),
        ((missing, Y), "[fit] X[1, 1] (column 'mass') is nan: "),
        ((mapped, Y), "[fit] X[7, 2] is nan: "),
        ((cut,), "[fit: chunk 1] X[11, 0] is inf: "),
        ((lambda: iter(cut),), "[fit: chunk 1] X[11, 0] is inf: "),
    ]
    for arrays, text in cases:
        with pytest.raises(FloatingPointError) as caught:
            make().fit(*arrays)
        assert str(caught.value).startswith(text)


def test_validation_data():
    net = make()
    with pytest.raises(
        FloatingPointError, match=r"^\[fit: validation_data\] X\[7, 2\] is nan: the validation loss"
    ) as caught:
        net.fit(X, Y, epochs=3, validation_data=(HOLED, Y))
    assert len(caught.value.history.loss) == 1
    assert make().fit(X, Y, validation_data=(HOLED, Y), on_nonfinite="stop").stop_reason == "nonfinite"
    history = make().fit(X, Y, epochs=2, validation_data=(HOLED, Y, weights(7, 31)))
    assert len(history.loss) == 2


def test_masked_outputs_do_not_count():
    y, c = np.column_stack([Y, Y]), np.ones((N, 2))
    y[3, 1], c[3, 1], y[5, 0] = INF, 0, NAN
    with pytest.raises(FloatingPointError, match=r"^\[fit\] y\[5, 0\] is nan: "):
        make(2).fit(X, y, c)
    c[7], c[31, 0] = 0, 0
    with pytest.raises(FloatingPointError, match=r"^\[fit\] X\[31, 0\] is inf: "):
        make(2).fit(HOLED, np.column_stack([Y, Y]), c)
    net = fb.MLP((2, 2), loss="squared_error", seed=0)  # as many inputs as outputs: an output's mask hides no input
    with pytest.raises(FloatingPointError, match=r"^\[fit\] X\[1, 0\] is nan: "):
        net.fit([[1, 1], [NAN, 1]], [[1, 1], [1, 1]], [[1, 1], [0, 1]])


def test_finite_data_that_overflow_at_once():
    big = fb.MLP((3, 1), loss="squared_error", seed=0)
    big.params = np.full(4, 1e3)
    with pytest.raises(FloatingPointError) as caught:
        big.fit(X * 1e38, Y, epochs=1)
    text = str(caught.value)
    assert text.startswith("[fit] the loss is not finite in epoch 1, step 1. It is the first one, before any step")
    assert f"X reaches {np.abs(X * 1e38).max():.4g} and y reaches {np.abs(Y).max():.4g}" in text
    assert "divide X by" in text
    assert "dtype='float64'" in text


def test_parameters_that_are_not_finite():
    net = make()
    net.params[4] = NAN
    with pytest.raises(FloatingPointError, match=r"^\[fit\] net\.params is nan in layer 1 \(weights\[0\]\)\[1, 0\]: "):
        net.fit(X, Y)


def test_divergence_is_told_from_data_that_are_wrong():
    net = make()
    with pytest.raises(FloatingPointError) as caught:
        net.fit(X * 100, Y, optimizer=fb.SGD(lr=10.0), batch_size=10, epochs=50)
    state = caught.value.history.state
    text = str(caught.value)
    assert f"in epoch {state.epoch + 1}, step {state.step + 1}. The training diverged" in text
    assert state.step > 0
    assert "use a smaller lr than 10, or max_grad_norm, or scale the data: divide X by" in text
    net, state = make(), fb.SGD(lr=10.0).init(make().params)
    with pytest.raises(FloatingPointError) as caught:
        [net.train_step(X * 100, Y, state) for _ in range(100)]
    assert "use a smaller lr than 10, or scale" in str(caught.value)
    assert "max_grad_norm" not in str(caught.value)


def test_negative_rates_of_poisson():
    net = make(2, loss="poisson", output_activation="identity", init="zeros")
    net.biases[-1][:] = 1.0, -3.0
    counts = np.ones((N, 2))
    text = r"output 1 of row 0 is -3, and poisson has no negative rates"
    with pytest.raises(FloatingPointError, match=rf"^\[fit\] {text}: the loss is .*Use output_activation 'exp' or"):
        net.fit(X, counts)
    with pytest.raises(FloatingPointError, match=r"^\[train_step\] output 1 of row 1 is -3,"):
        net.train_step(X, counts, fb.SGD(lr=0.1).init(net.params), sample_weight=weights(0))
    assert fb.diagnose(net, X, counts).findings[0].endswith(f": {text}")
    net.fit(X, counts, np.array([[1.0, 0.0]] * N), epochs=1)  # no rate that counts is negative
    net.biases[-1][:] = 1.0  # counts of 0 lower the rates below 0 within some steps
    with pytest.raises(FloatingPointError, match=r"^\[fit\] output \d of row \d+ is -.* no negative rates"):
        net.fit(X, 0 * counts, optimizer=fb.SGD(lr=0.1), epochs=100)


def test_a_rate_of_0_with_a_count_is_named():
    net = make(loss="poisson", output_activation="relu", init="zeros")
    counts = np.zeros(N)
    net.fit(X, counts, epochs=1)  # a count of 0 may have a rate of 0
    counts[3] = 2
    text = r"output 0 of row 3 is 0, and its count is 2: the loss is .*Use output_activation 'exp' or"
    with pytest.raises(FloatingPointError, match=rf"^\[fit\] {text}"):
        net.fit(X, counts)


def half_squares(y, x):
    r = x[:, 0] - y
    return 0.5 * r**2, r[:, None]


def test_nan_in_the_targets_of_a_loss_function_after_the_first_step():
    """The data are not finite, but the loss function may have a use for nan: both causes are named."""
    spoilt = Y.copy()
    spoilt[-1] = NAN
    net = make(loss=half_squares)
    with pytest.raises(FloatingPointError) as caught:
        net.fit(X, spoilt, batch_size=2, epochs=1, shuffle=False)
    text = str(caught.value)
    assert f"The training diverged, or the loss function does not handle a target: y[{len(Y) - 1}] is nan" in text
    assert f"X is finite: X reaches {np.abs(X).max():.4g}. To fix it, " in text
    assert "or let the loss function skip such targets" in text
    assert "data are finite" not in text


def test_what_a_loss_function_returns():
    net = make(loss=lambda y, x: (np.full(len(x), NAN), x))
    with pytest.raises(FloatingPointError, match="or check the loss function's results for nan"):
        net.fit(X, Y)
    names = np.array(["a", "b"] * (N // 2))
    net = make(loss=lambda y, x: (np.where(y == "a", x[:, 0], NAN), x))
    with pytest.raises(FloatingPointError, match="the first one"):
        net.fit(X, names)


def test_only_a_block_is_in_memory(monkeypatch):
    class Counted(np.ndarray):
        """Notes the rows that are read at a time."""

        def __getitem__(self, rows):
            sizes.append(len(range(*rows.indices(len(self)))))
            return np.asarray(super().__getitem__(rows))

    sizes = []
    monkeypatch.setattr(_nonfinite, "BLOCK_NUMBERS", 30)
    given = fb._chunks.Data(X.view(Counted), Y, None, None, N, method="fit")
    assert _nonfinite.cause_in_data(make(), given) is None
    assert sizes == [10] * 5


def test_diagnose_names_the_place():
    found = fb.diagnose(make(), np.r_[np.zeros((5, 3)), HOLED], np.r_[np.zeros(5), Y], rows=54).findings
    assert found == ["the value is not finite: X[12, 2] is nan"]
    saturated = fb.diagnose(make(activation="tanh"), changed(X, ((31, 0), INF)), Y).findings
    assert "X[31, 0] is inf, although the value is finite" in saturated
    net = make()
    net.biases[1][...] = NAN
    assert fb.diagnose(net, X, Y).findings == ["the value is not finite: net.params is nan in layer 2 (biases[1])[0]"]


@pytest.mark.frameworks
def test_estimators_name_the_step_and_their_own_options():
    estimators = require("fastbp.sklearn")
    y = changed(Y, (3, 1e300))
    cases = [
        (
            X.astype("f4"),
            y,
            {},
            r"^\[fit\] y\[3\] is 1e\+300, beyond float32: .* step \d\. Scale y, or pass X as float64$",
        ),
        (
            X * 1e3,
            Y,
            {"learning_rate_init": 1e6},
            r"step \d\. The training diverged.* use a smaller learning_rate_init, or",
        ),
    ]
    for x, targets, options, text in cases:
        model = estimators.MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", batch_size=10, random_state=0, **options)
        with pytest.raises(ValueError, match="Solver produced non-finite") as caught:
            model.fit(x, targets)
        assert pytest.raises(FloatingPointError, match=text).matches(caught.value.__cause__), caught.value.__cause__


def test_check_gradient_names_the_place():
    cases = [
        (HOLED, Y, None, r"^the value is nan, so it has no gradient: X\[7, 2\] is nan$"),
        (scipy.sparse.csr_matrix(HOLED), Y, None, r": X\[7, 2\] is nan$"),
        (HOLED, Y, weights(7), r": X\[31, 0\] is inf$"),
        (X, changed(Y, (3, -INF)), None, r"^the value is inf, so it has no gradient: y\[3\] is -inf$"),
    ]
    for x, y, weight, text in cases:
        with pytest.raises(AssertionError, match=text):
            fb.testing.check_gradient(make(), x, y, weight)
    with pytest.raises(AssertionError, match=r": X\[7, 2\] is nan$"):
        fb.testing.check_gradient(make(), HOLED, Y, -weights(31), reduction="sum")
    assert fb.testing.check_gradient(make(), HOLED, Y, weights(7, 31)) < 1e-4

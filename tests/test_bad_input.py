"""Calls that must be refused: the right exception, a text that names what came, and nothing changed."""

import numpy as np
import pytest

import fastbp as fb
from fastbp.testing import check_gradient

N, IN, OUT = 6, 3, 2
X = np.random.default_rng(0).normal(size=(N, IN))
Y = np.random.default_rng(1).normal(size=(N, OUT))
K = np.arange(N) % 4  # class numbers
C = np.ones(N)
SETTINGS = {"loss": "squared_error", "activation": "tanh", "seed": 0, "dtype": "float64"}


def make(sizes=(IN, 4, OUT), **options):
    return fb.MLP(sizes, **{**SETTINGS, **options})


def square(y, x):
    return 0.5 * ((x - y) ** 2).sum(axis=1), x - y


class Scene:
    """A net, a state amid training and an array for results, and whether a call has changed any of them."""

    def __init__(self, **options):
        self.net = make(**options)
        self.net.params += 0.01  # biases too are not 0
        self.state = fb.Adam().init(self.net.params, seed=3)
        if options.get("loss", "squared_error") == "squared_error":
            self.net.train_step(X, Y, self.state)
        self.out = np.full(self.net.params.size, np.nan)
        self.before = self.bits()

    def bits(self):
        arrays = [self.net.params, *self.state.moments, self.out, X, Y, C, K]
        state = (self.state.step, self.state.epoch, self.state.seed)
        return [array.tobytes() for array in arrays], state

    def refuses(self, call, error, text):
        with pytest.raises(error, match=text) as caught:
            call(self)
        assert type(caught.value) is error
        assert self.bits() == self.before


METHODS = {  # every method that reads data, with everything it could write
    "forward": lambda s, x, y, c: s.net.forward(x),
    "value": lambda s, x, y, c: s.net.value(x, y, c),
    "value_and_grad": lambda s, x, y, c: s.net.value_and_grad(x, y, c, out=s.out),
    "backward": lambda s, x, y, c: s.net.backward(x, y, c),
    "vjp": lambda s, x, y, c: s.net.vjp(x),
    "fit": lambda s, x, y, c: s.net.fit(x, y, c, state=s.state, epochs=2, batch_size=2),
    "train_step": lambda s, x, y, c: s.net.train_step(x, y, s.state, sample_weight=c),
}
WITH_LOSS = ["value", "value_and_grad", "backward", "fit", "train_step"]


class Sparse:
    nnz = 0

    def toarray(self):
        raise AssertionError("never called")


STRUCTURED = np.zeros(N, [("a", "f4"), ("b", "f4")])
NO_NUMBERS = {  # not real numbers: data, what the text says
    "None": (None, "None"),
    "object": (np.full((N, IN), None), "holds object"),
    "str": (X.astype(str), "holds <U"),
    "list of str": ([["1", "2", "3"]] * N, "holds <U"),
    "bytes": (b"abc", r"holds \|S3"),
    "complex": (X + 0j, "holds complex128"),
    "datetime": (X.astype("M8[s]"), r"holds datetime64\[s\]"),
    "timedelta": (X.astype("m8[s]"), r"holds timedelta64\[s\]"),
    "structured": (STRUCTURED, "holds .*'a'"),
    "void": (np.zeros((N, IN), "V8"), r"holds \|V8"),
    "set": ({1.0, 2.0}, "holds object"),
    "generator": (range, "holds object"),
    "sparse": (Sparse(), r"sparse Sparse, expected a dense array: pass X\.toarray\(\)"),
    "masked": (np.ma.array(X, mask=X > 0), "masked array"),
}
WRONG_X = {
    "wide": (np.ones((N, IN + 1)), r"X has 4 columns, layer 1 \(weights\[0\]\) expects 3"),
    "one row": (X[0], r"X has shape \(3,\).*X\[None, :\]"),
    "3-D": (X[None], r"X has shape \(1, 6, 3\), expected 1 or 2 dimensions"),
    "0-D": (1.0, r"X has shape \(\), expected"),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], "X cannot be made an array of numbers: .*inhomogeneous"),
}


@pytest.mark.parametrize("method", METHODS)
def test_x(method):
    wrong = [(x, TypeError, "X .*" + text) for x, text in NO_NUMBERS.values()]
    wrong += [(x, ValueError, text) for x, text in WRONG_X.values()]
    for x, error, text in wrong:
        Scene().refuses(lambda s, x=x: METHODS[method](s, x, Y, None), error, rf"^\[{method}\] {text}")


WRONG_Y = {
    "missing": (None, ValueError, "y is missing: the loss needs a target"),
    "short": (Y[:4], ValueError, "y has 4 rows, X has 6"),
    "vector": (Y[:, 0], ValueError, r"y has shape \(6,\), expected \(6, 2\)"),
    "wide": (np.ones((N, 3)), ValueError, "y has 3 columns, the net has 2 outputs"),
    "3-D": (Y[None], ValueError, r"y has shape \(1, 6, 2\)"),
    "ragged": ([[1.0], [1.0, 2.0]], ValueError, "y cannot be made an array"),
    "names": (["cat"] * N, TypeError, "y holds <U3, expected real numbers"),
    "complex": (Y + 0j, TypeError, "y holds complex128"),
    "masked": (np.ma.array(Y), TypeError, "y is a masked array.*a weight of 0 masks"),
}
WRONG_WEIGHTS = {
    "short": (C[:5], ValueError, "sample_weight has 5 rows, X has 6"),
    "wide": (np.ones((N, 3)), ValueError, r"sample_weight has shape \(6, 3\), expected \(6,\) or \(6, 2\)"),
    "nan": (C * np.nan, ValueError, r"sample_weight\[0\] is nan, expected a finite number"),
    "inf": (np.r_[C[1:], np.inf], ValueError, r"sample_weight\[5\] is inf, expected a finite"),
    "float16 inf": (np.float16(C * np.inf), ValueError, r"sample_weight\[0\] is inf"),
    "zero": (C * 0, ValueError, "sample_weight is 0 everywhere, expected at least one row"),
    "negative": (-C, ValueError, r"sample_weight\[0\] is -1, expected numbers >= 0; .*reduction='sum'"),
    "str": (["a"] * N, TypeError, "sample_weight holds <U1"),
    "scalar": (1.0, ValueError, r"sample_weight has shape \(\)"),
}


@pytest.mark.parametrize("method", WITH_LOSS)
def test_y_and_weights(method):
    for y, error, text in WRONG_Y.values():
        Scene().refuses(lambda s, y=y: METHODS[method](s, X, y, None), error, rf"^\[{method}\] {text}")
    for c, error, text in WRONG_WEIGHTS.values():
        Scene().refuses(lambda s, c=c: METHODS[method](s, X, Y, c), error, rf"^\[{method}\] {text}")
    zero = rf"^\[{method}\] X has 0 rows, a loss needs at least one"
    Scene().refuses(lambda s: METHODS[method](s, X[:0], Y[:0], None), ValueError, zero)
    no_loss = rf"^\[{method}\] the net has no loss"
    Scene(loss=None).refuses(lambda s: METHODS[method](s, X, Y, None), ValueError, no_loss)


def test_what_is_allowed_beside():
    net = make()
    assert net.forward(X[:0]).shape == (0, OUT)
    x, pullback = net.vjp(X[:0])
    assert not pullback(x)[0].any()
    assert net.value(X, Y, -C, reduction="sum") == -net.value(X, Y, C, reduction="sum")
    assert net.fit(X, Y, epochs=0).loss == []
    assert net.fit(X, Y, epochs=1, batch_size=10**30).state.step == 1


CLASS = {"sizes": (IN, 4), "loss": "cross_entropy"}
TARGETS = {  # options of the net, y, text
    "class negative": (CLASS, -K, r"y\[1\] is -1, expected a class number from 0 to 3; .*return_inverse"),
    "class 4": (CLASS, K + 1, r"y\[3\] is 4, expected a class"),
    "class half": (CLASS, K + 0.5, r"y\[0\] is 0\.5, expected a class"),
    "class nan": (CLASS, K * np.nan, r"y\[0\] is nan, expected a class"),
    "class huge": (CLASS, K.astype(np.uint64) + np.uint64(2**63), r"y\[0\] is 9\.2.*e\+18, expected a class"),
    "class column": (CLASS, K[:, None], r"y has shape \(6, 1\), a column; .*pass y\.ravel\(\)"),
    "one-hot width": (CLASS, np.eye(4)[K][:, :3], "y has 3 columns, the net has 4 outputs"),
    "sum": (CLASS, np.eye(4)[K] * 0.9, r"row 0 of y sums to 0\.9, expected 1"),
    "sum nan": (CLASS, np.full((N, 4), np.nan), r"y\[0, 0\] is nan, expected a probability"),
    "probability": (CLASS, np.eye(4)[K] * 2 - 0.25, r"y\[0, 0\] is 1\.75, expected a probability within"),
    "labels -1": ({"sizes": (IN, 1), "loss": "cross_entropy"}, np.sign(X[:, 0]),
                  r"y\[\d\] is -1, expected a target within \[0, 1\] \(map -1/\+1 to 0/1 by \(y \+ 1\) / 2"),
    "poisson": ({"loss": "poisson"}, -np.ones((N, OUT)), r"y\[0, 0\] is -1, expected a finite count or rate >= 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("method", WITH_LOSS)
def test_targets(method, case):
    options, y, text = TARGETS[case]
    Scene(**options).refuses(lambda s: METHODS[method](s, X, y, None), ValueError, rf"^\[{method}\] {text}")


def read_only(array):
    array.flags.writeable = False
    return array


OUTS = {  # `out` for the gradient, P its size
    "dtype": (lambda s, p: np.zeros(p, "f4"), ValueError, "out has dtype float32, expected float64"),
    "big-endian": (lambda s, p: np.zeros(p, ">f8"), ValueError, "out has dtype >f8, expected float64"),
    "shape": (lambda s, p: np.zeros(p + 1), ValueError, r"out has shape \(27,\), expected \(26,\)"),
    "column": (lambda s, p: np.zeros((p, 1)), ValueError, r"out has shape \(26, 1\), expected \(26,\)"),
    "list": (lambda s, p: [0.0] * p, TypeError, "out is a list, expected a NumPy array"),
    "read-only": (lambda s, p: read_only(np.zeros(p)), ValueError, "out is read-only"),
    "gaps": (lambda s, p: np.zeros(2 * p)[::2], ValueError, "out is not C-contiguous"),
    "reversed": (lambda s, p: np.zeros(p)[::-1], ValueError, "out is not C-contiguous"),
    "unaligned": (lambda s, p: np.zeros(8 * p + 1, "u1")[1:].view("f8"), ValueError, "out is not aligned"),
    "params": (lambda s, p: s.net.params, ValueError, "out overlaps the parameters in memory"),
}


@pytest.mark.parametrize("case", OUTS)
def test_out_of_the_gradient(case):
    form, error, text = OUTS[case]
    for accumulate in (False, True):
        scene = Scene()
        out = form(scene, scene.net.params.size)
        before = np.array(out)
        scene.refuses(lambda s, out=out, a=accumulate: s.net.value_and_grad(X, Y, out=out, accumulate=a),
                      error, rf"^\[value_and_grad\] {text}")  # fmt: skip
        assert np.array_equal(out, before)


def test_out_that_overlaps_the_data():
    net = make((3, 3))
    x = np.arange(18.0).reshape(6, 3)
    for out in (x, x[:], x.reshape(-1).reshape(6, 3)):
        with pytest.raises(ValueError, match=r"^\[forward\] out overlaps X in memory"):
            net.forward(x, out=out)
    assert np.array_equal(x, np.arange(18.0).reshape(6, 3))
    memory = np.ones(18)
    with pytest.raises(ValueError, match=r"^\[value_and_grad\] out overlaps y"):
        net.value_and_grad(x, memory.reshape(6, 3), out=memory[:12])
    with pytest.raises(ValueError, match=r"^\[value_and_grad\] out overlaps sample_weight"):
        net.value_and_grad(x, x, memory[11:5:-1], out=memory[:12])
    assert np.array_equal(memory, np.ones(18))
    memory = np.zeros(30)  # the second half of X's last number
    over, beside = (memory.view("f4")[begin : begin + 12].reshape(6, 2) for begin in (35, 36))
    net32 = make((3, 2), dtype="float32")
    with pytest.raises(ValueError, match=r"^\[forward\] out overlaps X"):
        net32.forward(memory[:18].reshape(6, 3), out=over)
    assert net32.forward(memory[:18].reshape(6, 3), out=beside) is beside
    with pytest.raises(ValueError, match="accumulate=True needs `out`"):
        net.value_and_grad(x, x, accumulate=True)


def set_weights(s, value, k=0):
    s.net.weights[k] = value


def set_params(s, value):
    s.net.params = value


def pull(s, cotangent):
    return s.net.vjp(X)[1](cotangent)


def update(s, params=None, grad=None):
    size = s.net.params.size
    s.state.update(s.net.params if params is None else params, np.ones(size) if grad is None else grad)


def fit(**options):
    return lambda s: s.net.fit(X, Y, **{"state": s.state, "epochs": 2, "batch_size": 2, **options})


def other_state(size, dtype="f8"):
    return fb.Adam().init(np.zeros(size, dtype))


VALUE, TYPE = ValueError, TypeError
CALLS = [
    (lambda s: s.net.value(X, Y, reduction="men"), VALUE, r"\[value\] reduction is 'men'.*'mean'"),
    (lambda s: s.net.backward(X, Y, reduction=None), VALUE, r"\[backward\] reduction is None, expected"),
    (lambda s: s.net.backward(X, Y, returns=["delta"]), VALUE, r"\[backward\] returns is 'delta'.*'deltas'"),
    (lambda s: s.net.backward(X, Y, returns=(["x"],)), VALUE, r"\[backward\] returns is \"\['x'\]\", expected one of"),
    (lambda s: s.net.backward(X, Y, returns=5), VALUE, r"\[backward\] returns is '5', expected one of"),
    (lambda s: pull(s, None), TYPE, r"\[pullback\] cotangent is None"),
    (lambda s: pull(s, np.ones((N, 3))), VALUE, r"\[pullback\] cotangent has shape \(6, 3\), expected"),
    (lambda s: pull(s, np.ones(N)), VALUE, r"\[pullback\] cotangent has shape \(6,\), expected \(6, 2\)"),
    (lambda s: pull(s, Y[:3]), VALUE, r"\[pullback\] cotangent has shape \(3, 2\)"),
    (lambda s: pull(s, Y + 0j), TYPE, r"\[pullback\] cotangent holds complex128"),
    (lambda s: set_params(s, np.ones(3)), VALUE, r"\[params\] params is given shape \(3,\), expected"),
    (lambda s: set_params(s, 1.0), VALUE, r"\[params\] params is given shape \(\)"),
    (lambda s: set_params(s, s.net.params.astype(str)), TYPE, r"\[params\] params is given <U"),
    (lambda s: set_params(s, s.net.params + 0j), TYPE, r"\[params\] params is given complex128"),
    (lambda s: set_params(s, None), TYPE, r"\[params\] params is given object"),
    (lambda s: set_weights(s, np.ones((4, 3))), VALUE, r"\[weights\] .*\[0\] is given shape \(4, 3\)"),
    (lambda s: set_weights(s, np.ones((3, 4)) + 0j), TYPE, r"\[weights\] weights\[0\] is given complex"),
    (lambda s: set_weights(s, np.ones((3, 4)).astype(str)), TYPE, r"\[weights\] weights\[0\] is given <U"),
    (lambda s: set_weights(s, np.ones((3, 4)), 2), IndexError, "out of range"),
    (lambda s: set_weights(s, [np.ones((3, 4))], slice(0, 1)), TYPE, "slice"),
    (lambda s: update(s, grad=np.ones(3)), VALUE, r"\[update\] grad has shape \(3,\), expected \(26,\)"),
    (lambda s: update(s, grad=np.ones((1, 26))), VALUE, r"\[update\] grad has shape \(1, 26\)"),
    (lambda s: update(s, grad=np.ones(26) + 0j), TYPE, r"\[update\] grad holds complex128"),
    (lambda s: update(s, grad=[[1], [1, 2]]), VALUE, r"\[update\] grad cannot be made an array"),
    (lambda s: update(s, grad=s.net.params), VALUE, r"\[update\] params overlaps grad"),
    (lambda s: update(s, s.net.params.astype("f4")), VALUE, r"\[update\] params has dtype float32, expected"),
    (lambda s: update(s, np.ones(27)), VALUE, r"\[update\] params has shape \(27,\), expected \(26,\)"),
    (lambda s: update(s, [0.0] * 26), TYPE, r"\[update\] params is a list"),
    (lambda s: update(s, read_only(np.ones(26))), VALUE, r"\[update\] params is read-only"),
    (fit(batch_size=0), VALUE, r"\[fit\] batch_size is 0, expected at least 1"),
    (fit(batch_size=-1), VALUE, r"\[fit\] batch_size is -1, expected at least 1"),
    (fit(batch_size=1.5), TYPE, r"\[fit\] batch_size is 1\.5, expected an integer"),
    (fit(batch_size="all"), TYPE, r"\[fit\] batch_size is 'all', expected an integer"),
    (fit(batch_size=True), TYPE, r"\[fit\] batch_size is True, expected an integer"),
    (fit(epochs=-1), VALUE, r"\[fit\] epochs is -1, expected at least 0"),
    (fit(epochs=2.5), TYPE, r"\[fit\] epochs is 2\.5, expected an integer"),
    (fit(epochs=None), TYPE, r"\[fit\] epochs is None, expected an integer"),
    (fit(state=None, seed=-1), VALUE, r"\[fit\] seed is -1"),
    (fit(seed="a"), TYPE, r"\[fit\] seed is 'a'"),
    (fit(seed=1.5), TYPE, r"\[fit\] seed is 1\.5"),
    (fit(state=None, optimizer="adam"), TYPE, r"\[fit\] optimizer is 'adam', expected an optimizer such as"),
    (fit(state=None, optimizer=fb.Adam), TYPE, r"\[fit\] optimizer is <class"),
    (fit(state=fb.Adam()), TYPE, r"\[fit\] state is Adam, expected a TrainState"),
    (fit(state=other_state(3)), VALUE, r"\[fit\] state was made for .*\(3,\), .* has .*\(26,\)"),
    (fit(state=other_state(26, "f4")), VALUE, r"\[fit\] state was made for float32\(26,\)"),
    (lambda s: s.net.train_step(X, Y, None), TYPE, r"\[train_step\] state is NoneType, expected"),
    (lambda s: s.net.train_step(X, Y, other_state(3)), VALUE, r"\[train_step\] state was made for"),
    (fit(validation_data=[X, Y]), TYPE, r"\[fit\] validation_data is not a tuple"),
    (fit(validation_data=(X,)), TYPE, r"\[fit\] validation_data is not a tuple"),
    (fit(validation_data=(X[:, :2], Y)), VALUE, r"\[fit: validation_data\] X has 2 columns"),
    (fit(validation_data=(X, Y[:3])), VALUE, r"\[fit: validation_data\] y has 3 rows"),
    (fit(validation_data=(X[:0], Y[:0])), VALUE, r"\[fit: validation_data\] X has 0 rows"),
    (fit(validation_data=(X, Y, -C)), VALUE, r"\[fit: validation_data\] sample_weight\[0\] is -1"),
    (fit(callbacks=3), TYPE, r"\[fit\] callbacks is 3, expected a sequence of functions"),
    (fit(callbacks=[print, 3]), TYPE, r"\[fit\] callbacks is .*, expected a sequence of functions"),
    (fit(progress="yes"), VALUE, r"\[fit\] progress is 'yes', expected True"),
    (lambda s: s.net.to("cuda"), RuntimeError, r"'cuda' is not compiled"),
    (lambda s: check_gradient(s.net, X, Y, grad=[1.0]), VALUE, r"\[check_gradient\] grad has"),
    (lambda s: fb.show_config("json"), VALUE, "mode is 'json', expected 'stdout'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), CALLS, ids=[text for _, _, text in CALLS])
def test_calls(call, error, text):
    Scene().refuses(call, error, "^" + text if text.startswith(r"\[") else text)


ANSWERS = {  # what a loss function answers: the exception
    "no tuple": (lambda y, x: x, TypeError, "returned ndarray, expected a tuple"),
    "e": (lambda y, x: (x, x), ValueError, r"returned e of shape \(\d, 2\), expected \(\d,\)"),
    "dx": (lambda y, x: (x[:, 0], x[:, :1]), ValueError, r"returned dx of shape \(\d, 1\), expected"),
    "complex": (lambda y, x: (x[:, 0], x + 0j), TypeError, "returned dx of dtype complex128, expected real"),
    "raise": (lambda y, x: 1 / 0, ZeroDivisionError, "division"),
    "stop": (lambda y, x: next(iter(())), StopIteration, "^$"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.parametrize("method", WITH_LOSS)
def test_loss_functions(method, case):
    loss, error, text = ANSWERS[case]
    Scene(loss=loss).refuses(lambda s: METHODS[method](s, X, Y, None), error, text)
    if method != "value":
        wrong = {"y is missing": None, r"y has shape \(9, 2\), X has 6": np.ones((9, 2))}
        for text, y in wrong.items():
            call = lambda s, y=y: METHODS[method](s, X, y, None)  # noqa: E731
            Scene(loss=square).refuses(call, ValueError, rf"^\[{method}\] {text}")


def test_states_written_to_by_hand():
    for moments, text in {
        "none": ([], "has 0 arrays"),
        "short": ([np.zeros(1), np.zeros(1)], r"moments\[0\] is not a writable"),
        "dtype": ([np.zeros(26, "f4")] * 2, r"moments\[0\] is not"),
        "gaps": ([np.zeros(52)[::2]] * 2, r"moments\[0\] is not"),
    }.values():
        for call in (update, fit(), lambda s: s.net.train_step(X, Y, s.state)):
            scene = Scene()
            scene.state.moments = moments
            scene.before = scene.bits()
            scene.refuses(call, ValueError, rf"\] state\.{text}" if "has" not in text else text)
    scene = Scene()
    scene.net.params.flags.writeable = False
    scene.refuses(fit(), ValueError, r"^\[fit\] net\.params is read-only")

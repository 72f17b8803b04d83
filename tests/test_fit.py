"""What surrounds the epochs of a fit: schedules, metrics, early stopping, limits, the history's plot, the bar."""

import copy
import functools
import math
import pickle
import sys
import time

import numpy as np
import pytest
from helpers import require

import fastbp as fb
from fastbp import reference as ref

SIZES = (3, 5, 2)
N = 37


def data():
    rng = np.random.default_rng(1)
    return (
        rng.normal(size=(N, 3)),
        rng.normal(size=(N, 2)),
        rng.uniform(0.5, 2.0, size=N),
        (rng.normal(size=(11, 3)), rng.normal(size=(11, 2))),
    )


X, Y, C, VALID = data()


def make(sizes=SIZES, **options):
    return fb.MLP(sizes, **{"loss": "squared_error", "activation": "tanh", "seed": 0, "dtype": "float64", **options})


def same(a, b):
    """Whether two states are equal to the bit."""
    assert (a.step, a.epoch, a.seed, a.optimizer) == (b.step, b.epoch, b.seed, b.optimizer)
    for mine, other in zip(a.moments, b.moments, strict=True):
        np.testing.assert_array_equal(mine, other)


SCHEDULES = {  # schedule: the factor by itself
    "constant": (fb.schedules.constant(), lambda t: 1.0),
    "step": (fb.schedules.step(2, factor=0.5), lambda t: [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125][int(t)]),
    "step of a part": (fb.schedules.step(0.5), lambda t: 0.1 ** int(2 * t)),
    "cosine": (fb.schedules.cosine(3, final=0.2), lambda t: 0.6 + 0.4 * math.cos(math.pi * t / 3) if t < 3 else 0.2),
    "warmup": (fb.schedules.warmup(1.5), lambda t: min(t / 1.5, 1)),
    "both": (
        fb.schedules.warmup(1, then=fb.schedules.cosine(2)),
        lambda t: t if t < 1 else 0.5 + 0.5 * math.cos(math.pi * (min(t, 3) - 1) / 2),
    ),
    "own": (lambda t: 1 / (1 + t), lambda t: 1 / (1 + t)),
}


@pytest.mark.parametrize("optimizer", [fb.SGD(0.1, momentum=0.9), fb.Adam(0.03)], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, optimizer):
    schedule, factor = SCHEDULES[name]
    net, steps = make(), math.ceil(N / 8)
    params, memory, rates = net.params.copy(), {}, []
    options = {k: v for k, v in vars(optimizer).items() if k != "lr"}
    rule = ref.adam_step if isinstance(optimizer, fb.Adam) else ref.sgd_step

    def step(params, grads):
        rates.append(optimizer.lr * factor(len(rates) / steps))
        rule(params, grads, memory, lr=rates[-1], **options)

    w, b = ref.views(params, SIZES)
    losses = ref.train(w, b, X, Y, net.activations, net.loss, [np.arange(N)] * 4, step, 8)
    history = net.fit(X, Y, optimizer=optimizer, epochs=4, batch_size=8, shuffle=False, schedule=schedule)
    np.testing.assert_allclose(net.params, params, rtol=1e-11)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(history.lr, rates[steps - 1 :: steps], rtol=1e-14)
    if name != "own":
        assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    "schedule", [lambda t: -1.0, lambda t: math.nan, lambda t: "1", lambda t: fb.schedules.cosine, lambda t: 1e308]
)
def test_factors_that_are_refused(schedule):
    for late in (False, True):
        net = make()
        state = fb.SGD(10.0).init(net.params, seed=0)
        asked = (lambda t: schedule(t) if t >= 1.2 else 0.01) if late else schedule
        with pytest.raises((ValueError, TypeError), match=r"^\[fit\] schedule.* expected a finite number") as caught:
            net.fit(X, Y, state=state, epochs=3, batch_size=8, schedule=asked)
        assert len(caught.value.history.loss) == state.epoch == late
        assert state.step == 5 * late  # the whole of a bad epoch's rates is refused before its first step
        assert np.array_equal(net.params, make().params) is not late


def mae(y, x):
    assert x.shape == y.shape
    return np.abs(y - x).mean()


def r2_score(y, x):
    return 1 - ((y - x) ** 2).sum() / ((y - y.mean()) ** 2).sum()


def test_metrics_of_regression():
    seen = []

    def look(net, history):
        row = []
        for x, y in ((X, Y), VALID):
            out = net.forward(x)
            row += [np.mean([r2_score(y[:, j], out[:, j]) for j in range(2)]), np.abs(y - out).mean()]
        seen.append(row)

    net = make()
    h = net.fit(X, Y, epochs=3, metrics=["r2", mae], validation_data=VALID, callbacks=[look])
    found = [h.metrics["r2"], h.metrics["mae"], h.val_metrics["r2"], h.val_metrics["mae"]]
    np.testing.assert_allclose(np.transpose(found), seen, rtol=1e-12)
    assert all(type(v) is float for values in found for v in values)
    bare = make().fit(X, Y, epochs=1, metrics=[functools.partial(mae)])
    assert list(bare.metrics) == ["mae"]
    assert bare.val_metrics == {}
    one = make((3, 1)).fit(X, Y[:, 0], epochs=1, metrics=(mae, "r2"))  # a vector y has a vector x
    assert one.metrics["mae"][0] < 10


def test_r2_of_a_constant_target():
    net = make((1, 2), init="zeros")
    x, y = np.zeros((4, 1)), np.array([[0.0, 1.0]] * 4)
    h = net.fit(x, y, epochs=1, optimizer=fb.SGD(0.0), metrics=["r2"])
    assert h.metrics["r2"] == [0.5]  # 1 and 0, as scikit-learn has it
    assert np.isnan(net.fit(x[:1], y[:1], epochs=1, metrics=["r2"]).metrics["r2"][0])


def test_accuracy(rng):
    classes = rng.integers(0, 3, size=N)
    for y in (classes, classes.astype(float), np.eye(3)[classes], 0.9 * np.eye(3)[classes] + 1 / 30):
        net = make((3, 8, 3), loss="cross_entropy")
        h = net.fit(X, y, epochs=5, optimizer=fb.Adam(0.1), metrics=["accuracy"], validation_data=(X[:9], y[:9]))
        right = net.forward(X).argmax(axis=1) == classes
        assert 0.4 < h.metrics["accuracy"][-1] == right.mean()
        assert h.val_metrics["accuracy"][-1] == right[:9].mean()
    yes = (X[:, 0] > 0).astype(int)
    net = make((3, 8, 1), loss="cross_entropy")
    h = net.fit(X, yes, epochs=2, optimizer=fb.Adam(0.02), metrics=["accuracy"])
    assert 0.3 < h.metrics["accuracy"][-1] == ((net.forward(X)[:, 0] > 0.5) == yes).mean() < 1
    labels = (X[:, :2] > 0).astype(int)
    net = make((3, 8, 2), loss="cross_entropy", output_activation="logistic")
    h = net.fit(X, labels, epochs=9, optimizer=fb.Adam(0.05), metrics=["accuracy"])
    each = (net.forward(X) > 0.5) == labels
    assert 0.3 < h.metrics["accuracy"][-1] == each.all(axis=1).mean() < each.mean()


def spoiled(at):
    """A callback that makes epochs from `at` on worse."""

    def spoil(net, history):
        if len(history.loss) >= at:
            net.params += 0.3

    return spoil


@pytest.mark.parametrize("optimizer", [fb.SGD(0.05, momentum=0.5), fb.Adam(0.02)], ids=["sgd", "adam"])
@pytest.mark.parametrize("reason", ["early_stopping", "callback", "time_limit", "nonfinite", "epochs"])
def test_the_best_epoch_comes_back(reason, optimizer, monkeypatch):
    kept = []

    def keep(net, history):
        kept.append((net.params.copy(), copy.deepcopy(history.state)))
        if len(kept) == 8:
            if reason == "callback":
                raise StopIteration
            if reason == "nonfinite":
                net.params[:] = np.nan
            if reason == "time_limit":
                now = time.monotonic()
                monkeypatch.setattr(time, "monotonic", lambda: now + 1e6)

    net = make()
    history = net.fit(
        X, Y, optimizer=optimizer, epochs=9 if reason == "epochs" else 50, batch_size=8, seed=0, validation_data=VALID,
        early_stopping=4 if reason == "early_stopping" else 40, time_limit=1e5, on_nonfinite="stop",
        callbacks=[spoiled(6), keep],
    )  # fmt: skip
    monkeypatch.undo()
    assert history.stop_reason == reason
    best = history.best_epoch
    assert best == int(np.argmin(history.val_loss)) < len(history.loss) - 1
    assert len(history.loss) == (best + 5 if reason == "early_stopping" else 9 if reason == "epochs" else 8)
    np.testing.assert_array_equal(net.params, kept[best][0])
    same(history.state, kept[best][1])
    assert history.state.epoch == best + 1
    shorter = make()  # as if fit had ended with the best epoch
    end = shorter.fit(X, Y, optimizer=optimizer, epochs=best + 1, batch_size=8, seed=0, callbacks=[spoiled(6)])
    np.testing.assert_array_equal(net.params, shorter.params)
    same(history.state, end.state)
    more = [n.fit(X, Y, state=s.state, epochs=2, batch_size=8) for n, s in ((net, history), (shorter, end))]
    assert more[0].loss == more[1].loss
    np.testing.assert_array_equal(net.params, shorter.params)


def test_nothing_comes_back_with_an_exception():
    kept = []

    def fail(net, history):
        kept.append(net.params.copy())
        if len(kept) == 9:
            raise RuntimeError

    net = make()
    with pytest.raises(RuntimeError) as caught:
        net.fit(X, Y, epochs=50, early_stopping=30, validation_data=VALID, callbacks=[spoiled(6), fail])
    history = caught.value.history
    assert history.best_epoch < 8
    np.testing.assert_array_equal(net.params, kept[-1])
    assert history.state.epoch == 9


def follow(values, **rule):
    """The epochs that a monitored metric of these values lets happen, the best one, and whether it ended the fit."""
    left = iter(values)

    def some_score(y, x):
        return next(left)

    def some_loss(y, x):
        return next(left)

    metric = some_score if rule["monitor"].endswith("_score") else some_loss
    history = make().fit(X, Y, epochs=len(values), metrics=[metric], early_stopping=fb.EarlyStopping(**rule))
    return len(history.loss), history.best_epoch, history.stop_reason == "early_stopping"


@pytest.mark.parametrize(
    "values, rule, expected",
    [
        ([1, 2, 3, 2, 3, 2, 9], {"patience": 3}, (6, 2, True)),
        ([1, 2, 3, 2, 3, 4, 3], {"patience": 3}, (7, 5, False)),
        ([1, 2, 3, 4], {"patience": 1}, (4, 3, False)),
        ([1, 1, 5], {"patience": 1}, (2, 0, True)),
        ([1, 1.4, 1.6, 1.5, 2.0], {"patience": 2, "min_delta": 0.5}, (5, 2, True)),
        ([math.nan, math.nan, 1, math.nan, 0, 3], {"patience": 3}, (6, 5, False)),
        ([math.nan] * 5, {"patience": 3}, (3, None, True)),
        ([-math.inf, 1, math.inf, 5], {"patience": 3}, (4, 2, False)),
    ],
)
def test_patience(values, rule, expected):
    assert follow(values, monitor="some_score", **rule) == expected
    assert follow([-v for v in values], monitor="some_loss", **rule) == expected


def test_monitors():
    classes = (X[:, 0] > 0).astype(int)
    valid = (VALID[0], (VALID[0][:, 0] > 0).astype(int))
    for monitor, best in (("val_accuracy", np.argmax), ("accuracy", np.argmax), ("loss", np.argmin)):
        net = make((3, 8, 2), loss="cross_entropy")
        rule = fb.EarlyStopping(patience=50, monitor=monitor)
        h = net.fit(
            X, classes, epochs=12, seed=3, optimizer=fb.Adam(0.02), metrics=["accuracy"], validation_data=valid,
            early_stopping=rule, callbacks=[spoiled(8)],
        )  # fmt: skip
        values = {"val_accuracy": h.val_metrics["accuracy"], "accuracy": h.metrics["accuracy"], "loss": h.loss}[monitor]
        assert h.best_epoch == best(values)
        assert len(set(values)) > 1
    assert make().fit(X, Y, epochs=0, early_stopping=2, validation_data=VALID).best_epoch is None
    assert make().fit(X, Y, epochs=2).best_epoch is None


def test_a_time_limit(monkeypatch):
    now = [0.0]

    def pass_a_second(net, history):
        now[0] += 1

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        history = make().fit(X, Y, epochs=10**9, time_limit=4.5, callbacks=[pass_a_second])
    assert history.stop_reason == "time_limit"
    assert len(history.loss) == history.state.epoch == 5  # the epoch in which the time ends is the last
    assert len(make().fit(X, Y, epochs=5, time_limit=0).loss) == 1
    assert make().fit(X, Y, epochs=5, time_limit=1e9).stop_reason == "epochs"


def test_stopping_where_the_loss_is_not_finite():
    x = X.copy()
    x[17, 1] = np.nan
    net, before = make(), make()
    history = net.fit(x, Y, epochs=3, batch_size=8, shuffle=False, on_nonfinite="stop", optimizer=fb.SGD(0.1))
    before.fit(X[:16], Y[:16], epochs=1, batch_size=8, shuffle=False, optimizer=fb.SGD(0.1))
    assert (history.stop_reason, history.loss, history.state.step, history.state.epoch) == ("nonfinite", [], 2, 0)
    np.testing.assert_array_equal(net.params, before.params)

    def fail(net, history):
        raise FloatingPointError("mine")

    with pytest.raises(FloatingPointError, match="mine"):  # only the core's is about the loss
        make().fit(X, Y, epochs=1, on_nonfinite="stop", callbacks=[fail])


def decay(net, history):
    net.params *= 0.99


RESUMES = {
    "plain": {},
    "schedule": {"schedule": fb.schedules.warmup(2, then=fb.schedules.cosine(5, final=0.1))},
    "callback": {"callbacks": [decay]},
    "metrics": {"metrics": ["r2"], "validation_data": VALID},
    "ordered": {"shuffle": False, "drop_last": True, "schedule": fb.schedules.step(1, 0.5)},
    "patient": {"early_stopping": fb.EarlyStopping(100, monitor="loss"), "schedule": fb.schedules.cosine(9)},
}


@pytest.mark.parametrize("name", RESUMES)
@pytest.mark.parametrize("chunks", ["arrays", "list", "function"])
@pytest.mark.parametrize("optimizer", [fb.SGD(0.05, momentum=0.9), fb.Adam(0.02)], ids=["sgd", "adam"])
def test_going_on_equals_one_fit(name, chunks, optimizer):
    pieces = [(X[k : k + 15], Y[k : k + 15], C[k : k + 15]) for k in range(0, N, 15)]
    data = {"arrays": (X, Y, C), "list": (pieces,), "function": (lambda: iter(pieces),)}[chunks]
    options = {"batch_size": 4, **RESUMES[name]}
    whole, parts = make(dtype="float32", l2=0.01), make(dtype="float32", l2=0.01)
    long = whole.fit(*data, optimizer=optimizer, epochs=6, seed=2, **options)
    first = parts.fit(*data, optimizer=optimizer, epochs=2, seed=2, **options)
    state = pickle.loads(pickle.dumps(first.state))
    second = parts.fit(*data, state=state, epochs=4, **options)
    assert first.loss + second.loss == long.loss
    assert first.lr + second.lr == long.lr
    assert long.best_epoch in (None, 5)  # an earlier one would have come back
    np.testing.assert_array_equal(parts.params, whole.params)
    same(state, long.state)


STOP, VALUE, TYPE = fb.EarlyStopping, ValueError, TypeError
REFUSED = [
    ({"metrics": "r2"}, TYPE, r"metrics is 'r2', expected a sequence such as"),
    ({"metrics": ["accurac"]}, VALUE, "metrics is 'accurac', expected one of accuracy, r2; did you mean 'accuracy'"),
    ({"metrics": ["accuracy"]}, VALUE, "metrics has 'accuracy', but outputs are identity, expected softmax or"),
    ({"metrics": [mae, mae]}, VALUE, "metrics has another 'mae', expected names that differ"),
    ({"metrics": [3]}, VALUE, "metrics is 3, expected one of"),
    ({"early_stopping": 0}, VALUE, "early_stopping is 0, expected at least 1"),
    ({"early_stopping": True}, TYPE, r"early_stopping is True, expected a number of epochs or fb\.EarlyStopping"),
    ({"early_stopping": 3}, VALUE, "early_stopping monitors 'val_loss', .* loss; validation_data is missing"),
    ({"early_stopping": STOP(monitor="r2")}, VALUE, "early_stopping monitors 'r2', expected one of loss"),
    ({"early_stopping": STOP(monitor="mae"), "metrics": [mae]}, VALUE, "early_stopping monitors 'mae', .*in _score"),
    ({"schedule": 3}, TYPE, r"schedule is 3, expected a function f\(epochs done\)"),
    ({"schedule": lambda t: -1}, VALUE, r"schedule\(1\) is -1, expected a finite number >= 0"),
    ({"time_limit": -1}, VALUE, "time_limit is -1, expected a finite number >= 0"),
    ({"time_limit": "1"}, TYPE, "time_limit is '1', expected a finite number"),
    ({"on_nonfinite": "ignore"}, VALUE, "on_nonfinite is 'ignore', expected one of raise, stop"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_what_is_refused_changes_nothing(options, error, text):
    net = make()
    state = net.fit(X, Y, epochs=1, batch_size=8, seed=0).state
    before = net.params.copy(), copy.deepcopy(state)
    with pytest.raises(error, match=r"^\[fit\] " + text):
        net.fit(X, Y, state=state, epochs=2, batch_size=8, **options)
    np.testing.assert_array_equal(net.params, before[0])
    same(state, before[1])


def test_recipes_that_are_refused():
    for make_it, text in {
        (lambda: STOP(patience=0)): r"^\[EarlyStopping\] patience is 0",
        (lambda: STOP(min_delta=-1)): r"^\[EarlyStopping\] min_delta is -1",
        (lambda: STOP(monitor=None)): r"^\[EarlyStopping\] monitor is None",
        (lambda: fb.schedules.step(0)): r"^\[step\] every is 0, expected a finite number > 0",
        (lambda: fb.schedules.cosine(2, final=math.nan)): r"^\[cosine\] final is nan",
        (lambda: fb.schedules.warmup(2, then=0.5)): r"^\[warmup\] then is 0\.5, expected a function",
    }.items():
        with pytest.raises((ValueError, TypeError), match=text):
            make_it()


@pytest.mark.frameworks
def test_plot(monkeypatch):
    history = make().fit(X, Y, epochs=4, validation_data=VALID, early_stopping=9, callbacks=[spoiled(2)])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r"^\[plot\] needs matplotlib, .*pip install matplotlib"):
            history.plot()
    matplotlib = require("matplotlib")
    matplotlib.use("agg")
    axes = require("matplotlib.pyplot").subplots()[1]
    assert history.plot(axes) is history.plot(ax=axes) is axes
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["val_loss"], np.c_[1:5, history.val_loss])
    np.testing.assert_array_equal(lines["loss"], np.c_[1:5, history.loss])
    assert set(lines["best epoch"][:, 0]) == {history.best_epoch + 1}
    alone = make().fit(X, Y, epochs=2).plot()
    assert [line.get_label() for line in alone.get_lines()] == ["loss"]
    require("matplotlib.pyplot").close("all")

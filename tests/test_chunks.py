"""Training on chunks of rows: what counts as chunks, the same steps as by hand, memory, passes, refusals."""

import math
import weakref

import numpy as np
import pytest

import fastbp as fb
from fastbp import reference as ref

SIZES = (3, 6, 2)
N = 64


def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(N, 3)), rng.normal(size=(N, 2)), rng.uniform(0.5, 2.0, size=N)


X, Y, C = data()
OPTIMIZERS = {"sgd": fb.SGD(0.1), "momentum": fb.SGD(0.05, momentum=0.9), "adam": fb.Adam(0.02)}


def make(sizes=SIZES, **options):
    return fb.MLP(sizes, **{"loss": "squared_error", "activation": "tanh", "seed": 0, "dtype": "float64", **options})


def cut(*arrays, at):
    """The arrays as tuples of rows between the marks."""
    return [tuple(a[i:j] for a in arrays) for i, j in zip([0, *at], [*at, len(arrays[0])], strict=True)]


class Again:
    """An iterable that starts over."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __iter__(self):
        yield from self.chunks


FORMS = {
    "list": lambda chunks: chunks,
    "tuple": tuple,
    "nested lists": lambda chunks: [tuple(a.tolist() for a in chunk) for chunk in chunks],
    "function": lambda chunks: lambda: chunks,
    "generator": lambda chunks: lambda: (chunk for chunk in chunks),
    "lists of arrays": lambda chunks: lambda: map(list, chunks),
    "iterable": Again,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("form", FORMS)
def test_chunks_of_whole_batches_equal_arrays(form, optimizer):
    for columns in ((X, Y), (X, Y, C)):
        chunks = FORMS[form](cut(*columns, at=(16, 24, 48)))
        options = {
            "optimizer": OPTIMIZERS[optimizer], "epochs": 3, "batch_size": 8, "shuffle": False, "seed": 0,
            "schedule": fb.schedules.cosine(4), "metrics": ["r2"],
        }  # fmt: skip
        one, other = make(l2=0.01), make(l2=0.01)
        whole, parts = one.fit(*columns, **options), other.fit(chunks, **options)
        np.testing.assert_array_equal(one.params, other.params)
        np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-14)
        np.testing.assert_allclose(whole.metrics["r2"], parts.metrics["r2"], rtol=1e-12)
        assert whole.lr == parts.lr
        assert (parts.state.step, parts.state.epoch) == (24, 3)
        for a, b in zip(whole.state.moments, parts.state.moments, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(np.multiply(parts.seconds, parts.rows_per_second), [N] * 3)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [7, 30, None])
def test_every_step_equals_the_reference(batch_size, shuffle, drop_last):
    net, optimizer, seed, steps = make(), fb.Adam(0.02), 11, 0
    params, memory, losses = net.params.copy(), {}, []
    w, b = ref.views(params, SIZES)
    chunks = cut(X, Y, C, at=(20, 49))
    for epoch in range(3):
        total, weight = 0.0, 0.0
        for number, (x, y, c) in enumerate(chunks):
            seeds = [seed, epoch, number] if number else [seed, epoch]
            order = np.random.default_rng(seeds).permutation(len(x)) if shuffle else np.arange(len(x))
            size = batch_size or len(x)
            if drop_last:
                order = order[: len(x) // size * size]
            if len(order):
                step = lambda p, g: ref.adam_step(p, g, memory, lr=0.02)  # noqa: E731
                found = ref.train(w, b, x, y, net.activations, net.loss, [order], step, size, sample_weight=c)[0]
                total, weight, steps = total + found * c[order].sum(), weight + c[order].sum(), steps + 1
        losses.append(total / weight if weight else math.nan)
    options = {"optimizer": optimizer, "epochs": 3, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
    if steps == 0:
        with pytest.raises(ValueError, match="drop_last=True leaves no mini-batch"):
            net.fit(lambda: iter(chunks), drop_last=drop_last, **options)
        return
    history = net.fit(lambda: iter(chunks), drop_last=drop_last, **options)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    np.testing.assert_allclose(net.params, params, rtol=0, atol=1e-12)
    assert history.state.step > 0


def test_memory_mapped_files(tmp_path):
    mapped = []
    for name, array in (("x", X.astype("f4")), ("y", Y), ("c", C)):
        np.save(tmp_path / name, array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))

    def chunks():
        for begin in range(0, N, 16):
            yield tuple(array[begin : begin + 16] for array in mapped)

    one, other = make(), make()
    options = {"epochs": 3, "batch_size": 16, "shuffle": False, "metrics": ["r2"]}
    one.fit(X.astype("f4"), Y, C, **options)
    history = other.fit(chunks, **options)
    np.testing.assert_array_equal(one.params, other.params)
    assert isinstance(next(chunks())[0], np.memmap)
    assert history.state.step == 12


class Counted(np.ndarray):
    """An array that weak references can follow."""


class OneAtATime:
    """Chunks that look, as each is asked for, whether those before it are still held."""

    def __init__(self, number):
        self.number, self.passes, self.alive = number, 0, []

    def __iter__(self):
        self.passes += 1
        return OnePass(self)


class OnePass:
    def __init__(self, source):
        self.source, self.given = source, []

    def __iter__(self):
        return self

    def __next__(self):
        self.source.alive.append(sum(reference() is not None for reference in self.given))
        if len(self.given) == self.source.number:
            raise StopIteration
        x, y = X[:8].copy().view(Counted), Y[:8].copy()
        self.given.append(weakref.ref(x))
        return x, y


@pytest.mark.parametrize(
    "options, passes",
    [
        ({}, 3),  # the look at the first chunk is the beginning of the first pass
        ({"metrics": ["r2"]}, 6),
        ({"schedule": fb.schedules.constant()}, 4),
        ({"schedule": fb.schedules.constant(), "metrics": ["r2"], "early_stopping": fb.EarlyStopping(9, 0, "r2")}, 7),
        ({"epochs": 0}, 1),
    ],
)
def test_one_chunk_is_held_at_a_time(options, passes):
    source = OneAtATime(5)
    make().fit(source, **{"epochs": 3, "batch_size": 4, **options})
    assert source.passes == passes
    assert set(source.alive) == {0}
    assert len(source.alive) == (1 if passes == 1 else 6 * passes)


def test_metrics_over_chunks_that_share_memory():
    classes = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    x, y = np.empty((20, 3)), np.empty(20, int)

    def chunks():
        for begin in range(0, N, 20):
            rows = slice(begin, min(begin + 20, N))
            n = rows.stop - begin
            x[:n], y[:n] = X[rows], classes[rows]
            yield x[:n], y[:n]

    def mean_score(y, x):
        return (x[np.arange(len(y)), y]).mean()

    net = make((3, 8, 3), loss="cross_entropy")
    history = net.fit(chunks, epochs=4, optimizer=fb.Adam(0.05), metrics=["accuracy", mean_score])
    out = net.forward(X)
    assert 0.4 < history.metrics["accuracy"][-1] == (out.argmax(axis=1) == classes).mean()
    np.testing.assert_allclose(history.metrics["mean_score"][-1], mean_score(classes, out), rtol=1e-13)


def test_r2_of_chunks_is_exact_far_from_zero():
    y = 1e6 + Y[:, :1]
    net = make((3, 1))
    net.biases[0][:] = 1e6
    one = net.fit(X, y, epochs=1, optimizer=fb.SGD(0.0), metrics=["r2"])
    parts = net.fit(cut(X, y, at=(1, 30)), epochs=1, optimizer=fb.SGD(0.0), metrics=["r2"])
    error, spread = ((y - net.forward(X)) ** 2).sum(), ((Y[:, :1] - Y[:, :1].mean()) ** 2).sum()
    np.testing.assert_allclose([one.metrics["r2"][0], parts.metrics["r2"][0]], 1 - error / spread, rtol=1e-7)


def test_chunks_that_weigh_nothing_make_no_step():
    c = C.copy()
    c[16:32] = 0
    for form in ("list", "function"):
        one, other = make(l2=0.1), make(l2=0.1)
        options = {"epochs": 2, "batch_size": 8, "shuffle": False, "schedule": fb.schedules.cosine(3)}
        whole = one.fit(X, Y, c, **options)
        parts = other.fit(FORMS[form](cut(X, Y, c, at=(16, 32))), **options)
        np.testing.assert_array_equal(one.params, other.params)
        assert parts.state.step == whole.state.step == 12
        np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-14)


def test_a_loss_function_over_chunks():
    def loss(y, x):
        return 0.5 * ((x - y) ** 2).sum(axis=1), x - y

    one, other = make(), make(loss=loss)
    for net in (one, other):
        net.fit(cut(X, Y, at=(30,)), epochs=2, batch_size=8, seed=0)
    np.testing.assert_allclose(one.params, other.params, rtol=0, atol=1e-14)


def test_a_bad_chunk_that_comes_later():
    good, bad = cut(X, Y, at=(16, 32)), (X[:8], Y[:7])
    for late, done in (([*good[:2], bad], 4), ([*good[:2], (X[:8],)], 4)):
        net, before = make(), make()
        with pytest.raises((ValueError, TypeError), match=r"^\[fit.* ?chunk 2") as caught:
            net.fit(lambda late=late: iter(late), epochs=3, batch_size=8, shuffle=False)
        before.fit(good[:2], epochs=1, batch_size=8, shuffle=False)
        np.testing.assert_array_equal(net.params, before.params)
        assert (caught.value.history.state.step, caught.value.history.state.epoch) == (done, 0)
    net, state = make(), None
    for schedule, chunks in ((None, [*good, bad]), (fb.schedules.constant(), lambda: [*good, bad])):
        state = fb.Adam().init(net.params)
        with pytest.raises(ValueError, match=r"^\[fit: chunk 3\] y has 7 rows, X has 8"):
            net.fit(chunks, state=state, schedule=schedule)
        np.testing.assert_array_equal(net.params, make().params)
        assert (state.step, state.epoch) == (0, 0)


def test_not_finite_in_a_later_chunk():
    x = X.copy()
    x[41] = np.nan
    net, before = make(), make()
    history = net.fit(cut(x, Y, at=(32,)), epochs=3, batch_size=8, shuffle=False, on_nonfinite="stop")
    before.fit(X[:40], Y[:40], epochs=1, batch_size=8, shuffle=False)
    assert (history.stop_reason, history.state.step, history.state.epoch) == ("nonfinite", 5, 0)
    np.testing.assert_array_equal(net.params, before.params)

    def chunks():
        yield X, Y
        raise FloatingPointError("mine")

    with pytest.raises(FloatingPointError, match="mine"):  # only the core's is about the loss
        make().fit(chunks, on_nonfinite="stop")


ONCE = iter(cut(X, Y, at=(16,)))
VALUE, TYPE = ValueError, TypeError
REFUSED = {
    "generator": (
        (chunk for chunk in cut(X, Y, at=(16,))),
        {},
        TYPE,
        "X is a generator, .*pass the generator function",
    ),
    "map": (map(tuple, cut(X, Y, at=(16,))), {}, TYPE, "X is a map, which gives its chunks once; expected a function"),
    "iterator": (ONCE, {}, TYPE, "X is a list_iterator, which gives"),
    "y beside": (lambda: [(X, Y)], {"y": Y}, VALUE, "y is given beside chunks, expected None"),
    "weights beside": ([(X, Y)], {"sample_weight": C}, VALUE, "sample_weight is given beside chunks, expected None"),
    "no iterable": (lambda: None, {}, TYPE, r"X\(\) gave NoneType, expected an iterable of chunks"),
    "nothing": (lambda: [], {}, VALUE, "X gave no chunks, expected at least one"),
    "array": (lambda: [X], {}, TYPE, r"chunk 0 of X is ndarray, expected a tuple \(X, y\) or"),
    "four": (lambda: [(X, Y, C, C)], {}, TYPE, "chunk 0 of X is tuple, expected a tuple"),
    "numbers": (lambda: [(1.0, 2.0)], {}, TYPE, "chunk 0 of X is tuple, expected a tuple"),
    "mixed": ([(X, Y), X], {}, TYPE, "chunk 1 of X is ndarray, expected a tuple"),
    "set": ({1, 2}, {}, TYPE, "chunk 0 of X is int, expected"),
    "weigh nothing": ([(X, Y, 0 * C)], {}, VALUE, "sample_weight is 0 in every chunk, expected at least one row"),
    "no y": (X, {}, VALUE, "y is missing: the loss needs a target"),
    "rows of two": ([(1.0, 2.0, 3.0), (3.0, 4.0, 5.0)], {}, VALUE, "y is missing"),
    "no rows": ([], {}, VALUE, r"X has "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(case):
    x, options, error, text = REFUSED[case]
    net = make()
    state = fb.Adam().init(net.params)
    with pytest.raises(error, match=r"^\[fit\] " + text):
        net.fit(x, state=state, **options)
    np.testing.assert_array_equal(net.params, make().params)
    assert (state.step, state.epoch) == (0, 0)
    assert len(list(ONCE)) == 2 if case == "iterator" else True  # nothing was taken from it


@pytest.mark.parametrize(
    "chunk, text",
    [
        ((X[:, :2], Y), r"^\[fit: chunk 1\] X has 2 columns"),
        ((X, Y[:9]), r"^\[fit: chunk 1\] y has 9 rows"),
        ((X[:0], Y[:0]), r"^\[fit: chunk 1\] X has 0 rows"),
        ((X, Y, -C), r"^\[fit: chunk 1\] sample_weight\[0\] is -"),
        ((X, Y, 0 * C[:9]), r"^\[fit: chunk 1\] sample_weight has 9 rows"),
    ],
)
def test_a_list_is_checked_as_a_whole(chunk, text):
    net = make()
    with pytest.raises(ValueError, match=text):
        net.fit([(X, Y), chunk])
    np.testing.assert_array_equal(net.params, make().params)


def test_an_iterator_that_a_function_gives_twice():
    once = iter(cut(X, Y, at=(16,)))
    with pytest.raises(ValueError, match=r"^\[fit\] X gave no chunks when asked again, .*fresh pass") as caught:
        make().fit(lambda: once, epochs=3)
    assert len(caught.value.history.loss) == 1


def test_lists_of_numbers_are_data():
    rows = [tuple(row) for row in X[:, :2].tolist()]
    one, other = make((2, 1)), make((2, 1))
    one.fit(rows, Y[:, 0].tolist(), epochs=2, seed=0)
    other.fit(X[:, :2], Y[:, 0], epochs=2, seed=0)
    np.testing.assert_array_equal(one.params, other.params)

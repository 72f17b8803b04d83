"""fb.save and fb.load: every net and every state comes back to the bit, and goes on as if nothing had been."""

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import fastbp as fb
from fastbp._functions import HIDDEN_ACTIVATIONS

X = np.random.default_rng(0).normal(size=(24, 3))


def bits(array):
    return array.view(f"u{array.itemsize}")


def through_file(path, net, state=None):
    fb.save(net, path, state=state)
    return fb.load(path) if state is None else fb.load(path, with_state=True)


def same(a, b):
    """Whether two nets are equal in all that they were made of."""
    np.testing.assert_array_equal(bits(a.params), bits(b.params))
    assert type(b) is fb.MLP
    assert repr(a) == repr(b)
    assert (a.layer_sizes, a.activations, a.dtype, a.loss) == (b.layer_sizes, b.activations, b.dtype, b.loss)
    np.testing.assert_array_equal(bits(a.forward(X)), bits(b.forward(X)))


def same_state(a, b):
    assert (a.step, a.epoch, a.seed, a.optimizer) == (b.step, b.epoch, b.seed, b.optimizer)
    for mine, other in zip(a.moments, b.moments, strict=True):
        np.testing.assert_array_equal(bits(mine), bits(other))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("g", [*HIDDEN_ACTIVATIONS, ("leaky_relu", 0.3), ("elu", 0.7)], ids=str)
def test_every_activation(path, g, dtype):
    net = fb.MLP((3, 4, 2), activation=g, output_activation=g, dtype=dtype, seed=0)
    same(net, through_file(path, net))


LOSSES = [
    None, "squared_error", "cross_entropy", "poisson", "huber", "absolute_error", "pinball", fb.Huber(0.3),
    fb.Pinball(0.1), fb.Pinball((0.1, 0.9)),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_every_loss(path, loss, rng):
    net = fb.MLP((3, 4, 2), loss=loss, seed=0)
    again = through_file(path, net)
    same(net, again)
    if loss is not None:
        y = rng.dirichlet((1, 1), len(X))
        assert net.value(X, y) == again.value(X, y)


@pytest.mark.parametrize("outputs, loss", [(1, "cross_entropy"), (2, "cross_entropy"), (2, None)])
def test_output_activations(path, outputs, loss):
    for g in ("auto", "logistic", *(("softmax",) if outputs > 1 else ())):
        net = fb.MLP((3, outputs), loss=loss, output_activation=g, seed=0)
        same(net, through_file(path, net))


def test_options(path, rng):
    """Each of them changes what a fit does, and the nets stay equal in it."""
    activation = ("tanh", ("elu", 0.5))
    options = {"l2": 0.1, "l1": 0.01, "dropout": (0.5, 0.2), "activation": activation, "deterministic": True}
    y = rng.normal(size=(24, 2))
    results = []
    for left_out in ("nothing", "l2", "l1", "dropout"):
        used = {name: value for name, value in options.items() if name != left_out}
        net = fb.MLP((3, 8, 8, 2), loss="squared_error", seed=0, dtype="float64", **used)
        again = through_file(path, net)
        assert again.__getstate__()["recipe"]["deterministic"] is True
        for one in (net, again):
            one.fit(X, y, epochs=3, batch_size=5, seed=0)
        same(net, again)
        results.append(net.params[0])
    assert len(set(results)) == 4


def test_numbers_of_every_kind(path):
    """What a caller may have written in place of floats."""
    loss = fb.Pinball(np.array([0.25, 0.75], np.float32))
    options = {"activation": ("elu", Fraction(1, 2)), "l2": np.float32(0.1), "dropout": np.array([0.5])}
    net = fb.MLP((3, 4, 2), loss=loss, deterministic=np.True_, **options)
    optimizer = fb.SGD(lr=np.float32(0.1), momentum=np.int64(1), weight_decay=1, nesterov=np.True_)
    again, state = through_file(path, net, optimizer.init(net.params, seed=np.int64(3)))
    assert again.loss == fb.Pinball((0.25, 0.75))
    assert again.activations == net.activations
    assert state.optimizer == optimizer
    assert type(state.optimizer.nesterov) is bool
    assert fb.load(path).value(X, np.zeros((24, 2))) == net.value(X, np.zeros((24, 2)))
    wide = fb.MLP((3, 2), loss=fb.Huber(Fraction(1, 3)))
    assert through_file(path, wide).loss == fb.Huber(1 / 3)


def test_every_bit_of_special_values(path, rng):
    net = fb.MLP((2, 3, 1))
    bits(net.params)[...] = rng.integers(0, 2**32, net.params.size, dtype=np.uint32)
    net.params[:6] = [np.inf, -np.inf, np.nan, -0.0, 1e-45, -np.nan]
    bits(net.params)[6] = 0x7FA00001  # a signalling NaN with a payload
    again = through_file(path, net)
    np.testing.assert_array_equal(bits(net.params), bits(again.params))


RECIPES = [
    fb.SGD(0.05), fb.SGD(0.05, momentum=0.9, weight_decay=0.1, nesterov=True), fb.AdamW(0.02),
    fb.Adam(0.02, betas=(0.8, 0.95), eps=1e-6), fb.RMSprop(0.01, centered=True, momentum=0.5),
    fb.Adagrad(0.1, initial_accumulator_value=0.5), fb.Rprop(0.01, step_sizes=(0.0, np.inf)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_training_goes_on_bit_for_bit(path, optimizer, dtype, rng):
    """Row orders, dropout and schedule included."""
    y = rng.normal(size=(24, 2))
    options = {"batch_size": 7, "schedule": fb.schedules.cosine(10)}

    def net():
        return fb.MLP((3, 6, 2), loss="squared_error", activation="tanh", dropout=0.3, seed=0, dtype=dtype)

    straight, stopped = net(), net()
    whole = straight.fit(X, y, optimizer=optimizer, seed=5, epochs=10, **options)
    half = stopped.fit(X, y, optimizer=optimizer, seed=5, epochs=5, **options)
    again, state = through_file(path, stopped, half.state)
    same_state(half.state, state)
    rest = again.fit(X, y, state=state, epochs=5, **options)
    same(straight, again)
    same_state(whole.state, rest.state)
    assert half.loss + rest.loss == whole.loss


def test_a_loaded_net_is_its_own(path):
    net = fb.MLP((3, 4, 2), seed=0)
    again, state = through_file(path, net, fb.Adam().init(net.params))
    for array in (again.params, *state.moments):
        assert array.flags.writeable
        array += 1
    same(net, fb.load(path))


def test_the_same_net_makes_the_same_bytes(path):
    """A file may be compared and cached by its contents."""
    net = fb.MLP((3, 4, 2), loss=fb.Huber(2.0), seed=0)
    state = fb.Adam().init(net.params, seed=0)
    found = set()
    for _ in range(20):
        fb.save(net, path, state=state)
        found.add(path.read_bytes())
    fb.save(*fb.load(path, with_state=True)[:1], path, state=state)
    assert found == {path.read_bytes()}


def test_any_reader_of_safetensors_finds_the_tensors(path):
    net = fb.MLP((3, 4, 2), seed=0)
    state = fb.Adam().init(net.params)
    state.update(net.params, np.ones(26))
    fb.save(net, path, state=state)
    with safe_open(path, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    expected = {f"moments.{j}": moment for j, moment in enumerate(state.moments)}
    for k in range(2):
        expected.update({f"weights.{k}": net.weights[k], f"biases.{k}": net.biases[k]})
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_paths(path, monkeypatch):
    net = fb.MLP((2, 1), seed=0)
    monkeypatch.chdir(path.parent)
    for given in (path, str(path), "net", Path("net"), "a name.with ünusual=letters", "n" * 255):
        np.testing.assert_array_equal(through_file(given, net).params, net.params)
    for given in (3, None, b"net"):
        with pytest.raises(TypeError, match=r"\[save\] path is .*, expected a str or a path"):
            fb.save(net, given)
        with pytest.raises(TypeError, match=r"\[load\] path is .*, expected a str or a path"):
            fb.load(given)
    with pytest.raises(FileNotFoundError):
        fb.load("nowhere")


def own_loss(y, x):
    return ((x - y) ** 2).sum(axis=1) / 2, x - y


class Momentum(fb.SGD):
    pass


def refused_saves():
    net = fb.MLP((3, 4, 2), seed=0)
    other = fb.Adam().init(np.zeros(5, np.float32))
    wide = fb.Adam().init(net.params.astype(np.float64))
    late, few = fb.Adam().init(net.params), fb.Adam().init(net.params)
    late.epoch = 1.5
    few.moments = few.moments[:1]
    own = Momentum().init(net.params)
    expected = r"\[save\] the net's loss is <function own_loss.*, expected a name.* made with loss=None"
    yield fb.MLP((3, 2), loss=own_loss), None, ValueError, expected
    yield "net", None, TypeError, r"\[save\] net is str, expected an fb.MLP"
    yield net, {}, TypeError, r"\[save\] state is dict, expected a TrainState"
    yield net, other, ValueError, r"\[save\] state was made for float32\(5,\), the net has float32\(26,\)"
    yield net, wide, ValueError, r"\[save\] state was made for float64\(26,\), the net has float32\(26,\)"
    yield net, late, TypeError, r"\[save\] state.epoch is 1.5, expected an integer"
    yield net, few, ValueError, r"\[save\] state.moments has 1 arrays"
    yield net, own, ValueError, r"\[save\] state.optimizer is Momentum\(.*, expected one of fastbp's own recipes"


@pytest.mark.parametrize("net, state, error, says", list(refused_saves()))
def test_a_save_that_is_refused_changes_nothing(path, net, state, error, says):
    path.write_bytes(b"old")
    with pytest.raises(error, match=says):
        fb.save(net, path, state=state)
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_a_net_whose_loss_is_a_function_is_saved_without(path):
    """What the message says to do."""
    net = fb.MLP((3, 4, 2), loss=own_loss, seed=0)
    y = np.zeros((24, 2))
    history = net.fit(X, y, epochs=2, seed=0)
    plain = fb.MLP(net.layer_sizes)
    plain.params = net.params
    again, state = through_file(path, plain, history.state)
    assert again.loss is None
    with_loss = fb.MLP(again.layer_sizes, loss=own_loss)
    with_loss.params = again.params
    assert net.fit(X, y, state=history.state).loss == with_loss.fit(X, y, state=state).loss


def test_a_frozen_net_is_saved(path):
    net = fb.MLP((3, 4, 2), seed=0)
    state = fb.Adam().init(net.params, seed=0)
    net.params.flags.writeable = False
    same(net, through_file(path, net, state)[0])


def test_a_net_that_another_thread_trains(path):
    """The file is whole, with numbers from before and after."""
    net = fb.MLP((200, 200, 200), init="zeros")
    stop = threading.Event()

    def write():
        while not stop.is_set():
            net.params += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(20):
            through_file(path, net)
    finally:
        stop.set()
        thread.join()
    assert net.params[0] > 0


def test_a_file_without_a_state(path):
    fb.save(fb.MLP((3, 4, 2)), path)
    with pytest.raises(ValueError, match=r"\[load\] '.*net.safetensors' holds no state: it was saved without"):
        fb.load(path, with_state=True)


def test_only_regular_files_are_read():
    for path in ("/dev/zero", "/"):
        with pytest.raises(ValueError, match=r"\[load\] .* is no regular file"):
            fb.load(path)

"""Attributes that users and subclasses set on nets and on what surrounds them: every copy keeps them."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastbp as fb

COPIES = {
    "pickle": lambda given: pickle.loads(pickle.dumps(given)),
    "old protocol": lambda given: pickle.loads(pickle.dumps(given, protocol=1)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "to": lambda given: given.to("cpu"),
}
X = np.random.default_rng(0).normal(size=(6, 2))


class Scaled(fb.MLP):
    """A subclass with fields, of which a method makes use, and a slot."""

    __slots__ = ("unit",)

    def __init__(self, *sizes, scale, **options):
        super().__init__(*sizes, **options)
        self.scale, self.unit = scale, ["m"]

    def forward(self, X, **options):
        return self.scale * super().forward(X, **options)


def scaled():
    return Scaled((2, 3, 1), loss="squared_error", seed=0, scale=2.5)


@pytest.mark.parametrize("way", COPIES)
def test_copies_keep_attributes(way):
    net = scaled()
    net.note = {"trained": "on Monday"}
    again = COPIES[way](net)
    assert (type(again), again.scale, again.unit, again.note) == (Scaled, 2.5, ["m"], {"trained": "on Monday"})
    np.testing.assert_array_equal(again.forward(X), net.forward(X))
    shares = way in ("copy", "to")
    assert (again.note is net.note, again.unit is net.unit) == (shares, shares)
    again.params[:] = 0
    assert np.any(net.params)


def test_a_deep_copy_refers_to_its_own_parts():
    net = scaled()
    net.head, net.everything, net.layers, net.me = net.weights[-1], net.params, net.weights, net
    again = copy.deepcopy(net)
    assert again.me is again
    assert again.layers is again.weights
    again.head[:] = 7
    assert (again.weights[-1] == 7).all()
    again.everything[:] = 8
    assert (again.params == 8).all()
    assert not np.isin(net.params, (7, 8)).any()
    holder = copy.deepcopy({"net": net, "again": net})
    assert holder["net"] is holder["again"]


@pytest.mark.parametrize("way", COPIES)
def test_an_attribute_that_is_a_part_of_the_net_is_that_of_the_copy(way):
    """A subclass may name a layer: writing through that name changes its own net, and no other."""
    net = scaled()
    net.head, net.everything, net.layers = net.weights[-1], net.params, net.weights
    before = net.params.copy()
    again = COPIES[way](net)
    assert again.layers is again.weights
    again.head[:] = 7
    assert (again.weights[-1] == 7).all()
    again.everything[:] = 8
    assert (again.params == 8).all()
    np.testing.assert_array_equal(net.params, before)


def test_an_attribute_that_leads_back_to_the_net_is_pickled():
    net = scaled()
    net.me = net
    again = pickle.loads(pickle.dumps(net))
    assert again.me is again


def test_pickles_without_attributes_are_read():
    net = fb.MLP((2, 1), seed=0)
    state = net.__getstate__()
    del state["attributes"]
    again = fb.MLP.__new__(fb.MLP)
    again.__setstate__(state)
    np.testing.assert_array_equal(again.params, net.params)


def test_methods_on_copies_have_the_attributes():
    """In float64, for objectives and checks of gradients, and with another loss."""
    net, y = scaled(), X[:, :1]
    objective = net.objective(X, y)
    assert objective.fun(objective.x0) == pytest.approx(net.value(X, y), rel=1e-5)
    assert fb.testing.check_gradient(net, X, y) < 1e-6
    assert objective._net.scale == 2.5
    assert net._sharing(l2=1.0).scale == 2.5


@pytest.mark.parametrize("way", COPIES)
def test_states_keep_attributes(way):
    state = fb.Adam().init(np.zeros(3), seed=0)
    state.note = "on Monday"
    assert COPIES[way](state).note == "on Monday"


@pytest.mark.parametrize("way", [way for way in COPIES if way != "to"])
def test_histories_objectives_and_checkpoints_keep_attributes(way, tmp_path):
    net = fb.MLP((2, 1), loss="squared_error", seed=0)
    history = net.fit(X, X[:, 0], epochs=2)
    for given in (history, net.objective(X, X[:, 0]), fb.Checkpoint(tmp_path)):
        given.note = "on Monday"
        assert COPIES[way](given).note == "on Monday"


@pytest.mark.parametrize(
    "given", [fb.Adam(), fb.SGD(), fb.Huber(), fb.Pinball(), fb.EarlyStopping(), fb.schedules.cosine(3)], ids=repr
)
def test_recipes_refuse_attributes(given):
    with pytest.raises(AttributeError):
        given.note = "on Monday"


def test_a_file_says_what_it_does_not_hold(tmp_path):
    net, state = scaled(), fb.Adam().init(scaled().params)
    state.note = "on Monday"
    with pytest.warns(UserWarning, match=r"the attributes scale, unit, state.note") as caught:
        fb.save(net, tmp_path / "net", state=state)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fb.save(fb.load(tmp_path / "net"), tmp_path / "net")


def test_a_checkpoint_from_another_process_counts_its_minutes_anew(tmp_path):
    checkpoint = fb.Checkpoint(tmp_path, minutes=1)
    checkpoint._saved_at += 1e6  # a machine that has run for longer
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again._saved_at < checkpoint._saved_at - 1e5

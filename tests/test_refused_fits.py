"""Calls of fit that can make no step, or whose arguments contradict each other, raise before anything changes."""

import numpy as np
import pytest

import fastbp as fb

N = 29


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 3)), rng.normal(size=(N, 2)), rng.uniform(0.5, 2, N)


X, Y, C = data()


def make():
    return fb.MLP((3, 4, 2), loss="squared_error", dtype="float64", seed=0)


def cut(*arrays, at):
    return list(zip(*(np.split(a, at) for a in arrays), strict=True))


REFUSED_STEPS = {
    "all rows": ((X, Y), {}, rf"^\[fit\] drop_last=True leaves no mini-batch: there are {N} rows .*at most {N}"),
    "chunks": ((cut(X, Y, at=(20,)),), {}, "there are .* rows at a time, .*or use drop_last=False"),
    "stream": ((lambda: iter(cut(X, Y, at=(20,))),), {}, "there are .* rows at a time"),
    "weights of the rows left out": (
        (X, Y, np.r_[np.zeros(N - 1), 1]), {"batch_size": N - 1, "shuffle": False}, "sample_weight is 0 in every row",
    ),
    "a stream without weights": (
        (lambda: iter(cut(X, Y, C * 0, at=(20,))),), {"drop_last": False}, "sample_weight is 0 in every chunk",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_STEPS)
def test_a_fit_that_can_make_no_step_is_refused(case):
    data, options, text = REFUSED_STEPS[case]
    net, state = make(), fb.Adam().init(make().params, seed=3)
    with pytest.raises(ValueError, match=text):
        net.fit(*data, state=state, **{"batch_size": N + 1, "drop_last": True, "epochs": 2, **options})
    np.testing.assert_array_equal(net.params, make().params)
    assert (state.step, state.epoch, np.any(state.moments)) == (0, 0, False)
    assert net.fit(*data, **{"batch_size": N + 1, "drop_last": True, "epochs": 0, **options}).loss == []


def test_some_mini_batches_may_be_left_out():
    history = make().fit(cut(X, Y, at=(9,)), batch_size=10, drop_last=True, epochs=1)
    assert history.state.step == (N - 9) // 10


def test_a_state_has_the_optimizer_and_the_seed():
    net, state = make(), fb.Adam().init(make().params, seed=3)
    for name, value in {"optimizer": fb.SGD(), "seed": 3}.items():
        with pytest.raises(ValueError, match=rf"^\[fit\] {name} is given with state, .* leave out {name} to resume"):
            net.fit(X, Y, state=state, **{name: value})
    assert state.step == 0
    np.testing.assert_array_equal(net.params, make().params)

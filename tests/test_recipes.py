"""Nets, losses and optimisers copy the lists and arrays of their arguments: later changes to these have no effect."""

import copy
import pickle

import numpy as np

import fastbp as fb


def test_a_net_keeps_nothing_of_the_lists_it_was_made_from(tmp_path):
    sizes, dropout, quantiles = [3, 4, 5, 2], np.array([0.1, 0.2]), [0.1, 0.9]
    slope = np.array(0.5)
    activation, X = ["relu", ("elu", slope)], np.linspace(-2, 2, 12).reshape(4, 3)
    net = fb.MLP(
        sizes,
        loss=fb.Pinball(quantiles),
        activation=activation,
        output_activation=("elu", slope),
        dropout=dropout,
        seed=0,
    )
    expected, value = net.forward(X), net.value(X, np.ones((4, 2)))
    step = copy.copy(net).train_step(X, np.ones((4, 2)), fb.SGD().init(net.params, seed=0))
    sizes[1], activation[0], quantiles[0] = 9, "tanh", 0.5
    slope[...], dropout[...] = 0.1, 5
    fb.save(net, tmp_path / "net")
    for same in (
        net,
        copy.copy(net),
        copy.deepcopy(net),
        net.to("cpu"),
        pickle.loads(pickle.dumps(net)),
        fb.load(tmp_path / "net"),
    ):
        np.testing.assert_array_equal(same.forward(X), expected)
        assert same.value(X, np.ones((4, 2))) == value
        assert same.loss == fb.Pinball((0.1, 0.9))
        assert same.activations == [("relu", 0.0), ("elu", 0.5), ("elu", 0.5)]
        assert same.train_step(X, np.ones((4, 2)), fb.SGD().init(net.params, seed=0)) == step


def test_losses_and_optimizers_keep_nothing_of_lists():
    quantile, delta, pair, steps = np.array([0.1, 0.9]), np.array(2.0), [0.5, 0.75], [1e-3, 1.0]
    recipes = [
        (fb.Pinball(quantile), fb.Pinball((0.1, 0.9))), (fb.Huber(delta), fb.Huber(2.0)),
        (fb.Adam(betas=pair), fb.Adam(betas=(0.5, 0.75))), (fb.AdamW(betas=pair), fb.AdamW(betas=(0.5, 0.75))),
        (fb.Rprop(step_sizes=steps), fb.Rprop(step_sizes=(1e-3, 1.0))),
        (fb.EarlyStopping(min_delta=delta), fb.EarlyStopping(min_delta=2.0)),
    ]  # fmt: skip
    quantile[...], delta[...], pair[0], steps[0] = 0.3, 7, 9, 9
    for made, expected in recipes:
        assert made == expected
        assert hash(made) == hash(expected)

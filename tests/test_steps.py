"""What one call of the core tells of its steps, against the same steps by hand."""

import numpy as np
import pytest

import fastbp as fb
from fastbp._chunks import checked
from fastbp._fit import run_steps


@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.9)])
def test_values_of_mini_batches_with_penalties_by_their_weights(optimizer):
    rng = np.random.default_rng(9)
    X, y, c = rng.standard_normal((50, 4)), rng.integers(0, 3, 50), rng.uniform(0.5, 2, 50)
    c[16:32] = 0  # a mini-batch that makes no step
    net = fb.MLP((4, 6, 3), loss="cross_entropy", activation="tanh", seed=0, dtype="float64", l2=0.8, l1=0.1)
    by_hand, state = net.to("cpu"), optimizer.init(net.params)
    values, at = np.full(4, np.nan), optimizer.init(net.params)
    data = checked("test", net, X, y, c)
    rates = np.full(4, 0.1)
    run_steps("test", net, state, state.check("test"), data, None, 16, False, rates,
              penalties_by_weight=True, values=values)  # fmt: skip
    for k, begin in enumerate(range(0, 50, 16)):
        rows = slice(begin, begin + 16)
        weight = c[rows].sum()
        if weight == 0:
            assert values[k] == 0
            continue
        part = net._with_recipe(l2=0.8 / weight, l1=0.1 / weight)
        part.params = by_hand.params
        value, grad = part.value_and_grad(X[rows], y[rows], c[rows])
        assert values[k] == pytest.approx(value, rel=1e-12)
        at.update(by_hand.params, grad)
    np.testing.assert_allclose(net.params, by_hand.params, rtol=1e-12, atol=1e-14)

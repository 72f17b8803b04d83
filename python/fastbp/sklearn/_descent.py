"""What stochastic training carries from one epoch to the next, and where it is to go on exactly, from fit to fit."""

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .._mlp import MLP
from .._optimizers import SGD, Adam

Rows = NDArray[np.intp]
LEAST_ADAPTIVE_RATE = 1e-6
FAR = 2**40  # steps after which Adam's corrections of the moments, 1 - beta^t, are 1


class Descent:
    """Optimiser, learning rate and random stream.

    The steps are those of `fastbp.SGD` and `fastbp.Adam`, which have torch's formulas, made equal to scikit-learn's.
    Its velocity has the learning rate in it and torch's has not: the velocity is scaled whenever the rate changes.
    Its Adam corrects the moments by the learning rate alone, before epsilon is added, as in the last lines of section 2
    of Kingma and Ba: the rates have the corrections, and the steps are counted from where there are no others.

    Attributes
    ----------
    state : TrainState
    lr : float
        The learning rate of the next step.
    random : numpy.random.RandomState
    order : ndarray of int
        That of the last epoch, which the next one shuffles on.

    Between fits only warm_start="exact" keeps `random` and `order`, see `close`.
    """

    def __init__(self, estimator: Any, net: MLP, seed: int) -> None:
        self.solver: str = estimator.solver
        self.lr = float(estimator.learning_rate_init)
        self.state = _optimizer(estimator).init(net.params, seed=seed)
        self.state.step = FAR
        self.random: Any = None
        self.order: Rows = np.empty(0, np.intp)
        self._before_split: Any = None

    def fits(self, estimator: Any, net: MLP) -> bool:
        """Whether it can go on with this net; the optimiser's parameters stay those it was made with."""
        return self.solver == estimator.solver and self.state.shape == net.params.shape

    def copy(self, random_state: Any) -> Self:
        """Return a copy with its own random stream, unless that is random_state or NumPy's global stream."""
        twin = copy.copy(self)
        twin.state, twin.order = copy.copy(self.state), self.order.copy()
        twin.state.moments = copy.deepcopy(self.state.moments)
        if self.random is not random_state and self.random is not check_random_state(None):
            twin.random = copy.deepcopy(self.random)
        return twin

    def open(self, random: Any) -> None:
        """Draw from this stream from now on."""
        self.random, self.order, self._before_split = random, np.empty(0, np.intp), None

    def close(self) -> None:
        """Drop the random stream and the row order, which only warm_start="exact" needs."""
        self.open(None)

    def split_stream(self) -> Any:
        """The stream for the split of training and validation rows: a fit that goes on exactly splits as before."""
        if self._before_split is None:
            self._before_split = copy.deepcopy(self.random)
            return self.random
        return copy.deepcopy(self._before_split)

    def next_order(self, rows: Rows, shuffle: bool) -> Rows:
        """These rows as they come in the next epoch: the last epoch's order, shuffled as by sklearn.utils.shuffle."""
        if len(self.order) != len(rows):
            self.order = rows.copy()
        if shuffle:
            self.random.shuffle(self.order)
        return self.order

    def rates(self, makes_step: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The learning rates of the coming mini-batches, of which some make no step."""
        optimizer = self.state.optimizer
        if not isinstance(optimizer, Adam):
            return np.full(len(makes_step), self.lr)
        t = np.maximum(self.state.step - FAR + makes_step.cumsum(), 1)
        first, second = optimizer.betas
        rates: NDArray[np.float64] = self.lr * np.sqrt(1 - second**t) / (1 - first**t)
        return rates

    def change_rate(self, lr: float) -> None:
        """From the next step on."""
        if self.state.moments and lr != self.lr:
            self.state.moments[0] *= self.lr / lr
        self.lr = lr

    def slow_down(self) -> bool:
        """A fifth of the learning rate; False where it is as small as it gets."""
        if self.lr <= LEAST_ADAPTIVE_RATE:
            return False
        self.change_rate(self.lr / 5.0)
        return True


def _optimizer(estimator: Any) -> SGD | Adam:
    lr, momentum = float(estimator.learning_rate_init), float(estimator.momentum)
    if estimator.solver == "sgd":
        return SGD(lr, momentum=momentum, nesterov=bool(estimator.nesterovs_momentum and momentum > 0))
    return Adam(lr, betas=(float(estimator.beta_1), float(estimator.beta_2)), eps=float(estimator.epsilon))

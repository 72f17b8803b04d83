"""scikit-learn: MLPClassifier.partial_fit, plain SGD. One call goes over all mini-batches, which is its fastest way.

With two classes it would have one logistic output. To train the same net as the others it is given y as two columns,
and softmax instead of two logistic outputs.
"""

import numpy as np
from sklearn.neural_network import MLPClassifier

from fastbp import reference


class Training:
    def __init__(self, sizes, params, X, y, batch, lr):
        self.X = X
        self.y = np.eye(2, dtype=np.int64)[y] if sizes[-1] == 2 else y
        self.model = MLPClassifier(
            sizes[1:-1], activation="relu", solver="sgd", learning_rate="constant", learning_rate_init=lr,
            momentum=0.0, nesterovs_momentum=False, alpha=0.0, batch_size=min(batch, len(X)), shuffle=False,
            random_state=0,
        )  # fmt: skip
        classes = np.arange(sizes[-1])
        some = np.eye(2, dtype=np.int64) if sizes[-1] == 2 else classes[:1]
        self.model.set_params(batch_size=1)
        self.model.partial_fit(X[: len(some)], some, classes=classes)  # makes the arrays
        self.model.set_params(batch_size=min(batch, len(X)))
        self.model.out_activation_ = "softmax"
        w, b = reference.views(params, sizes)
        for given, parts in ((w, self.model.coefs_), (b, self.model.intercepts_)):
            for source, part in zip(given, parts, strict=True):
                assert (part.shape, part.dtype) == (source.shape, source.dtype)
                part[...] = source

    def epoch(self, order=None):
        if order is None:
            self.model.partial_fit(self.X, self.y)
        else:
            self.model.partial_fit(self.X[order], self.y[order])

    def loss(self):
        return float(self.model.loss_)

    def params(self):
        return reference.flatten(self.model.coefs_, self.model.intercepts_)


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)

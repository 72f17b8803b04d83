"""MNIST in 5 epochs: 784-128-10, relu, SGD 0.1, batch 32; exit status 1 where the test accuracy is too low.

FASTBP_MNIST names the data: an .npz file with x_train, y_train, x_test and y_test.
"""

import os
import statistics
import sys

import numpy as np

import fastbp as fb

EPOCHS, LEAST_ACCURACY = 5, 0.97


def load(path):
    """Rows of 784 numbers from 0 to 1, and class numbers: for training, for the test."""
    with np.load(path) as archive:
        for part in ("train", "test"):
            X = archive[f"x_{part}"]
            yield X.reshape(len(X), -1).astype(np.float32) / 255, archive[f"y_{part}"]


def main():
    path = os.environ.get("FASTBP_MNIST")
    if not path:
        print("FASTBP_MNIST is not set: the path of mnist.npz", file=sys.stderr)
        return 2
    (X, y), (X_test, y_test) = load(path)
    net = fb.MLP((784, 128, 10), loss="cross_entropy", activation="relu", seed=0)
    history = net.fit(X, y, optimizer=fb.SGD(lr=0.1), batch_size=32, epochs=EPOCHS, seed=0)
    accuracy = float(np.mean(net.forward(X_test).argmax(axis=1) == y_test))
    facts = fb.show_config("dicts")
    print(f"fastbp {facts['fastbp']}, {facts['isa']}, BLAS {facts['blas']} ({facts['blas_core']})")
    print(f"seconds per epoch: median {statistics.median(history.seconds):.3f}, ", end="")
    print(f"each {', '.join(f'{seconds:.3f}' for seconds in history.seconds)}")
    print(f"test accuracy after {EPOCHS} epochs: {accuracy:.4f} (at least {LEAST_ACCURACY})")
    return 0 if accuracy >= LEAST_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())

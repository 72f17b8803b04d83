"""fastbp check: every activation and loss against the NumPy reference, on this machine."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from ._functions import HIDDEN_ACTIVATIONS, LOSSES, OUTPUT_ACTIVATIONS
from ._mlp import MLP

Array = NDArray[Any]
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
WIDTHS, ROWS = (4, 6, 5, 3), 24
CROSS_ENTROPY_OUTPUTS = ("softmax", "logistic")


def pairings() -> list[tuple[str, str]]:
    """Every (output activation, loss) that a net may have."""
    return [
        (output, loss)
        for output in OUTPUT_ACTIVATIONS
        for loss in LOSSES
        if loss != "cross_entropy" or output in CROSS_ENTROPY_OUTPUTS
    ]


def check() -> bool:
    """Compare values and gradients for every pairing and dtype, print the worst; whether all are right."""
    worst: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    wrong = []
    for dtype, tolerance in TOLERANCES.items():
        for hidden in HIDDEN_ACTIVATIONS:
            for output, loss in pairings():
                error = _error(hidden, output, loss, dtype)
                for key in ((dtype, output, loss), (dtype, "hidden", hidden)):
                    worst[key] = float(np.maximum(worst[key], error))  # np.maximum, as it keeps a nan
                if not error <= tolerance:
                    wrong.append(f"FAILED  {dtype}, hidden {hidden}, output {output}, {loss}: {error:.2g}")
    for dtype in TOLERANCES:
        _print_pairings(dtype, worst)
    _print_hidden(worst)
    count = len(TOLERANCES) * len(HIDDEN_ACTIVATIONS) * len(pairings())
    print("\n".join(wrong or [f"ok    {count:,} nets agree with the NumPy reference"]))
    return not wrong


def _error(hidden: str, output: str, loss: str, dtype: str) -> float:
    """Find the worst relative error of value and gradient, over every form that the targets may have."""
    rng = np.random.default_rng(0)
    net = MLP(WIDTHS, loss=loss, activation=hidden, output_activation=output, seed=rng, dtype=dtype)
    net.params += rng.uniform(-0.3, 0.3, net.params.shape).astype(dtype)
    if loss == "poisson":  # its outputs have to be positive, behind any activation
        net.weights[-1][...] *= 0.1
        net.biases[-1][...] += 1.0
    w, b = reference.views(net.params.astype(np.float64), WIDTHS)
    # Numbers of float32, so that both sides are given the same.
    X, c = _rounded(rng.standard_normal((ROWS, WIDTHS[0]))), _rounded(rng.uniform(0.5, 2.0, ROWS))
    errors = []
    for y in _targets(rng, output, loss):
        value, grad = net.value_and_grad(X, y, c)
        true_value, *grads = reference.value_and_grad(w, b, X, y, net.activations, loss, c)
        true = reference.flatten(*grads)
        errors.append(abs(value - true_value) / abs(true_value))
        errors.append(float(np.linalg.norm(grad - true) / np.linalg.norm(true)))
    return float(np.max(errors))


def _targets(rng: "np.random.Generator", output: str, loss: str) -> list[Array]:
    shape = (ROWS, WIDTHS[-1])
    if output == "softmax":
        return [_rounded(rng.dirichlet(np.ones(shape[1]), ROWS)), rng.integers(0, shape[1], ROWS)]
    if loss == "cross_entropy":
        return [_rounded(rng.uniform(size=shape))]
    if loss == "poisson":
        return [rng.poisson(1.5, shape).astype(np.float64)]
    return [_rounded(rng.standard_normal(shape))]


def _rounded(numbers: Array) -> Array:
    return numbers.astype(np.float32).astype(np.float64)


def _print_pairings(dtype: str, worst: dict[tuple[str, str, str], float]) -> None:
    print(f"{dtype}: worst relative error of value and gradient, limit {TOLERANCES[dtype]:g}")
    print(f"{'output':12}" + "".join(f"{loss:>16}" for loss in LOSSES))
    for output in OUTPUT_ACTIVATIONS:
        errors = [worst.get((dtype, output, loss)) for loss in LOSSES]
        cells = ["-" if error is None else f"{error:.1e}" for error in errors]
        print(f"{output:12}" + "".join(f"{cell:>16}" for cell in cells))
    print()


def _print_hidden(worst: dict[tuple[str, str, str], float]) -> None:
    print(f"{'hidden':12}" + "".join(f"{dtype:>16}" for dtype in TOLERANCES))
    for hidden in HIDDEN_ACTIVATIONS:
        errors = [worst[dtype, "hidden", hidden] for dtype in TOLERANCES]
        print(f"{hidden:12}" + "".join(f"{error:16.1e}" for error in errors))
    print()

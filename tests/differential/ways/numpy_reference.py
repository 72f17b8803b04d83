"""fastbp.reference: in the problem's precision and in float64, and its complex steps."""

import numpy as np

from differential.ways import Way
from fastbp import reference

ANALYTIC = {"identity", "logistic", "tanh", "silu", "softplus", "sine", "exp", "softmax"}
SMOOTH_LOSSES = {"squared_error", "cross_entropy", "poisson"}
STEP = 2.0**-100  # nothing cancels in a complex step, and a power of two keeps whole numbers exact


def loss_of(problem):
    name, parameter = problem.loss
    return (name, parameter) if parameter else name


def results(problem, dtype=None):
    """First-order results in `dtype`, by default the problem's.

    The reference's formulas state no limits: 0 times infinity is nan there. `backpropagate` knows no weights.
    """
    if np.isinf(problem.nonfinite):
        return {}
    data, g, loss = problem.data(), problem.activations, loss_of(problem)
    dtype = dtype or problem.dtype
    w, b = reference.views(data.params.astype(dtype), problem.sizes)
    X, y, c = data.X.astype(dtype), data.y if problem.targets == "classes" else data.y.astype(dtype), data.c
    scale = 1.0 / data.count() if problem.reduction == "mean" else 1.0
    s, x = reference.forward(w, b, X, g)
    value, delta = reference.output_delta(loss, g[-1], s[-1], x[-1], y, c, scale)
    grad_w, grad_b, deltas = reference.backpropagate(w, s, x, g, delta)
    found = {"forward": x[-1], "loss": value, "input_grad": reference.input_grad(w, deltas)}
    for name, arrays in (("s", s), ("deltas", deltas)):
        found |= {f"{name}[{k}]": array for k, array in enumerate(arrays)}
    if problem.finite and not (problem.reduction == "mean" and (problem.l2 or problem.l1)):
        found["grad@backpropagate"] = reference.flatten(grad_w, grad_b)
    value, grad_w, grad_b = reference.value_and_grad(
        w, b, X, y, g, loss, c, problem.reduction, problem.l2, problem.l1
    )
    if not problem.finite and data.c is not None:
        found = {}  # a row of weight 0 is left out by value_and_grad, and not by the functions below it
    return found | {"value": value, "grad": reference.flatten(grad_w, grad_b)}


def complex_step(problem):
    """Second-order results: the derivative of the reference's gradient along a direction."""
    names = {name for name, _ in problem.activations}
    if not (names <= ANALYTIC and problem.loss[0] in SMOOTH_LOSSES and problem.finite):
        return {}
    data = problem.data()
    params, X = data.params.astype(complex), data.X.astype(complex)
    v, u = data.v.astype(np.float64), data.u.astype(np.float64)

    def gradient(params, X):
        w, b = reference.views(params, problem.sizes)
        _, grad_w, grad_b = reference.value_and_grad(
            w, b, X, data.y, problem.activations, loss_of(problem), data.c, problem.reduction, problem.l2
        )
        return reference.flatten(grad_w, grad_b)

    def derivative(moved):
        found = moved.imag / STEP
        # The error is of the order of the square of the step, where whole numbers are expected to be exact.
        return np.where(np.abs(found) < STEP, 0.0, found) if problem.whole else found

    w, b = reference.views(params + 1j * STEP * v, problem.sizes)
    moved = reference.forward(w, b, X + 1j * STEP * u, problem.activations)[1][-1]
    return {
        "hvp": derivative(gradient(params + 1j * STEP * v, X)),
        "input_grad_vjp": derivative(gradient(params, X + 1j * STEP * u)),
        "jvp": derivative(moved),
    }


WAYS = [
    Way("reference", "numpy_reference:results"),
    Way("reference in float64", "numpy_reference:results", (("dtype", "float64"),), precision="float64"),
    Way("complex step", "numpy_reference:complex_step", precision="float64"),
]

"""check_gradient: of a net, and of anyone's function."""

from collections.abc import Callable
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._chunks import Data
from .._device import host
from .._mlp import MLP
from .._nonfinite import place_of_nonfinite
from .._parameters import entry_name
from ._slopes import Comparison, ComplexSteps, Differences, Slopes

Array = NDArray[Any]

# Above this many entries random directions are taken, each of which weighs every entry.
MOST_ENTRIES = 2000
DIRECTIONS = 20


@overload
def check_gradient(
    fun: MLP, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, reduction: str = "mean",
    grad: ArrayLike | None = None, seed: int = 0,
) -> float: ...  # fmt: skip
@overload
def check_gradient(
    fun: Callable[[Array], Any], x: ArrayLike, *, jac: Callable[[Array], ArrayLike] | bool, seed: int = 0
) -> float: ...
def check_gradient(
    fun: Any, x: Any, y: Any = None, sample_weight: Any = None, *, jac: Any = None, reduction: str = "mean",
    grad: Any = None, seed: int = 0,
) -> float:  # fmt: skip
    """Compare a gradient with slopes in float64: ``check_gradient(net, X, y)`` or ``check_gradient(fun, x, jac=jac)``.

    The slopes of a net are central differences of a float64 shadow of it, while its gradient is that of the net as it
    is: its dtype, device and threads. Those of a function are complex steps where it computes with complex numbers
    and is analytic, else central differences. Up to 2000 entries each is looked at; above, 20 random directions that
    weigh every entry, and where one differs the entry is searched for.

    Parameters
    ----------
    fun : MLP or callable
        A net with a loss; or ``fun(x) -> float``, or ``(float, gradient)`` where `jac` is True.
    x : array_like
        The net's X; or where to look, of any shape.
    y, sample_weight, reduction
        For a net, as for `MLP.value_and_grad`.
    jac : callable or True
        For a function: ``jac(x)``, of the shape of x.
    grad : array_like (P,), optional
        For a net: the gradient to test, instead of its own.
    seed : int
        Of the directions.

    Returns
    -------
    float
        The largest difference found, relative to the largest entry of the gradient.

    Raises
    ------
    AssertionError
        If they differ by more than rounding explains. The message names the entry (layer and index) and both values. At
        a kink, such as a summed input of 0 in a relu layer, there is no gradient. The message then names the slopes on
        both sides.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> net = fb.MLP((3, 4, 1), loss="squared_error", activation="tanh", seed=0)
    >>> fb.testing.check_gradient(net, np.eye(3), [1.0, 2.0, 3.0]) < 1e-5
    True
    >>> fb.testing.check_gradient(lambda x: np.sin(x).sum(), [1.0, 2.0], jac=np.cos) < 1e-12
    True
    """
    if isinstance(fun, MLP):
        if jac is not None:
            raise TypeError("[check_gradient] jac is given with a net; the gradient to test goes into `grad`")
        return _of_net(fun, x, y, sample_weight, reduction, grad, seed)
    if not callable(fun):
        raise TypeError(f"[check_gradient] fun is {type(fun).__name__}, expected an fb.MLP or a function")
    if y is not None or sample_weight is not None or grad is not None:
        raise TypeError("[check_gradient] y, sample_weight and grad belong to a net; a function has `jac`")
    return _of_function(fun, x, jac, seed)


def _of_net(
    net: MLP, X: Any, y: Any, sample_weight: Any, reduction: str, grad: ArrayLike | None, seed: int
) -> float:
    found = net.value_and_grad(X, y, sample_weight, reduction=reduction)[1] if grad is None else grad
    given = np.asarray(host(found))
    if given.shape != net.params.shape:
        raise ValueError(f"[check_gradient] grad has shape {given.shape}, expected {net.params.shape}")
    shadow = net._with_recipe(dtype=np.dtype(np.float64), device="cpu")

    def value(p: Array) -> float:
        shadow.params = p
        return shadow.value(X, y, sample_weight, reduction=reduction)

    tolerance = 1e-4 if net.dtype == np.float32 else 1e-7
    at_start = shadow.value(X, y, sample_weight, reduction=reduction)
    if not np.isfinite(at_start):
        place = _place_of_nonfinite(net, X, y, sample_weight)
        raise AssertionError(f"the value is {at_start}, so it has no gradient{place and f': {place}'}")
    return _compare(Differences(value, shadow.params.copy()), given, tolerance, partial(entry_name, net), seed)


def _place_of_nonfinite(net: MLP, X: Any, y: Any, sample_weight: Any) -> str:
    X, y, sample_weight = net._on_host("check_gradient", X, y, sample_weight)
    function = net._row_loss("check_gradient", X, y)
    return place_of_nonfinite(net, Data(X, y, sample_weight, function, X.shape[0], method="check_gradient"))


def _of_function(fun: Callable[[Array], Any], x: Any, jac: Any, seed: int) -> float:
    if not (jac is True or callable(jac)):
        raise TypeError(f"[check_gradient] jac is {jac!r}, expected the gradient as a function, or True")
    at = np.array(x, dtype=np.float64)
    given = np.asarray(fun(at.copy())[1] if jac is True else jac(at.copy()))
    if at.size == 0:
        raise ValueError(f"[check_gradient] x has shape {at.shape}, expected at least one number")
    if given.shape != at.shape:
        raise ValueError(f"[check_gradient] the gradient has shape {given.shape}, expected {at.shape}, as x")

    def value(p: Array) -> Any:
        found = fun(p.reshape(at.shape).copy())
        return found[0] if jac is True else found

    differences = Differences(value, at.ravel())
    slopes = ComplexSteps.where_allowed(value, differences)
    exact = 1e-6 if slopes is differences else 1e-10
    tolerance = {2: 1e-2, 4: 1e-4}.get(given.dtype.itemsize, exact)

    def name(i: int) -> str:
        return f"x{[int(k) for k in np.unravel_index(i, at.shape)]}"

    return _compare(slopes, given.ravel(), tolerance, name, seed)


def _compare(slopes: Slopes, grad: Array, tolerance: float, name: Callable[[int], str], seed: int) -> float:
    if grad.dtype.kind not in "fiub":
        raise TypeError(f"[check_gradient] the gradient has dtype {grad.dtype}, expected real numbers")
    if not np.isfinite(grad).all():
        at = int(np.flatnonzero(~np.isfinite(grad))[0])
        raise AssertionError(f"the gradient is {grad[at]} at {name(at)}")
    comparison = Comparison(slopes, grad.astype(np.float64), tolerance, name)
    if grad.size <= MOST_ENTRIES:
        return max((comparison.entry(i) for i in range(grad.size)), default=0.0)
    rng = np.random.default_rng(seed)
    return max(comparison.direction(rng) for _ in range(DIRECTIONS))

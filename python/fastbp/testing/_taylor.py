"""Taylor's theorem as a test of derivatives; what fastbp.testing offers of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._plots import new_axes

Vector = NDArray[np.float64]
STEPS: Vector = np.ldexp(1.0, -np.arange(1, 23))
KINKS = {
    "gradient": "the function has a kink at x, or within the steps used; check it at another point",
    "hessian": "the slope of the function has a kink at x, or within the steps used; check it at another point",
}
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Taylor:
    """What `taylor_test` returns.

    Attributes
    ----------
    steps : ndarray
        The lengths h of the steps along the direction, falling.
    remainders : dict of str to ndarray
        abs(f(x + h d) - its Taylor polynomial) for each h: "value" of degree 0, "gradient" of degree 1 and, where there
        was a Hessian product, "hessian" of degree 2.
    orders : dict of str to float
        The powers of h with which they fall, read off where rounding does not hide them; nan where it always does.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.testing import taylor_test
    >>> found = taylor_test(lambda x: np.exp(x).sum(), [0.5, 1.0], jac=np.exp)
    >>> {name: round(order) for name, order in found.orders.items()}
    {'value': 1, 'gradient': 2}
    """

    steps: Vector
    remainders: dict[str, Vector]
    orders: dict[str, float]

    def plot(self, ax: Any = None) -> Any:
        """The remainders over the steps, both logarithmic: straight lines of slope 1, 2 and 3. Needs matplotlib."""
        ax = new_axes() if ax is None else ax
        for name, remainder in self.remainders.items():
            shown = remainder > 0
            ax.loglog(self.steps[shown], remainder[shown], "o-", label=f"{name}: order {self.orders[name]:.2f}")
        ax.set_xlabel("h")
        ax.set_ylabel("remainder")
        ax.legend()
        return ax


def taylor_test(
    fun: Callable[[Vector], Any],
    x: ArrayLike,
    *,
    jac: Callable[[Vector], ArrayLike] | bool,
    hessp: Callable[[Vector, Vector], ArrayLike] | None = None,
    direction: ArrayLike | None = None,
    seed: int = 0,
) -> Taylor:
    """Check a gradient and a Hessian product: the remainders must fall as Taylor's theorem says.

    With f(x) alone the remainder falls as h, with the gradient as h^2, with the Hessian product as h^3. A factor, a
    missing term or a wrong sign anywhere leaves the lower order.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> float``; or ``(float, gradient)`` where ``jac`` is True.
    x : array_like (P,)
        Where to look. A random point is better than a minimum, where the gradient says little.
    jac : callable or True
        ``jac(x) -> (P,)``, or True where `fun` returns both.
    hessp : callable, optional
        ``hessp(x, v) -> (P,)``, as in SciPy.
    direction : array_like (P,), optional
        Default: random, of length 1.
    seed : int
        Of that direction.

    Returns
    -------
    Taylor
        Steps, remainders and observed orders; ``plot()`` shows them.

    Raises
    ------
    AssertionError
        If an order is below 1.9 for the gradient or 2.9 for the Hessian product. It carries the result as `.taylor`.
        The message tells a wrong derivative from a kink at x, where the function has no such derivative.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> found = fb.testing.taylor_test(lambda x: np.sin(x).sum(), [1.0, 2.0], jac=np.cos)
    >>> round(found.orders["gradient"], 1)
    2.0
    """
    x = np.array(x, dtype=np.float64)

    def value(p: Vector) -> float:
        return float(fun(p.copy())[0] if jac is True else fun(p.copy()))

    if not (jac is True or callable(jac)):
        raise TypeError(f"[taylor_test] jac is {jac!r}, expected the gradient as a function, or True")
    gradient = _real("the gradient", jac(x.copy()) if callable(jac) else fun(x.copy())[1])
    if gradient.shape != x.shape:
        raise ValueError(f"[taylor_test] the gradient has shape {gradient.shape}, expected {x.shape}, as x")
    if direction is None:
        direction = np.random.default_rng(seed).standard_normal(x.shape)
        direction /= np.linalg.norm(direction)
    d = _real("direction", direction)
    if d.shape != x.shape or not d.any():
        raise ValueError(f"[taylor_test] direction has shape {d.shape}, expected {x.shape}, as x, and not 0")
    polynomials = {"value": np.zeros_like(STEPS), "gradient": STEPS * float(np.vdot(gradient, d))}
    if hessp is not None:
        product = _real("hessp(x, v)", hessp(x.copy(), d.copy()))
        if product.shape != x.shape:
            raise ValueError(f"[taylor_test] hessp(x, v) has shape {product.shape}, expected {x.shape}, as x")
        curvature = float(np.vdot(product, d))
        polynomials["hessian"] = polynomials["gradient"] + 0.5 * STEPS**2 * curvature
    at_x = value(x)
    values = np.array([value(x + h * d) for h in STEPS])
    if not np.isfinite([at_x, *values]).all():
        raise AssertionError(f"[taylor_test] fun is not finite along the direction: {at_x} at x")
    remainders = {name: np.abs(values - at_x - polynomial) for name, polynomial in polynomials.items()}
    noise = EPS * max(abs(at_x), float(np.abs(values).max()))
    result = Taylor(STEPS, remainders, {name: _order(r, noise) for name, r in remainders.items()})
    for name, least in (("gradient", 1.9), ("hessian", 2.9)):
        if result.orders.get(name, 9.0) < least:
            opposite = np.array([value(x - h * d) for h in STEPS]) - at_x
            at_kink = _is_kink(name, values - at_x, opposite, polynomials, noise)
            reason = KINKS[name] if at_kink else f"the {name} is not that of the function"
            error = AssertionError(
                f"[taylor_test] with the {name} the remainder falls as h^{result.orders[name]:.2f}, "
                f"expected h^{round(least)}: {reason}"
            )
            error.taylor = result  # type: ignore[attr-defined]  # documented: to be plotted
            raise error
    return result


def _is_kink(name: str, rise: Vector, opposite: Vector, polynomials: dict[str, Vector], noise: float) -> bool:
    """Return whether a derivative fails at a kink, from the rises along the direction and against it.

    A wrong derivative of a smooth function has the same error on both sides. At a kink the difference between the
    errors falls with a lower power of h than for a smooth function, or the given derivative lies between those of the
    two sides.
    """
    slope = polynomials["gradient"]
    ahead = rise - polynomials[name]
    behind = -(opposite + slope) if name == "gradient" else opposite - (polynomials[name] - 2 * slope)
    smooth = 1.5 if name == "gradient" else 2.5
    clear = np.flatnonzero(np.abs(ahead) > 500 * noise)[-4:]
    return _order(np.abs(ahead - behind), noise) < smooth or bool(np.median(behind[clear] / ahead[clear]) < 0.5)


def _real(name: str, given: Any) -> Vector:
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"[taylor_test] {name} has dtype {array.dtype}, expected real numbers")
    if not np.isfinite(array).all():
        raise AssertionError(f"[taylor_test] {name} is not finite: {array}")
    return array.astype(np.float64)


def _order(remainder: Vector, noise: float) -> float:
    """The slope over the smallest steps whose remainders stand clear of rounding; nan where fewer than three do."""
    clear = np.flatnonzero(remainder > 500 * noise)
    if len(clear) < 3:
        return float("nan")
    last = clear[-4:]
    return float(np.polyfit(np.log(STEPS[last]), np.log(remainder[last]), 1)[0])

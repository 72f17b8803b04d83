"""Each option that an error text recommends is one of the method called, or of the call that the text spells out."""

import ast
import inspect
import re

import numpy as np
import pytest
from helpers import ROOT

import fastbp as fb

X, Y = np.ones((2, 3)), np.array([[1.0], [2.0]])
NEGATIVE, ZERO = [-0.5, 1.0], [0.0, 0.0]
OPTION = re.compile(r"\b([a-z][a-z_0-9]*)=(?!=)")
CALL = re.compile(r"\b(?:[a-zA-Z_]+\.)*([A-Za-z_0-9]+)\([^()]*")


def net_of(**options):
    return fb.MLP((3, 2, 1), loss="squared_error", seed=0, **options)


CALLS = {  # each method with sample_weight, called with the weights c
    "value": lambda net, c: net.value(X, Y, c),
    "value_and_grad": lambda net, c: net.value_and_grad(X, Y, c),
    "backward": lambda net, c: net.backward(X, Y, c),
    "hvp": lambda net, c: net.hvp(X, Y, net.params, c),
    "gnvp": lambda net, c: net.gnvp(X, Y, net.params, c),
    "input_grad_vjp": lambda net, c: net.input_grad_vjp(X, Y, X, c),
    "objective": lambda net, c: net.objective(X, Y, c),
    "fit": lambda net, c: net.fit(X, Y, c),
    "fit: chunk 0": lambda net, c: net.fit([(X, Y, c)]),
    "fit: validation_data": lambda net, c: net.fit(X, Y, validation_data=(X, Y, c)),
    "train_step": lambda net, c: net.train_step(X, Y, fb.SGD().init(net.params), sample_weight=c),
    "diagnose": lambda net, c: fb.diagnose(net, X, Y, c),
    "levenberg_marquardt": lambda net, c: fb.optimize.levenberg_marquardt(net, X, Y, sample_weight=c),
}


def parameters_of(method):
    name = method.partition(":")[0]
    places = (fb.MLP, fb, fb.optimize, fb.testing, fb.TrainState, fb.schedules)
    for place in places:
        if hasattr(place, name):
            return inspect.signature(getattr(place, name)).parameters
    raise AssertionError(f"no method {name}")


def named_options(text):
    """(call or None, option) for each option=.. in a text: of the call in whose parentheses it stands."""
    within = {}
    for call in CALL.finditer(text):
        within.update(dict.fromkeys(range(*call.span()), call[1]))
    return [(within.get(found.start()), found[1]) for found in OPTION.finditer(text)]


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("weights", [NEGATIVE, ZERO], ids=["negative", "zero"])
def test_advice_about_weights_is_for_the_method_called(method, weights):
    if method == "fit: chunk 0" and weights is ZERO:
        weights, method = [ZERO, ZERO], "fit: chunk 0"  # as weights of outputs: refused for their form
    with pytest.raises(ValueError, match=r"^\[fit" if "fit" in method else rf"^\[{method}\]") as caught:
        CALLS[method](net_of(), weights)
    text = str(caught.value)
    for call, option in named_options(text):
        assert option in parameters_of(call or method), text
    if weights is NEGATIVE:
        assert "reduction='sum'" in text
        takes_sums = "reduction" in parameters_of(method)
        assert takes_sums or "value_and_grad(.., reduction='sum'), and TrainState.update" in text


def test_the_way_named_for_negative_weights_works():
    net = net_of(dtype="float64")
    state, before = fb.SGD(lr=0.5).init(net.params), net.params.copy()
    _, grad = net.value_and_grad(X, Y, NEGATIVE, reduction="sum")
    state.update(net.params, grad)
    np.testing.assert_allclose(net.params, before - 0.5 * grad, rtol=1e-15)


def texts_of_errors():
    """(file, method, text) for each exception in the Python sources whose text begins with [method]."""
    for path in sorted((ROOT / "python" / "fastbp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error") and node.args):
                continue
            text = "".join(
                part.value if isinstance(part, ast.Constant) else "{}"
                for part in getattr(node.args[0], "values", node.args[:1])
                if isinstance(part, (ast.Constant, ast.FormattedValue))
            )
            if found := re.match(r"\[([a-z_]+)(?::[^]]*)?\] ", text):
                yield path.name, found[1], text


def test_every_option_in_an_error_text_exists():
    looked_at = 0
    for file, method, text in texts_of_errors():
        for call, option in named_options(text):
            known = parameters_of(call or method)
            made = inspect.signature(fb.MLP).parameters if "net made with" in text else {}
            assert option in known or option in made, f"{file}: {text}"
            looked_at += 1
    assert looked_at >= 3


def test_masked_arrays_are_refused_with_a_cure_that_every_method_has():
    masked = np.ma.masked_less(X, 0)
    for method, call in {"forward": net_of().forward, "jacobian": net_of().jacobian}.items():
        with pytest.raises(TypeError, match=rf"^\[{method}\] X is a masked array, .*: fill it first$"):
            call(masked)
    with pytest.raises(TypeError, match=r"^\[value\] y is a masked array, .*: fill it first; a weight of 0 masks"):
        net_of().value(X, np.ma.masked_less(Y, 0))

"""The attributes of a net that its user or a subclass has set, which its copies keep."""

from typing import Any

NET = {"_core", "_recipe", "_loss_is_function", "_activations", "_params", "_weights", "_biases"}
STATE = {"optimizer", "device", "shape", "dtype", "moments", "step", "epoch", "seed"}


def extra_attributes(net: Any, own: set[str] = NET) -> dict[str, Any]:
    """Return what was set besides the own attributes, in the instance's dict and in slots of a subclass."""
    state = object.__getstate__(net)  # as pickle sees any object: None, a dict, or a pair with that of the slots
    parts = state if isinstance(state, tuple) else (state,)
    return {name: value for part in parts if part for name, value in part.items() if name not in own}


def set_attributes(net: Any, attributes: dict[str, Any]) -> None:
    """Set them on a copy, even if the class has a `__setattr__` that refuses."""
    for name, value in attributes.items():
        object.__setattr__(net, name, value)

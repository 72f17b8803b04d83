"""The attributes of a net that its user or a subclass has set, which its copies keep."""

from typing import Any, NamedTuple

NET = {"_core", "_recipe", "_loss_is_function", "_activations", "_params", "_weights", "_biases"}
STATE = {"optimizer", "device", "shape", "dtype", "moments", "step", "epoch", "seed"}


class Part(NamedTuple):
    """An attribute that is the net's params, weights or biases, or one of their arrays: a copy has its own."""

    name: str
    layer: int | None = None

    def of(self, net: Any) -> Any:
        """Return this part of a net."""
        whole = getattr(net, self.name)
        return whole if self.layer is None else whole[self.layer]


def extra_attributes(owner: Any, own: set[str]) -> dict[str, Any]:
    """Return what was set besides the own attributes, in the instance's dict and in slots of a subclass."""
    state = object.__getstate__(owner)  # as pickle sees any object: None, a dict, or a pair with that of the slots
    parts = state if isinstance(state, tuple) else (state,)
    return {name: value for part in parts if part for name, value in part.items() if name not in own}


def attributes_of(net: Any) -> dict[str, Any]:
    """Return the extra attributes of a net, with a `Part` for each that is a part of the net."""
    extra = extra_attributes(net, NET)
    if not extra:
        return extra
    places = {id(part.of(net)): part for part in parts_of(net)}
    return {name: places.get(id(value), value) for name, value in extra.items()}


def set_attributes(net: Any, attributes: dict[str, Any]) -> None:
    """Set them on a copy, even if the class has a `__setattr__` that refuses."""
    for name, value in attributes.items():
        object.__setattr__(net, name, value.of(net) if isinstance(value, Part) else value)


def parts_of(net: Any) -> list[Part]:
    """Return all parts that an attribute may be."""
    lists = [Part(name, k) for name in ("weights", "biases") for k in range(len(getattr(net, name)))]
    return [Part("params"), Part("weights"), Part("biases"), *lists]

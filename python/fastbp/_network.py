"""What a network is: its sizes, functions and parameters. What it does stands in _mlp.py."""

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _core
from ._arguments import as_array, as_rows, dropout_rates, dtype_of, generator_of, penalty_factor, sizes_of
from ._attributes import attributes_of, parts_of, set_attributes
from ._device import filled, host, is_distant, laid_out, lies_there, numbers, read_back, views
from ._functions import (
    OUTPUT_ACTIVATIONS,
    REAL_KINDS,
    LossSpec,
    activation_spec,
    hidden_activations,
    loss_number,
    one_of,
    output_activation,
    row_loss,
)
from ._parameters import Views, assign, initialise

Array = NDArray[Any]
PRECISIONS = {"tf32": 1, "bf16": 2}  # numbers of fastbp.h


class Network:
    """A net's description and parameters; see `MLP`."""

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        loss: LossSpec = None,
        activation: Any = "relu",
        output_activation: Any = "auto",
        init: str = "auto",
        seed: "int | np.random.Generator | None" = None,
        dtype: DTypeLike = "float32",
        device: str = "cpu",
        precision: str | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        deterministic: bool = False,
    ) -> None:
        recipe = {
            "layer_sizes": sizes_of(layer_sizes), "loss": loss, "activation": activation,
            "output_activation": output_activation, "dtype": dtype_of(dtype), "device": device,
            "precision": None if precision is None else one_of("precision", precision, tuple(PRECISIONS)),
            "l2": penalty_factor("l2", l2), "l1": penalty_factor("l1", l1), "deterministic": bool(deterministic),
            "dropout": dropout,
        }  # fmt: skip
        one_of("init", init, ("auto", "he_normal", "glorot_uniform", "zeros"))
        generator = generator_of(seed)
        self._build(recipe)
        initialise(self, init, generator)

    def _build(self, recipe: dict[str, Any]) -> None:
        sizes, loss = recipe["layer_sizes"], recipe["loss"]
        if not isinstance(recipe["device"], str):
            raise TypeError(f"device is {recipe['device']!r}, expected a name such as 'cpu'")
        hidden = hidden_activations(recipe["activation"], len(sizes) - 2)
        functions = [*hidden, output_activation(recipe["output_activation"], loss, sizes[-1])]
        number, parameters = loss_number(loss, sizes[-1])
        rates = dropout_rates(recipe["dropout"], len(hidden))
        self._core = _core.Net(
            list(sizes), [OUTPUT_ACTIVATIONS[name] for name, _ in functions], [a for _, a in functions],
            number, parameters, [*rates, 0.0], recipe["dtype"],
            recipe["l2"], recipe["l1"], recipe["deterministic"],
            recipe["device"], precision=PRECISIONS.get(recipe["precision"], 0),
        )  # fmt: skip
        specs = [activation_spec(*pair) for pair in functions]
        self._recipe = recipe | {"activation": specs[:-1], "dropout": rates}  # copies: a caller may change a list
        if recipe["output_activation"] != "auto":
            self._recipe["output_activation"] = specs[-1]
        self._loss_is_function = callable(loss)
        self._activations = functions
        self._params: Array = filled(recipe["device"], (self._core.parameter_count,), 0, recipe["dtype"])
        weights, biases = views(self._params, self.layer_sizes)
        self._weights, self._biases = Views("weights", weights), Views("biases", biases)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """d(0), .., d(L)."""
        sizes: tuple[int, ...] = self._recipe["layer_sizes"]
        return sizes

    @property
    def loss(self) -> Any:
        """The loss as given."""
        return self._recipe["loss"]

    @property
    def activations(self) -> list[tuple[str, float]]:
        """(name, parameter) of every layer, the output's last."""
        return list(self._activations)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of parameters and results."""
        dtype: np.dtype[Any] = self._recipe["dtype"]
        return dtype

    @property
    def device(self) -> str:
        """Where the net runs."""
        device: str = self._recipe["device"]
        return device

    @property
    def params(self) -> Array:
        """All parameters as one array (P,); see the class."""
        return self._params

    @params.setter
    def params(self, value: ArrayLike) -> None:
        if value is not self._params:  # net.params -= .. has written already
            assign(self._params, "params", "params", value)

    @property
    def weights(self) -> Views:
        """w(1) .. w(L) as views of params."""
        return self._weights

    @property
    def biases(self) -> Views:
        """b(1) .. b(L) as views of params."""
        return self._biases

    def to(self, device: str) -> Self:
        """A net on the device, with parameters of its own."""
        return self._with_recipe(device=device)

    def __copy__(self) -> Self:
        return self._with_recipe()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        net = self._rebuilt({})
        memo[id(self)] = net  # an attribute may lead back to the net or to a part of it
        memo |= {id(part.of(self)): part.of(net) for part in parts_of(self)}
        set_attributes(net, copy.deepcopy(attributes_of(self), memo))
        return net

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self._recipe, "params": host(self._params), "attributes": attributes_of(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(state["recipe"])
        self._params[...] = state["params"]
        set_attributes(self, state.get("attributes", {}))

    def __repr__(self) -> str:
        g = ", ".join(name for name, _ in self._activations)
        return f"{type(self).__name__}({self.layer_sizes}, loss={self.loss!r}, activations=({g}), dtype={self.dtype})"

    def _with_recipe(self, **changes: Any) -> Self:
        """Return a copy with other options; attributes that were set later are shared."""
        net = self._rebuilt(changes)
        set_attributes(net, attributes_of(self))
        return net

    def _rebuilt(self, changes: dict[str, Any]) -> Self:
        net = type(self).__new__(type(self))
        recipe = {**self._recipe, **changes}
        if not is_distant(recipe["device"]) or recipe["dtype"] != np.float32:
            recipe["precision"] = None
        net._build(recipe)
        net._params[...] = self._params if is_distant(net.device) else host(self._params)
        return net

    def _sharing(self, **changes: Any) -> Self:
        """A net on these very parameters, otherwise described."""
        net = type(self).__new__(type(self))
        net._build({**self._recipe, **changes})
        net._params, net._weights, net._biases = self._params, self._weights, self._biases
        set_attributes(net, attributes_of(self))
        return net

    def _flat(self, method: str, argument: str, value: Any) -> Array:
        """An array-like of the form of params, a direction or other parameters, as the core takes it."""
        given = numbers(self.device, method, argument, value, self.dtype)
        if given.dtype.kind not in REAL_KINDS:
            raise TypeError(f"[{method}] {argument} has dtype {given.dtype}, expected real numbers")
        if given.shape != self._params.shape:
            expected = f"expected {self._params.shape}, as net.params"
            raise ValueError(f"[{method}] {argument} has shape {given.shape}, {expected}")
        direction: Array = laid_out(self.device, given, self.dtype)
        return direction

    def _rows(self, method: str, X: Any) -> Any:
        """X as the core takes it, once for all calls; as it is where it lies on the net's device."""
        return X if lies_there(self.device, method, "X", X) else as_rows(method, X)

    def _array(self, method: str, argument: str, data: Any) -> Any:
        return data if lies_there(self.device, method, argument, data) else as_array(method, argument, data)

    def _on_host(self, method: str, X: Any, y: Any = None, sample_weight: Any = None) -> tuple[Any, Any, Any]:
        """The data as what computes on the host takes them, whatever the net's device: brought there once."""
        X, y, sample_weight = (
            read_back(self.device, method, name, data)
            for name, data in (("X", X), ("y", y), ("sample_weight", sample_weight))
        )
        return as_rows(method, X), as_array(method, "y", y), as_array(method, "sample_weight", sample_weight)

    def _row_loss(self, method: str, X: Any, y: Any) -> Any:
        """Where the loss is a function: it, bound to the array y; else None."""
        if not self._loss_is_function:
            return None
        return row_loss(method, self.loss, X, read_back(self.device, method, "y", y), self.dtype)

    def _with_row_loss(self, method: str, X: Any, y: Any) -> tuple[Any, Any, Any]:
        """X and y as arrays, and `_row_loss` of them; only where the loss is a function, since each call counts."""
        X, y = self._rows(method, X), self._array(method, "y", y)
        return X, y, self._row_loss(method, X, y)

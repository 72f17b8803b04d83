"""fastbp.save and fastbp.load: what a net and the state of its training are in a file."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from numpy.typing import NDArray

from ._arguments import sizes_of
from ._attributes import NET, STATE, extra_attributes
from ._core import __version__
from ._device import host
from ._files import write_whole
from ._fit import check_state
from ._functions import Huber, Pinball, activation_spec
from ._mlp import MLP
from ._numbers import count
from ._optimizers import SGD, Adagrad, Adam, AdamW, RMSprop, Rprop, TrainState
from ._tensor_file import packed, unpacked
from ._warn import warn

Array = NDArray[Any]
PathLike: TypeAlias = str | os.PathLike[str]

RECIPES = {recipe.__name__: recipe for recipe in (SGD, Adam, AdamW, RMSprop, Adagrad, Rprop, Huber, Pinball)}


def save(net: MLP, path: PathLike, *, state: TrainState | None = None) -> None:
    """Write a net, and if asked the state of its training, into a safetensors file.

    The tensors are ``weights.0``, ``biases.0``, .. as in `MLP`, and ``moments.0``, .. of the state, which any reader
    of safetensors finds; the metadata hold sizes, functions, options, versions and checksums. The file takes its place
    only when it is whole and on the disk: whatever stops the writing leaves the old file or the new one. A process that
    is killed may leave its temporary file, ``.fastbp-*.tmp``, beside it, to be deleted.

    Parameters
    ----------
    net : MLP
        On whatever device. Its loss may be a name, fb.Huber, fb.Pinball or None.
    path : str or path-like
        An existing file is replaced and keeps its permissions.
    state : TrainState, optional
        With which training goes on from there bit for bit; see `load`.

    Raises
    ------
    ValueError
        If the net's loss is a function, the state is another net's, or the path is a folder or a device.
    TypeError
        If net, path or state are something else.
    OSError
        If the file cannot be written. In every case the old file is as it was, unless the last step fails, to make sure
        that the folder is on the disk: then the new one is there.

    Warns
    -----
    UserWarning
        If the net or the state has attributes that you or a subclass set, which no file holds (pickle keeps them), or
        if the file system cannot keep the permissions of an existing file.

    Examples
    --------
    >>> import tempfile, fastbp as fb
    >>> net = fb.MLP((2, 3, 1), loss=fb.Huber(delta=2.0), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fb.save(net, folder + "/net.safetensors")
    ...     again = fb.load(folder + "/net.safetensors")
    >>> again.loss, (again.params == net.params).all()
    (Huber(delta=2.0), np.True_)
    """
    file = path_of("save", "path", path)
    if not isinstance(net, MLP):
        raise TypeError(f"[save] net is {type(net).__name__}, expected an fb.MLP")
    description = {"net": _described_net(net)}
    if state is not None:
        check_state("save", net, state)
        description["state"] = _described_state(state)
    lost = sorted(extra_attributes(net, NET)) + [f"state.{name}" for name in sorted(extra_attributes(state, STATE))]
    if lost:
        warn(f"[save] The file does not hold the attributes {', '.join(lost)}: load them apart, or pickle the net")
    # Copies: another thread may train on.
    tensors = {name: host(tensor.copy()) for name, tensor in _tensors(net, state).items()}
    write_whole(file, packed(description, tensors))


@overload
def load(path: PathLike, *, with_state: Literal[False] = False, device: str = ...) -> MLP: ...
@overload
def load(path: PathLike, *, with_state: Literal[True], device: str = ...) -> tuple[MLP, TrainState]: ...
def load(path: PathLike, *, with_state: bool = False, device: str = "cpu") -> MLP | tuple[MLP, TrainState]:
    """Read what `save` has written; nothing in a file is executed.

    Parameters
    ----------
    path : str or path-like
    with_state : bool
        Ask for the state too: ``net.fit(X, y, state=state)`` then goes on as if training had not stopped.
    device : str
        Where both are to lie, wherever they lay.

    Returns
    -------
    net : MLP
        With the parameters, to the bit, and options of the one saved.
    state : TrainState
        Only with ``with_state=True``.

    Raises
    ------
    ValueError
        If any bit of the file is not as it was written (the message says whether it is the header or which tensor), the
        file is none of `save`'s or of a newer format, or it holds no state where one is asked for. The checksums
        tell damage, not whether someone has made up the file.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile, fastbp as fb
    >>> X, y = [[0.0], [1.0]], [1.0, 3.0]
    >>> net = fb.MLP((1, 1), loss="squared_error", seed=0)
    >>> history = net.fit(X, y, epochs=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fb.save(net, folder + "/net.safetensors", state=history.state)
    ...     again, state = fb.load(folder + "/net.safetensors", with_state=True)
    >>> rest = net.fit(X, y, state=history.state, epochs=5)
    >>> again.fit(X, y, state=state, epochs=5).loss == rest.loss
    True
    """
    file = path_of("load", "path", path)
    name = f"'{file}'"
    if file.exists() and not file.is_file():
        raise ValueError(f"[load] {name} is no regular file")
    description, tensors = unpacked(file.read_bytes(), name)
    try:
        net, state = _blank(description, sum(tensor.size for tensor in tensors.values()))
        _fill(_tensors(net, state), tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        writer = description["fastbp"]
        raise ValueError(
            f"[load] {name}, written by fastbp {writer}, holds nothing that fastbp {__version__} can make: {error}"
        ) from error
    if state is None and with_state:
        raise ValueError(f"[load] {name} holds no state: it was saved without, as by fb.save(net, path)")
    if device != "cpu":
        net, state = net.to(device), None if state is None else state.to(device)
    return (net, state) if with_state and state is not None else net


def path_of(method: str, argument: str, given: Any) -> Path:
    try:
        return Path(given)
    except TypeError:
        raise TypeError(f"[{method}] {argument} is {given!r}, expected a str or a path") from None


def _tensors(net: MLP, state: TrainState | None) -> dict[str, Array]:
    """The arrays of both by their names in the file; writing into them writes the net and the state."""
    named: dict[str, Array] = {}
    for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        named[f"weights.{k}"], named[f"biases.{k}"] = w, b
    for j, moment in enumerate(state.moments if state is not None else ()):
        named[f"moments.{j}"] = moment
    return named


def _described_net(net: MLP) -> dict[str, Any]:
    options, loss = net._recipe, net.loss
    if type(loss) in RECIPES.values():
        loss = _described(loss)
    elif loss is not None and not isinstance(loss, str):
        raise ValueError(
            f"[save] the net's loss is {loss!r}, expected a name, fb.Huber(..), fb.Pinball(..) or None: a file holds "
            "no functions. Save a net made with loss=None that has these params; after loading make one with the loss"
        )
    return {
        "layer_sizes": net.layer_sizes,
        "loss": loss,
        "activations": [activation_spec(g, a) for g, a in net.activations],
        "dtype": net.dtype.name,
        "dropout": options["dropout"],
        **{name: options[name] for name in ("l2", "l1", "deterministic")},
    }


def _described_state(state: TrainState) -> dict[str, Any]:
    if type(state.optimizer) not in RECIPES.values():
        raise ValueError(f"[save] state.optimizer is {state.optimizer!r}, expected one of fastbp's own recipes")
    counters = {name: count("save", f"state.{name}", getattr(state, name), 0) for name in ("step", "epoch", "seed")}
    return {"optimizer": _described(state.optimizer), **counters}


def _described(recipe: Any) -> dict[str, Any]:
    return {type(recipe).__name__: vars(recipe)}


def _recipe(described: dict[str, Any]) -> Any:
    ((name, fields),) = described.items()
    return RECIPES[name](**{field: _tuple(value) for field, value in fields.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _blank(description: dict[str, Any], numbers: int) -> tuple[MLP, TrainState | None]:
    """The net and the state described, their arrays still to be filled; refused unless they have so many numbers."""
    options, progress = dict(description["net"]), description.get("state")
    sizes, loss = sizes_of(options.pop("layer_sizes")), options.pop("loss")
    optimizer = None if progress is None else _recipe(progress["optimizer"])
    arrays = 1 if optimizer is None else 1 + len(optimizer._initial_moments())
    expected = arrays * sum((above + 1) * below for above, below in pairwise(sizes))
    if numbers != expected:
        raise ValueError(f"its tensors have {numbers} numbers, layer_sizes {sizes} expects {expected}")
    *hidden, output = map(_tuple, options.pop("activations"))
    loss = _recipe(loss) if isinstance(loss, dict) else loss
    net = MLP(sizes, loss=loss, activation=hidden, output_activation=output, init="zeros", **options)
    if optimizer is None or progress is None:
        return net, None
    state: TrainState = optimizer.init(net.params, seed=progress["seed"])
    state.step, state.epoch = (count("load", name, progress[name], 0) for name in ("step", "epoch"))
    return net, state


def _fill(arrays: dict[str, Array], tensors: dict[str, Array]) -> None:
    for name in sorted(arrays.keys() | tensors.keys()):
        mine, given = arrays.get(name), tensors.get(name)
        if mine is None or given is None or (mine.dtype, mine.shape) != (given.dtype, given.shape):
            raise ValueError(f"{name} is {_form(given)}, expected {_form(mine)}")
        mine[...] = given


def _form(array: Array | None) -> str:
    return "nothing" if array is None else f"{array.dtype}{array.shape}"

"""What a module's tensors may be; told before the core sees them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..cuda import why_not

DTYPES = (torch.float32, torch.float64)
DEVICES = ("cpu", "cuda", "meta")


def check_dtype(name: str, dtype: object) -> None:
    if dtype not in DTYPES:
        raise TypeError(f"{name} is {dtype}, expected torch.float32 or torch.float64")


def check_device(name: str, tensor: Tensor) -> None:
    if tensor.device.type not in DEVICES:
        raise ValueError(
            f"{name} is on {tensor.device}, expected the CPU or a CUDA device: fastbp has no backend for others"
        )
    if tensor.is_cuda and (missing := why_not(f"cuda:{tensor.get_device()}")):
        raise RuntimeError(f"{name} is on {tensor.device}: {missing}")


def check_parameters(parameters: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuses parameters that are not the module's own in form: they may have been replaced."""
    first = parameters[0]
    found = [None if p is None else p.shape for p in parameters]
    if found != shapes:
        raise ValueError(f"the parameters have the shapes {_shapes(found)}, expected {_shapes(shapes)}")
    assert first is not None  # it has a shape
    check_dtype("the parameters' dtype", first.dtype)
    check_device("parameter 0.weight", first)
    for p in parameters:
        if p.dtype != first.dtype or p.device != first.device:  # type: ignore[union-attr]  # they have shapes
            raise TypeError(f"a parameter is {_kind(p)}, expected {_kind(first)} as 0.weight is")


def check_input(method: str, x: Any, weight: Tensor, inputs: int) -> Tensor:
    """x, if it fits the first weight; under autocast in its dtype."""
    if not isinstance(x, Tensor):
        raise TypeError(f"[{method}] x is {type(x).__name__}, expected a Tensor")
    check_form(f"[{method}] x", x)
    if x.dim() == 0 or x.shape[-1] != inputs:
        raise ValueError(f"[{method}] x has shape {tuple(x.shape)}, expected (.., {inputs})")
    if x.dtype != weight.dtype and x.is_floating_point() and torch.is_autocast_enabled(x.device.type):
        x = x.to(weight.dtype)
    if x.dtype != weight.dtype:
        raise TypeError(f"[{method}] x has dtype {x.dtype}, expected {weight.dtype} as the parameters have")
    if x.device != weight.device:
        check_device(f"[{method}] x", x)
        raise ValueError(f"[{method}] x is on {x.device}, expected {weight.device} as the parameters are")
    return x


def check_form(name: str, tensor: Tensor) -> None:
    """Refuses what has no numbers in rows."""
    word = name.rpartition(" ")[2]
    if tensor.is_nested:
        raise TypeError(
            f"{name} is a nested tensor, expected rows: write torch.cat({word}.unbind()), or {word}.to_padded_tensor(0)"
        )
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} has the layout {tensor.layout}, expected torch.strided: write {word}.to_dense()")
    if tensor.is_quantized:
        raise TypeError(f"{name} is quantized, expected plain numbers: write {word}.dequantize()")


def _shapes(shapes: Sequence[Any]) -> str:
    return ", ".join("None" if shape is None else str(tuple(shape)) for shape in shapes)


def _kind(tensor: Any) -> str:
    return f"{tensor.dtype} on {tensor.device}"

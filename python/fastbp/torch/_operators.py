"""The core's methods as operators of torch, on the tensors' own memory: fastbp::forward, pull_back, push_forward.

They come with fake kernels, for torch.compile, and without derivatives: those are the autograd functions'.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core import DeviceArray
from .._device import at
from ._nets import core_of, layout_of
from ._passes import device_of, in_order, on_stream_of, places_of, run_forward, run_pull_back

DEVICE_TYPES = ("cpu", "cuda")


def array(tensor: Tensor) -> Any:
    """Its memory as the core takes it, whatever autograd knows of it; a copy only of what lies with gaps."""
    return tensor.contiguous().numpy(force=True) if tensor.is_cpu else in_order(tensor.detach())


def tensor_of(result: Any) -> Tensor:
    """A result of the core, on its memory."""
    return torch.from_dlpack(result) if isinstance(result, DeviceArray) else torch.from_numpy(result)


def parts(flat: Any, architecture: str) -> list[Tensor]:
    """w(1), b(1), .. of a flat array, each a tensor on its part of the memory."""
    layout = layout_of(architecture)
    places = zip(layout.parts, layout.shapes, strict=True)
    if isinstance(flat, DeviceArray):
        return [tensor_of(flat.part(part.start, shape)) for part, shape in places]
    return [tensor_of(flat[part].reshape(shape)) for part, shape in places]


@torch.library.custom_op("fastbp::forward", mutates_args=(), device_types=DEVICE_TYPES)
def forward(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> tuple[Tensor, Tensor]:
    """x(L), and what a pull_back needs, nothing unless `keep`."""
    x, *given = map(in_order, (x, *parameters))
    places = places_of(architecture, x, given)
    if places is None:
        raise ValueError("x and the parameters do not fit the architecture")
    return run_forward(architecture, x, places, keep)


@torch.library.custom_op("fastbp::pull_back", mutates_args=(), device_types=DEVICE_TYPES)
def pull_back(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grads: bool
) -> tuple[Tensor, list[Tensor]]:
    """The gradients by x and by each parameter, none unless wanted; where nothing was kept after a forward pass."""
    if kept.numel() == 0:
        _, kept = forward(x, parameters, architecture, True)
    x, *parameters = map(in_order, (x, *parameters))
    input_grad, grads = run_pull_back(architecture, x, cotangent, kept, parameters, wants_grads, True)
    assert input_grad is not None  # it was wanted
    return input_grad, grads


@torch.library.custom_op("fastbp::push_forward", mutates_args=(), device_types=DEVICE_TYPES)
def push_forward(
    x: Tensor, cotangent: Tensor, u: Tensor | None, v: Sequence[Tensor | None], parameters: Sequence[Tensor],
    architecture: str,
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    """How x(L), and the results of pull_back, change along u in x and v in the parameters; None does not move."""
    core, names = core_of(architecture, x.dtype, device_of(x)), ["output_dot", "input_grad_dot", "grad_dot"]
    with on_stream_of(x):
        dots = core.push_forward(
            "backward", [array(p) for p in parameters], array(x), None, None, "sum", None, _flat(v, parameters),
            None if u is None else array(u), array(cotangent), False, None, names,
        )  # fmt: skip
    output_dot, input_grad_dot, grad_dot = (dots[name] for name in names)
    return tensor_of(output_dot), tensor_of(input_grad_dot), parts(grad_dot, architecture)


def _flat(directions: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Any:
    if all(v is None for v in directions):
        return None
    given = (torch.zeros_like(p) if v is None else v for v, p in zip(directions, parameters, strict=True))
    return at(device_of(parameters[0]), np.concatenate([v.numpy(force=True).ravel() for v in given]))


@forward.register_fake
def _(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> tuple[Tensor, Tensor]:
    rows, layout = x.shape[0], layout_of(architecture)
    return x.new_empty(rows, layout.outputs), x.new_empty(rows * layout.kept_per_row if keep else 0)


@pull_back.register_fake
def _(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grads: bool
) -> tuple[Tensor, list[Tensor]]:
    return x.new_empty(x.shape), [p.new_empty(p.shape) for p in parameters] if wants_grads else []


@push_forward.register_fake
def _(
    x: Tensor, cotangent: Tensor, u: Tensor | None, v: Sequence[Tensor | None], parameters: Sequence[Tensor],
    architecture: str,
) -> tuple[Tensor, Tensor, list[Tensor]]:  # fmt: skip
    return cotangent.new_empty(cotangent.shape), x.new_empty(x.shape), [p.new_empty(p.shape) for p in parameters]

"""The core's two passes on the memory of tensors, which goes to it by address."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .. import _core
from ..cuda import stream
from ._nets import core_of, layout_of


def device_of(tensor: Tensor) -> str:
    """Its device as fastbp names it."""
    return "cpu" if tensor.is_cpu else f"cuda:{tensor.get_device()}"


def on_stream_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Where it lies on a GPU, the core's calls follow torch's current stream there."""
    return nullcontext() if tensor.is_cpu else stream(torch.cuda.current_stream(tensor.device))


def places_of(architecture: str, x: Tensor, parameters: Sequence[Tensor]) -> list[int] | None:
    """Where rows x and the parameters lie; None where their memory is not what the core reads as it is."""
    layout = layout_of(architecture)
    shapes = (x.shape[0], layout.inputs), *layout.shapes
    return _core.addresses((x, *parameters), shapes, x.dtype, x.get_device())


def run_forward(architecture: str, x: Tensor, places: Sequence[int], keep: bool) -> tuple[Tensor, Tensor]:
    """x(L) of rows x, and what `run_pull_back` needs, nothing unless `keep`: equations (1) and (2)."""
    n, layout, (rows, *given) = x.shape[0], layout_of(architecture), places
    out, kept = x.new_empty(n, layout.outputs), x.new_empty(n * layout.kept_per_row if keep else 0)
    with on_stream_of(x):
        core_of(architecture, x.dtype, device_of(x)).forward_at(given, rows, n, out.data_ptr(), kept.data_ptr())
    return out, kept


def run_pull_back(
    architecture: str, x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor],
    wants_grads: bool, wants_input_grad: bool,
) -> tuple[Tensor | None, list[Tensor]]:  # fmt: skip
    """The gradients by x and by the parameters, w(1), b(1), ..: equations (3) to (7)."""
    n, layout, cotangent = x.shape[0], layout_of(architecture), in_order(cotangent)
    shapes = (n, layout.inputs), (n, layout.outputs), (n * layout.kept_per_row,), *layout.shapes
    places = _core.addresses((x, cotangent, kept, *parameters), shapes, x.dtype, x.get_device())
    if places is None:
        raise ValueError("x, a parameter or what the forward pass kept has changed its form since that pass")
    grads = [torch.empty_like(p) for p in parameters] if wants_grads else []
    input_grad = torch.empty_like(x) if wants_input_grad else None
    rows, slopes, memory, *given = places
    with on_stream_of(x):
        core_of(architecture, x.dtype, device_of(x)).pull_back_at(
            given, rows, n, memory, slopes, [g.data_ptr() for g in grads],
            0 if input_grad is None else input_grad.data_ptr(),
        )  # fmt: skip
    return input_grad, grads


def in_order(tensor: Tensor) -> Tensor:
    """Itself where its numbers lie in their order, without gaps and in their own sign; else a copy."""
    return tensor.contiguous().resolve_neg()

"""The core's methods as operators of torch, on the tensors' own memory: fastbp::forward, pull_back, push_forward.

They come with fake kernels and without derivatives: those are the autograd functions'. torch.library.custom_op is the
same in more words and takes three times as long to call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._nets import core_of, layout_of

Some = Tensor | None
SCHEMAS = {
    "forward": "(Tensor x, Tensor[] parameters, str architecture, bool keep) -> (Tensor, Tensor)",
    "pull_back": "(Tensor x, Tensor cotangent, Tensor kept, Tensor[] parameters, str architecture, bool wants_grads)"
    " -> (Tensor, Tensor[])",
    "push_forward": "(Tensor x, Tensor cotangent, Tensor? u, Tensor?[] v, Tensor[] parameters, str architecture)"
    " -> (Tensor, Tensor, Tensor[])",
}


def array(tensor: Tensor) -> Any:
    """Its memory as NumPy sees it, whatever autograd knows of it; a copy only of what lies with gaps."""
    return tensor.contiguous().numpy(force=True)


def parts(flat: Any, architecture: str) -> list[Tensor]:
    """w(1), b(1), .. of a flat array, each a tensor on its part of the memory."""
    return [torch.from_numpy(flat[part].reshape(shape)) for part, shape in layout_of(architecture).parts]


def forward_kernel(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> tuple[Tensor, Tensor]:
    """x(L), and what a pull_back needs, nothing unless `keep`."""
    core, given = core_of(architecture, x.dtype), [array(p) for p in parameters]
    if not keep:
        return torch.from_numpy(core.forward(given, array(x), None)), x.new_empty(0)
    out, kept = core.forward_kept(given, array(x))
    return torch.from_numpy(out), torch.from_numpy(kept)


def pull_back_kernel(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grads: bool
) -> tuple[Tensor, list[Tensor]]:
    """The gradients by x and by each parameter, none unless wanted; where nothing was kept after a forward pass."""
    core, given, rows = core_of(architecture, x.dtype), [array(p) for p in parameters], array(x)
    memory = array(kept) if kept.numel() else core.forward_kept(given, rows)[1]
    grad, input_grad = core.pull_back(given, rows, memory, array(cotangent))
    return torch.from_numpy(input_grad), parts(grad, architecture) if wants_grads else []


def push_forward_kernel(
    x: Tensor, cotangent: Tensor, u: Some, v: Sequence[Some], parameters: Sequence[Tensor], architecture: str
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """How x(L), and the results of pull_back, change along u in x and v in the parameters; None does not move."""
    core, names = core_of(architecture, x.dtype), ["output_dot", "input_grad_dot", "grad_dot"]
    dots = core.push_forward(
        "backward", [array(p) for p in parameters], array(x), None, None, True, None, _flat(v, parameters),
        None if u is None else array(u), array(cotangent), False, None, names,
    )  # fmt: skip
    output_dot, input_grad_dot, grad_dot = (dots[name] for name in names)
    return torch.from_numpy(output_dot), torch.from_numpy(input_grad_dot), parts(grad_dot, architecture)


def _flat(directions: Sequence[Some], parameters: Sequence[Tensor]) -> Any:
    if all(v is None for v in directions):
        return None
    given = (torch.zeros_like(p) if v is None else v for v, p in zip(directions, parameters, strict=True))
    return np.concatenate([array(v).ravel() for v in given])


def forward_fake(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> tuple[Tensor, Tensor]:
    """Memory of the right forms, as torch.compile asks for it; so for the others."""
    rows, layout = x.shape[0], layout_of(architecture)
    return x.new_empty(rows, layout.outputs), x.new_empty(rows * layout.kept_per_row if keep else 0)


def pull_back_fake(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grads: bool
) -> tuple[Tensor, list[Tensor]]:
    return x.new_empty(x.shape), [p.new_empty(p.shape) for p in parameters] if wants_grads else []


def push_forward_fake(
    x: Tensor, cotangent: Tensor, u: Some, v: Sequence[Some], parameters: Sequence[Tensor], architecture: str
) -> tuple[Tensor, Tensor, list[Tensor]]:
    return cotangent.new_empty(cotangent.shape), x.new_empty(x.shape), [p.new_empty(p.shape) for p in parameters]


def _operator(name: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    torch.library.define(f"fastbp::{name}", SCHEMAS[name])
    torch.library.impl(f"fastbp::{name}", "cpu", kernel)
    torch.library.register_fake(f"fastbp::{name}", fake)
    return getattr(torch.ops.fastbp, name).default


forward = _operator("forward", forward_kernel, forward_fake)
pull_back = _operator("pull_back", pull_back_kernel, pull_back_fake)
push_forward = _operator("push_forward", push_forward_kernel, push_forward_fake)

"""The core's methods as operators of torch, on the tensors' own memory: fastbp::forward, pull_back, push_forward.

They come with fake kernels and without derivatives: those are the autograd functions'. torch.library.custom_op is the
same in more words and takes three times as long to call.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._nets import core_of, widths

Pair = tuple[Tensor, Tensor]
Triple = tuple[Tensor, Tensor, Tensor]

for _schema in (
    "forward(Tensor x, Tensor[] parameters, str architecture, bool keep) -> (Tensor, Tensor)",
    "pull_back(Tensor x, Tensor cotangent, Tensor kept, Tensor[] parameters, str architecture, bool wants_grad)"
    " -> (Tensor, Tensor)",
    "push_forward(Tensor x, Tensor cotangent, Tensor? v, Tensor? u, Tensor[] parameters, str architecture)"
    " -> (Tensor, Tensor, Tensor)",
):
    torch.library.define(f"fastbp::{_schema.partition('(')[0]}", _schema[_schema.index("(") :])

forward: Any = torch.ops.fastbp.forward.default
pull_back: Any = torch.ops.fastbp.pull_back.default
push_forward: Any = torch.ops.fastbp.push_forward.default


def array(tensor: Tensor) -> Any:
    """Its memory as NumPy sees it, whatever autograd knows of it; a copy only of what lies with gaps."""
    return tensor.contiguous().numpy(force=True)


@torch.library.impl("fastbp::forward", "cpu")
def _forward(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> Pair:
    """x(L), and what a pull_back needs, nothing unless `keep`."""
    core, given = core_of(architecture, x.dtype), [array(p) for p in parameters]
    if not keep:
        return torch.from_numpy(core.forward(given, array(x), None)), x.new_empty(0)
    out, kept = core.forward_kept(given, array(x))
    return torch.from_numpy(out), torch.from_numpy(kept)


@torch.library.impl("fastbp::pull_back", "cpu")
def _pull_back(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grad: bool
) -> Pair:
    """The flat gradient, empty unless wanted, and that by x; where nothing was kept there is one more forward pass."""
    core, given, rows = core_of(architecture, x.dtype), [array(p) for p in parameters], array(x)
    memory = array(kept) if kept.numel() else core.forward_kept(given, rows)[1]
    grad, input_grad = core.pull_back(given, rows, memory, array(cotangent))
    return torch.from_numpy(grad) if wants_grad else x.new_empty(0), torch.from_numpy(input_grad)


@torch.library.impl("fastbp::push_forward", "cpu")
def _push_forward(
    x: Tensor, cotangent: Tensor, v: Tensor | None, u: Tensor | None, parameters: Sequence[Tensor], architecture: str
) -> Triple:
    """How the results of pull_back, and x(L), change along v in the parameters and u in x."""
    v_, u_ = (None if direction is None else array(direction) for direction in (v, u))
    names = ["grad_dot", "input_grad_dot", "output_dot"]
    dots = core_of(architecture, x.dtype).push_forward(
        "backward", [array(p) for p in parameters], array(x), None, None, True, None, v_, u_, array(cotangent), False,
        None, names,
    )  # fmt: skip
    grad_dot, input_grad_dot, output_dot = (torch.from_numpy(dots[name]) for name in names)
    return grad_dot, input_grad_dot, output_dot


@torch.library.register_fake("fastbp::forward")
def _fake_forward(x: Tensor, parameters: Sequence[Tensor], architecture: str, keep: bool) -> Pair:
    rows, (_, outputs, _, kept_per_row) = x.shape[0], widths(architecture)
    return x.new_empty(rows, outputs), x.new_empty(rows * kept_per_row if keep else 0)


@torch.library.register_fake("fastbp::pull_back")
def _fake_pull_back(
    x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor], architecture: str, wants_grad: bool
) -> Pair:
    inputs, _, count, _ = widths(architecture)
    return x.new_empty(count if wants_grad else 0), x.new_empty(x.shape[0], inputs)


@torch.library.register_fake("fastbp::push_forward")
def _fake_push_forward(
    x: Tensor, cotangent: Tensor, v: Tensor | None, u: Tensor | None, parameters: Sequence[Tensor], architecture: str
) -> Triple:
    inputs, outputs, count, _ = widths(architecture)
    return x.new_empty(count), x.new_empty(x.shape[0], inputs), x.new_empty(x.shape[0], outputs)

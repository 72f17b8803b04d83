"""The core's two passes on the memory of tensors, which goes to it by address."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._nets import core_of, layout_of


def run_forward(architecture: str, x: Tensor, parameters: Sequence[Tensor], keep: bool) -> tuple[Tensor, Tensor]:
    """x(L) of rows x, and what `run_pull_back` needs, nothing unless `keep`: equations (1) and (2)."""
    n, layout = len(x), layout_of(architecture)
    out, kept = x.new_empty(n, layout.outputs), x.new_empty(n * layout.kept_per_row if keep else 0)
    given, rows = [p.contiguous() for p in parameters], x.contiguous()
    core_of(architecture, x.dtype).forward_at(
        [p.data_ptr() for p in given], rows.data_ptr(), n, out.data_ptr(), kept.data_ptr()
    )
    return out, kept


def run_pull_back(
    architecture: str, x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor],
    wants_grads: bool, wants_input_grad: bool,
) -> tuple[Tensor | None, list[Tensor]]:  # fmt: skip
    """The gradients by x and by the parameters, w(1), b(1), ..: equations (3) to (7)."""
    given, rows, slopes = [p.contiguous() for p in parameters], x.contiguous(), cotangent.contiguous()
    grads = [torch.empty_like(p) for p in given] if wants_grads else []
    input_grad = torch.empty_like(rows) if wants_input_grad else None
    core_of(architecture, x.dtype).pull_back_at(
        [p.data_ptr() for p in given], rows.data_ptr(), len(x), kept.data_ptr(), slopes.data_ptr(),
        [g.data_ptr() for g in grads], 0 if input_grad is None else input_grad.data_ptr(),
    )  # fmt: skip
    return input_grad, grads

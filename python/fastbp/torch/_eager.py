"""The output of a net: the short way where nothing but autograd looks on, else by the operators.

A step of a small net is calls, not arithmetic. An autograd function that torch.func, vmap and torch.compile can look
into takes twice the time of a plain one, so there is a plain one as well, with the same results.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import _operators
from ._derivatives import Forward, PullBack
from ._nets import core_of
from ._operators import array, parts

PLAIN_TYPES = {Tensor, nn.Parameter}


def _always() -> bool:
    return True


# Not public: in a torch that has them no more everything goes the long way.
transforms_are_active = getattr(torch._C, "_are_functorch_transforms_active", _always)
modes_are_active = getattr(torch._C, "_len_torch_dispatch_stack", _always)


def output(architecture: str, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """x(L) of rows x, differentiable."""
    keep = torch.is_grad_enabled() and (x.requires_grad or any([p.requires_grad for p in parameters]))
    if not torch.compiler.is_compiling() and x.is_cpu and _alone(x, *parameters):
        out: Tensor = Plain.apply(architecture, keep, x, *parameters)
        return out
    if torch.compiler.is_compiling() and not keep:  # Dynamo would call forward with a context too many
        out, _ = _operators.forward(x, parameters, architecture, False)
    else:
        out, _ = Forward.apply(architecture, keep, x, *parameters)
    return out


class Plain(torch.autograd.Function):
    """`Forward`, and `PullBack` behind it, in as few calls as can be."""

    @staticmethod
    def forward(ctx: Any, architecture: str, keep: bool, x: Tensor, *parameters: Tensor) -> Tensor:
        core, given = core_of(architecture, x.dtype), [array(p) for p in parameters]
        if not keep:
            return torch.from_numpy(core.forward(given, array(x), None))
        out, kept = core.forward_kept(given, array(x))
        ctx.architecture, ctx.arrays = architecture, given
        ctx.save_for_backward(x, torch.from_numpy(kept), *parameters)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        x, kept, *parameters = ctx.saved_tensors  # torch refuses what has been written since
        _, _, wants_input_grad, *wanted = ctx.needs_input_grad
        wants_grads = True in wanted
        if torch.is_grad_enabled() or forward_ad.unpack_dual(cotangent).tangent is not None or not _alone(cotangent):
            input_grad, *grads = PullBack.apply(ctx.architecture, wants_grads, x, cotangent, kept, *parameters)
        else:
            core = core_of(ctx.architecture, x.dtype)
            grad, rows_grad = core.pull_back(
                ctx.arrays, array(x), array(kept), array(cotangent), wants_grads, wants_input_grad
            )
            input_grad = torch.from_numpy(rows_grad) if wants_input_grad else None
            grads = parts(grad, ctx.architecture) if wants_grads else []
        return None, None, input_grad, *(grads or [None] * len(parameters))


def _alone(*tensors: Tensor) -> bool:
    return not (transforms_are_active() or modes_are_active()) and PLAIN_TYPES.issuperset(map(type, tensors))

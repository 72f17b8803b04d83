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
from ._passes import run_forward, run_pull_back

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
        out, kept = run_forward(architecture, x, parameters, keep)
        if keep:
            ctx.architecture = architecture
            ctx.save_for_backward(x, kept, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        x, kept, *parameters = ctx.saved_tensors  # torch refuses what has been written since
        _, _, wants_input_grad, *wanted = ctx.needs_input_grad
        wants_grads = True in wanted
        if torch.is_grad_enabled() or forward_ad.unpack_dual(cotangent).tangent is not None or not _alone(cotangent):
            input_grad, *grads = PullBack.apply(ctx.architecture, wants_grads, x, cotangent, kept, *parameters)
        else:
            input_grad, grads = run_pull_back(
                ctx.architecture, x, cotangent, kept, parameters, wants_grads, wants_input_grad
            )
        return None, None, input_grad, *(grads or [None] * len(parameters))


def _alone(*tensors: Tensor) -> bool:
    """Nothing looks on, and the tensors are what their memory says."""
    plain = PLAIN_TYPES.issuperset(map(type, tensors)) and True not in map(Tensor.is_neg, tensors)
    return plain and not (transforms_are_active() or modes_are_active())

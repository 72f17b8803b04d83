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
from ._checks import DTYPES
from ._derivatives import apply_forward, apply_pull_back, refuse_forward_mode
from ._passes import in_order, places_of, run_forward, run_pull_back

PLAIN_TYPES = {Tensor, nn.Parameter}


def _always() -> bool:
    return True


# Not public: in a torch that has them no more everything goes the long way.
transforms_are_active = getattr(torch._C, "_are_functorch_transforms_active", _always)
modes_are_active = getattr(torch._C, "_len_torch_dispatch_stack", _always)
traced = getattr(torch._C, "_get_tracing_state", _always)  # by torch.jit


def output(architecture: str, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """x(L) of rows x, differentiable."""
    if torch.compiler.is_compiling() and not _keeps(x, parameters):  # Dynamo would call forward with a context too many
        out, _ = _operators.forward(x, parameters, architecture, False)
        return out
    if not torch.compiler.is_compiling() and not x.is_meta:
        short = short_output(architecture, in_order(x), [in_order(p) for p in parameters])
        if short is not None:
            return short
    out, _ = apply_forward(architecture, _keeps(x, parameters), x, *parameters)
    return out


def short_output(architecture: str, x: Tensor, parameters: Sequence[Tensor]) -> Tensor | None:
    """The same where the short way is open: nothing looks on, and all fits and lies as the core reads it. Else None."""
    if torch.compiler.is_compiling() or not _alone(x, *parameters) or x.dim() != 2 or x.dtype not in DTYPES:
        return None
    try:
        places = places_of(architecture, x, parameters)
    except RuntimeError:  # no numbers of its own: nested, or left behind by a transform, which the long way unwraps
        return None
    if places is None:
        return None
    out: Tensor = apply_plain(architecture, _keeps(x, parameters), places, x, *parameters)
    return out


class Plain(torch.autograd.Function):
    """`Forward`, and `PullBack` behind it, in as few calls as can be."""

    jvp = staticmethod(refuse_forward_mode)

    @staticmethod
    def forward(
        ctx: Any, architecture: str, keep: bool, places: Sequence[int], x: Tensor, *parameters: Tensor
    ) -> Tensor:
        out, kept = run_forward(architecture, x, places, keep)
        if keep:
            ctx.architecture = architecture
            ctx.save_for_backward(x, kept, *parameters)
        return out

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        x, kept, *parameters = ctx.saved_tensors  # torch refuses what has been written since
        _, _, _, wants_input_grad, *wanted = ctx.needs_input_grad
        wants_grads = True in wanted
        if torch.is_grad_enabled() or forward_ad.unpack_dual(cotangent).tangent is not None or not _alone(cotangent):
            input_grad, *grads = apply_pull_back(ctx.architecture, wants_grads, x, cotangent, kept, *parameters)
        else:
            input_grad, grads = run_pull_back(
                ctx.architecture, x, cotangent, kept, parameters, wants_grads, wants_input_grad
            )
        return None, None, None, input_grad, *(grads or [None] * len(parameters))


# Plain.apply without its search for tensors that a transform of torch.func has left behind, which takes longer than the
# rest of it: they tell no address, and `short_output` has left them to the long way.
apply_plain = super(torch.autograd.Function, Plain).apply


def _keeps(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """Whether a backward pass may come."""
    return torch.is_grad_enabled() and (x.requires_grad or any([p.requires_grad for p in parameters]))


def _alone(*tensors: Tensor) -> bool:
    looked_at = transforms_are_active() or modes_are_active() or traced()
    return not looked_at and PLAIN_TYPES.issuperset(map(type, tensors))

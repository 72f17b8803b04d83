"""The operators' derivatives, one autograd function per order, in reverse mode, with rules for vmap.

In forward mode they raise an error that names the alternatives. Dynamo cannot compile a function with a method jvp, so
this method belongs to subclasses, which are used outside of compiled code.
"""

from typing import Any

import torch
from torch import Tensor

from . import _operators


def refuse_forward_mode(ctx: Any, *tangents: Any) -> Any:
    """Raise NotImplementedError, as the method jvp of the autograd functions."""
    raise NotImplementedError(
        "fastbp.torch.MLP has no forward mode, which torch.func.jvp, jacfwd, hessian and linearize use: use "
        "torch.func.jacrev for a Jacobian and jacrev(jacrev(f)) for a Hessian; for products along a direction, jvp and "
        "hvp of fastbp.MLP"
    )


class Forward(torch.autograd.Function):
    """x(L) and what is kept, equations (1) and (2)."""

    @staticmethod
    def forward(architecture: str, keep: bool, x: Tensor, *parameters: Tensor) -> Any:
        return _operators.forward(x, parameters, architecture, keep)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        architecture, _, x, *parameters = inputs
        ctx.architecture = architecture
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, output[1], *parameters)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None, _: Any) -> Any:
        if cotangent is None:
            return (None,) * len(ctx.needs_input_grad)
        x, kept, *parameters = ctx.saved_tensors
        wants_grads = any(ctx.needs_input_grad[3:])
        if torch.compiler.is_compiling() and not torch.is_grad_enabled():  # Dynamo takes no function in a backward
            input_grad, grads = _operators.pull_back(x, cotangent, kept, parameters, ctx.architecture, wants_grads)
        else:
            input_grad, *grads = apply_pull_back(ctx.architecture, wants_grads, x, cotangent, kept, *parameters)
        return None, None, input_grad, *(grads or [None] * len(parameters))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], architecture: str, keep: bool, x: Tensor, *parameters: Tensor) -> Any:
        """Batches of x alone are one large batch; what it keeps belongs to none of its members."""
        _, _, of_x, *of_parameters = in_dims
        if any(dim is not None for dim in of_parameters):
            return _each(apply_forward, info, in_dims, (architecture, keep, x, *parameters))
        rows = x.movedim(of_x, 0)
        out, kept = apply_forward(architecture, keep, rows.flatten(0, 1), *parameters)
        return (out.unflatten(0, rows.shape[:2]), kept), (0, None)


class PullBack(torch.autograd.Function):
    """The gradients by x and by the parameters, equations (3) to (7)."""

    @staticmethod
    def forward(
        architecture: str, wants_grads: bool, x: Tensor, cotangent: Tensor, kept: Tensor, *parameters: Tensor
    ) -> Any:
        input_grad, grads = _operators.pull_back(x, cotangent, kept, parameters, architecture, wants_grads)
        return input_grad, *grads

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        architecture, _, x, cotangent, _, *parameters = inputs
        ctx.architecture = architecture
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, cotangent, *parameters)

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, *v: Tensor | None) -> Any:
        """Second derivatives of sum(cotangent * x(L)) are symmetric: along (u, v) they are what (u, v) pulls back."""
        if u is None and all(direction is None for direction in v):
            return (None,) * len(ctx.needs_input_grad)
        x, cotangent, *parameters = ctx.saved_tensors
        directions = v or [None] * len(parameters)
        output_dot, input_grad_dot, *grad_dots = apply_push_forward(
            ctx.architecture, x, cotangent, u, *directions, *parameters
        )
        return None, None, input_grad_dot, output_dot, None, *grad_dots

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], architecture: str, wants_grads: bool, x: Tensor, cotangent: Tensor,
        kept: Tensor, *parameters: Tensor,
    ) -> Any:  # fmt: skip
        """Rows alone are one large batch, as they were on the way forward; else each member has its own gradients."""
        _, _, of_x, of_cotangent, of_kept, *of_parameters = in_dims
        shared = all(dim is None for dim in of_parameters)
        if shared and not wants_grads and of_x is not None and of_kept is None:
            x, cotangent = (_batched(t, dim, info) for t, dim in ((x, of_x), (cotangent, of_cotangent)))
            rows = x.flatten(0, 1), cotangent.flatten(0, 1)
            (input_grad,) = apply_pull_back(architecture, False, *rows, kept, *parameters)
            return (input_grad.unflatten(0, x.shape[:2]),), (0,)
        if of_kept is None and not (shared and of_x is None):
            kept = kept.new_empty(0)  # it is of the large batch
        return _each(apply_pull_back, info, in_dims, (architecture, wants_grads, x, cotangent, kept, *parameters))


class PushForward(torch.autograd.Function):
    """The change of pull_back's results along a direction, equations (8) to (11)."""

    @staticmethod
    def forward(architecture: str, x: Tensor, cotangent: Tensor, u: Tensor | None, *v_and_parameters: Any) -> Any:
        count = len(v_and_parameters) // 2
        v, parameters = v_and_parameters[:count], v_and_parameters[count:]
        output_dot, input_grad_dot, grad_dots = _operators.push_forward(x, cotangent, u, v, parameters, architecture)
        return output_dot, input_grad_dot, *grad_dots

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise NotImplementedError(
            "fastbp.torch.MLP has first and second derivatives only, and this asks for a third: its double backward "
            "cannot be differentiated again"
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        return _each(apply_push_forward, info, in_dims, arguments)


class EagerForward(Forward):
    """`Forward` outside of compiled code."""

    jvp = staticmethod(refuse_forward_mode)


class EagerPullBack(PullBack):
    """`PullBack` outside of compiled code."""

    jvp = staticmethod(refuse_forward_mode)


class EagerPushForward(PushForward):
    """`PushForward` outside of compiled code."""

    jvp = staticmethod(refuse_forward_mode)


def apply_forward(*arguments: Any) -> Any:
    """Apply `Forward`."""
    return (Forward if torch.compiler.is_compiling() else EagerForward).apply(*arguments)


def apply_pull_back(*arguments: Any) -> Any:
    """Apply `PullBack`."""
    return (PullBack if torch.compiler.is_compiling() else EagerPullBack).apply(*arguments)


def apply_push_forward(*arguments: Any) -> Any:
    """Apply `PushForward`."""
    return (PushForward if torch.compiler.is_compiling() else EagerPushForward).apply(*arguments)


def _batched(tensor: Tensor, dim: int | None, info: Any) -> Tensor:
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _each(apply: Any, info: Any, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """vmap member by member."""
    if info.batch_size == 0:
        raise ValueError("vmap over 0 sets of parameters or gradients, expected at least one")
    results = [
        apply(*(a if dim is None else a.select(dim, k) for a, dim in zip(arguments, in_dims, strict=True)))
        for k in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(members) for members in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)

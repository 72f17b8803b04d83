"""The operators' derivatives, one autograd function per order, in reverse mode, with rules for vmap."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import _operators


class _Reverse(torch.autograd.Function):
    """What the orders share. Without a method jvp, so torch refuses forward mode, of which there is none."""

    def __init_subclass__(cls) -> None:
        # apply asks for the signature with each call; found here it takes a third of the time
        cls.forward.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]


class Forward(_Reverse):
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
        if torch.is_grad_enabled() or forward_ad.unpack_dual(cotangent).tangent is not None:
            input_grad, *grads = PullBack.apply(ctx.architecture, wants_grads, x, cotangent, kept, *parameters)
        else:  # no second derivatives: without a node of the graph it takes half the time
            input_grad, grads = _operators.pull_back(x, cotangent, kept, parameters, ctx.architecture, wants_grads)
        return None, None, input_grad, *(grads or [None] * len(parameters))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], architecture: str, keep: bool, x: Tensor, *parameters: Tensor) -> Any:
        """Batches of x alone are one large batch; what it keeps belongs to none of its members."""
        _, _, of_x, *of_parameters = in_dims
        if any(dim is not None for dim in of_parameters):
            return _each(Forward.apply, info, in_dims, (architecture, keep, x, *parameters))
        rows = x.movedim(of_x, 0)
        out, kept = Forward.apply(architecture, keep, rows.flatten(0, 1), *parameters)
        return (out.unflatten(0, rows.shape[:2]), kept), (0, None)


class PullBack(_Reverse):
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
        output_dot, input_grad_dot, *grad_dots = PushForward.apply(
            ctx.architecture, x, cotangent, u, *directions, *parameters
        )
        return None, None, input_grad_dot, output_dot, None, *grad_dots

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
        return _pull_back_members(PullBack.apply, info, in_dims, *arguments)


def _pull_back_members(
    call: Any, info: Any, in_dims: tuple[Any, ...], architecture: str, wants_grads: bool, x: Tensor, cotangent: Tensor,
    kept: Tensor, *parameters: Tensor,
) -> Any:  # fmt: skip
    """Rows alone are one large batch, as they were on the way forward; else each member has its own gradients."""
    _, _, of_x, of_cotangent, of_kept, *of_parameters = in_dims
    shared = all(dim is None for dim in of_parameters)
    if shared and not wants_grads and of_x is not None and of_kept is None:
        x, cotangent = (_batched(t, dim, info) for t, dim in ((x, of_x), (cotangent, of_cotangent)))
        rows = x.flatten(0, 1), cotangent.flatten(0, 1)
        (input_grad,) = call(architecture, False, *rows, kept, *parameters)
        return (input_grad.unflatten(0, x.shape[:2]),), (0,)
    if of_kept is None and not (shared and of_x is None):
        kept = kept.new_empty(0)  # it is of the large batch
    return _each(call, info, in_dims, (architecture, wants_grads, x, cotangent, kept, *parameters))


@torch.library.register_vmap("fastbp::pull_back")
def _(
    info: Any, in_dims: tuple[Any, ...], x: Tensor, cotangent: Tensor, kept: Tensor, parameters: Sequence[Tensor],
    architecture: str, wants_grads: bool,
) -> Any:  # fmt: skip
    """For Forward.backward, which calls the operator where it can."""
    *of_rows, of_parameters, _, _ = in_dims
    dims = (None, None, *of_rows, *(of_parameters or [None] * len(parameters)))
    (input_grad, *grads), _ = _pull_back_members(
        PullBack.forward, info, dims, architecture, wants_grads, x, cotangent, kept, *parameters
    )
    return (input_grad, grads), (0, [0] * len(grads))


class PushForward(_Reverse):
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
        return _each(PushForward.apply, info, in_dims, arguments)


def _batched(tensor: Tensor, dim: int | None, info: Any) -> Tensor:
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _each(call: Any, info: Any, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """vmap member by member."""
    results = [
        call(*(a if dim is None else a.select(dim, k) for a, dim in zip(arguments, in_dims, strict=True)))
        for k in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(members) for members in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)

"""The operators' derivatives, one autograd function per order, in reverse mode, with rules for vmap."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import _operators


class _Reverse(torch.autograd.Function):
    """What the orders share."""

    def __init_subclass__(cls) -> None:
        # apply asks for the signature with each call; found here it takes a third of the time
        cls.forward.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuses: without this torch would ask for something that the caller cannot write."""
        raise NotImplementedError(
            "fastbp.torch.MLP has no forward mode: use torch.func.vjp, grad or jacrev in place of jvp, jacfwd and "
            "hessian (jacrev of jacrev), or fastbp.MLP.jvp"
        )


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
        wants_grad = any(ctx.needs_input_grad[3:])
        grad, input_grad = PullBack.apply(ctx.architecture, wants_grad, x, cotangent, kept, *parameters)
        return None, None, input_grad, *(views(grad, parameters) if wants_grad else (None,) * len(parameters))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], architecture: str, keep: bool, x: Tensor, *parameters: Tensor) -> Any:
        """Batches of x alone are one large batch; what it keeps belongs to none of its members."""
        _, _, of_x, *of_parameters = in_dims
        if any(dim is not None for dim in of_parameters):
            return _each(Forward, info.batch_size, in_dims, (architecture, keep, x, *parameters))
        rows = x.movedim(of_x, 0)
        out, kept = Forward.apply(architecture, keep, rows.flatten(0, 1), *parameters)
        return (out.unflatten(0, rows.shape[:2]), kept), (0, None)


class PullBack(_Reverse):
    """The gradient by the parameters, flat, and by x, equations (3) to (7)."""

    @staticmethod
    def forward(
        architecture: str, wants_grad: bool, x: Tensor, cotangent: Tensor, kept: Tensor, *parameters: Tensor
    ) -> Any:
        return _operators.pull_back(x, cotangent, kept, parameters, architecture, wants_grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        architecture, _, x, cotangent, _, *parameters = inputs
        ctx.architecture = architecture
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, cotangent, *parameters)

    @staticmethod
    def backward(ctx: Any, v: Tensor | None, u: Tensor | None) -> Any:
        """Second derivatives of sum(cotangent * x(L)) are symmetric: along (v, u) they are what (v, u) pulls back."""
        v = None if v is None or v.numel() == 0 else v
        if v is None and u is None:
            return (None,) * len(ctx.needs_input_grad)
        x, cotangent, *parameters = ctx.saved_tensors
        grad_dot, input_grad_dot, output_dot = PushForward.apply(ctx.architecture, x, cotangent, v, u, *parameters)
        return None, None, input_grad_dot, output_dot, None, *views(grad_dot, parameters)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], architecture: str, wants_grad: bool, x: Tensor, cotangent: Tensor,
        kept: Tensor, *parameters: Tensor,
    ) -> Any:  # fmt: skip
        """Rows alone are one large batch, as they were on the way forward; else each member has its own gradient."""
        _, _, of_x, of_cotangent, of_kept, *of_parameters = in_dims
        shared = all(dim is None for dim in of_parameters)
        if shared and not wants_grad and of_x is not None and of_kept is None:
            x, cotangent = (_batched(t, dim, info) for t, dim in ((x, of_x), (cotangent, of_cotangent)))
            grad, input_grad = PullBack.apply(
                architecture, False, x.flatten(0, 1), cotangent.flatten(0, 1), kept, *parameters
            )
            return (grad, input_grad.unflatten(0, x.shape[:2])), (None, 0)
        if of_kept is None and not (shared and of_x is None):
            kept = kept.new_empty(0)  # it is of the large batch
        arguments = (architecture, wants_grad, x, cotangent, kept, *parameters)
        return _each(PullBack, info.batch_size, in_dims, arguments)


class PushForward(_Reverse):
    """The change of pull_back's results along a direction, equations (8) to (11)."""

    @staticmethod
    def forward(
        architecture: str, x: Tensor, cotangent: Tensor, v: Tensor | None, u: Tensor | None, *parameters: Tensor
    ) -> Any:
        return _operators.push_forward(x, cotangent, v, u, parameters, architecture)

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
        return _each(PushForward, info.batch_size, in_dims, arguments)


def views(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """w(1), b(1), .. of a flat gradient."""
    parts = flat.split_with_sizes([p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]


def _batched(tensor: Tensor, dim: int | None, info: Any) -> Tensor:
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _each(function: Any, batch_size: int, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """vmap member by member."""
    results = [
        function.apply(*(a if dim is None else a.select(dim, k) for a, dim in zip(arguments, in_dims, strict=True)))
        for k in range(batch_size)
    ]
    stacked = tuple(torch.stack(members) for members in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)

"""The fused loss: the core's value and gradient in one call, added to `.grad` without autograd."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .._functions import Huber, Pinball, loss_number, output_activation
from ._checks import check_device, check_form
from ._eager import transforms_are_active
from ._nets import core_of, describe, functions_of, layout_of, sizes_of
from ._operators import array, parts
from ._passes import device_of, on_stream_of


def add_gradients(
    architecture: str, parameters: Sequence[Tensor], X: Tensor, y: Tensor, loss: Any, sample_weight: Any, reduction: Any
) -> float:
    """The value of the loss; its gradient is added to those parameters that require one."""
    if transforms_are_active():
        raise RuntimeError(
            "[loss] it adds to .grad in one call of the core, which transforms of torch.func cannot look into: "
            "take the module's output and a loss of torch's"
        )
    if X.is_meta:
        raise ValueError("[loss] X is on meta, where there are no numbers")
    if not isinstance(loss, (str, Huber, Pinball)):
        raise TypeError(f"[loss] loss is {loss!r}, expected a name, fb.Huber(..) or fb.Pinball(..)")
    number, settings = loss_number(loss, layout_of(architecture).outputs)
    numbers = number, None if settings is None else tuple(settings)
    core = core_of(_behind(architecture, str(loss)), X.dtype, device_of(X), numbers)
    wants_grad = torch.is_grad_enabled() and any([p.requires_grad for p in parameters])
    if wants_grad and not all([p.is_leaf for p in parameters]):
        raise ValueError("[loss] a parameter is itself computed, and .grad is for leaves: take forward and backward")
    with on_stream_of(X):
        value, grad = core.evaluate(
            "loss", [array(p) for p in parameters], array(X), _numbers("y", y),
            None if sample_weight is None else _numbers("sample_weight", sample_weight),
            reduction, None, None, wants_grad, False, 0.0,
        )  # fmt: skip
    if wants_grad:
        _add(parts(grad, architecture), parameters)
    return value


def _add(grads: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
    for p, grad in zip(parameters, grads, strict=True):
        if p.grad is not None and p.requires_grad:
            with torch.no_grad():
                p.grad += grad
        elif p.requires_grad:
            p.grad = grad


@lru_cache(maxsize=256)
def _behind(architecture: str, loss: str) -> str:
    """The architecture with the activation that belongs to the loss, where the module's own output has none."""
    sizes, functions = sizes_of(architecture), functions_of(architecture)
    if functions[-1][0] == "identity":
        functions[-1] = output_activation("auto", loss, sizes[-1])
    return describe(sizes, functions)


def _numbers(name: str, tensor: Any) -> Any:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"[loss] {name} is {type(tensor).__name__}, expected a Tensor")
    check_device(f"[loss] {name}", tensor)
    check_form(f"[loss] {name}", tensor)
    if tensor.is_meta:
        raise ValueError(f"[loss] {name} is on meta, where there are no numbers")
    if tensor.dtype == torch.bfloat16 or (tensor.is_floating_point() and tensor.itemsize < 2):
        raise TypeError(f"[loss] {name} has dtype {tensor.dtype}, which NumPy does not know: write {name}.float()")
    return array(tensor)

"""fastbp.torch: an nn.Module whose forward and backward passes are fastbp's.

`MLP` has ordinary parameters, for any optimiser of torch's, and works on their memory as it lies.

Examples
--------
>>> import torch
>>> from fastbp.torch import MLP
>>> model = MLP((4, 16, 3))
>>> model(torch.ones(8, 4)).sum().backward()
>>> [p.grad.shape == p.shape for p in model.parameters()]
[True, True, True, True]
"""

try:
    from ._module import MLP
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "torch":
        raise
    raise ImportError("fastbp.torch needs PyTorch, which is missing: pip install torch") from error

__all__ = ["MLP"]

"""fastbp.torch: an nn.Module whose forward and backward passes are fastbp's.

`MLP` has ordinary parameters, for any optimiser of torch's, and works on their memory as it lies.
"""

try:
    from ._module import MLP
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "torch":
        raise
    raise ImportError("fastbp.torch needs PyTorch, which is missing: pip install torch") from error

__all__ = ["MLP"]

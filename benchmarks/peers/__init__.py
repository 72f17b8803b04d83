"""The implementations that are compared, one module each, all with one function:

    prepare(sizes, params, X, y, batch, lr) -> an object with

    epoch(order=None)   one SGD step per mini-batch: rows as they lie, or in the order given; returns when done
    loss()              the mean over the rows of the last epoch of their losses, each before its step
    params()            w(1) b(1) .. w(L) b(L) as one float32 array, w(l) row-major (d(l-1), d(l))

The net has relu in its hidden layers, softmax and cross entropy behind the last; X is float32, y are class numbers.
`prepare` copies params. What can be made ready before the time is taken belongs into `prepare`.
"""

import importlib
import os
import shutil

# name in tables: module, and whether one call does a whole epoch without coming back to Python between its steps
PEERS = {
    "fastbp": ("fastbp_library", True),
    "NumPy": ("numpy_reference", False),
    "PyTorch": ("pytorch_eager", False),
    "PyTorch, compiled": ("pytorch_compiled", False),
    "JAX, jit": ("jax_step", False),
    "JAX, scan": ("jax_scan", True),
    "scikit-learn": ("scikit_learn", False),
}
NEEDS = {"fastbp": ["fastbp"], "NumPy": ["numpy"], "PyTorch": ["torch"], "PyTorch, compiled": ["torch"]}
NEEDS |= {"JAX, jit": ["jax"], "JAX, scan": ["jax"], "scikit-learn": ["sklearn"]}


def module(name):
    return importlib.import_module(f"peers.{PEERS[name][0]}")


def compiler():
    """The C++ compiler that torch.compile would call, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")

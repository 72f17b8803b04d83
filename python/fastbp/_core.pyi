"""fastbp's compiled core. Private: the package around it is the interface."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str
build_id: str

Array = NDArray[Any]
Parameters = Array | Sequence[Array]  # flat, or w(1), b(1), ..
LossFunction = Callable[[Any, Array], tuple[Array, Array]] | None

class StepRule:
    def __init__(
        self, *, kind: int, nesterov: bool = ..., centered: bool = ..., momentum: float = ..., dampening: float = ...,
        weight_decay: float = ..., betas: tuple[float, float] = ..., eps: float = ..., alpha: float = ...,
        lr_decay: float = ..., etas: tuple[float, float] = ..., step_sizes: tuple[float, float] = ...,
    ) -> None: ...
    @property
    def moment_count(self) -> int: ...

class Net:
    def __init__(
        self, widths: Sequence[int], activations: Sequence[int], activation_parameters: Sequence[float], loss: int,
        loss_parameters: Sequence[float] | None,
        dropout: Sequence[float], dtype: np.dtype[Any], l2: float, l1: float, deterministic: bool,
        device: str, weights_by_outputs: bool = ...,
    ) -> None: ...
    @property
    def parameter_count(self) -> int: ...
    def kept_size(self, n: int) -> int: ...
    def forward(self, params: Parameters, X: Any, out: Any) -> Array: ...
    def forward_kept(self, params: Parameters, X: Any) -> tuple[Array, Array]: ...
    def evaluate(
        self, method: str, params: Parameters, X: Any, y: Any, sample_weight: Any, sum: bool,
        loss_function: LossFunction, out: Any, wants_grad: bool, accumulate: bool, max_example_norm: float,
    ) -> tuple[float, Array]: ...
    def backward(
        self, params: Parameters, X: Any, y: Any, sample_weight: Any, sum: bool, loss_function: LossFunction,
        wanted: Sequence[str],
    ) -> dict[str, Any]: ...
    def pull_back(
        self, params: Parameters, X: Any, kept: Array, cotangent: Any, wants_grad: bool = ...,
        wants_input_grad: bool = ...,
    ) -> tuple[Any, Any]: ...
    def forward_at(self, params: Sequence[int], X: int, n: int, out: int, kept: int) -> None: ...
    def pull_back_at(
        self, params: Sequence[int], X: int, n: int, kept: int, cotangent: int, grads: Sequence[int], input_grad: int
    ) -> None: ...
    def push_forward(
        self, method: str, params: Parameters, X: Any, y: Any, sample_weight: Any, sum: bool,
        loss_function: LossFunction,
        v: Array | None, u: Any, cotangent: Any, gauss_newton: bool, out: Any, wanted: Sequence[str],
    ) -> dict[str, Array]: ...
    def check(
        self, method: str, X: Any, y: Any, sample_weight: Any, sum: bool, loss_function: LossFunction
    ) -> None: ...
    def run_epoch(
        self, method: str, params: Array, X: Any, y: Any, sample_weight: Any, loss_function: LossFunction,
        order: NDArray[np.int64] | None, rule: StepRule, moments: Sequence[Array], batch_size: int, drop_last: bool,
        lr: NDArray[np.float64], step: int, report: NDArray[np.float64], max_grad_norm: float,
        max_example_norm: float, grad_hook: Any, seed: int, progress: Callable[[int], None] | None,
        penalties_by_weight: bool, values: NDArray[np.float64] | None,
    ) -> None: ...

def update(
    rule: StepRule, dtype: np.dtype[Any], shape: Sequence[int], params: Array, grad: Array, moments: Sequence[Array],
    lr: float, step: int,
) -> None: ...
def addresses(tensors: Sequence[Any], shapes: Sequence[tuple[int, ...]], dtype: Any) -> list[int] | None: ...
def as_array(method: str, name: str, object: Any) -> NDArray[Any]: ...
def as_output(method: str, name: str, object: Any, dtype: np.dtype[Any], shape: Sequence[int]) -> NDArray[Any]: ...
def get_num_threads() -> int: ...
def jobs_taken() -> list[int]: ...
def set_num_threads(n: int) -> None: ...
def config() -> dict[str, str]: ...
def offer_blas(name: str, sgemm: int, dgemm: int) -> None: ...

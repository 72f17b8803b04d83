"""fastbp.torch.MLP: a fully connected network as a module of torch's."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .._arguments import sizes_of
from .._functions import Huber, Pinball, hidden_activations
from .._functions import output_activation as output_activation_of
from ._checks import check_dtype, check_input, check_parameters
from ._eager import output, short_output
from ._loss import add_gradients
from ._nets import describe, functions_of, shapes_of


class MLP(nn.Module):
    """A fully connected network like nn.Sequential(nn.Linear, activation, nn.Linear, ..), computed by fastbp.

    Parameters, their names, initial values and the state_dict are that nn.Sequential's: ``"0.weight"``, ``"0.bias"``,
    ``"2.weight"``, .. in torch's layout (outputs, inputs), with activations without parameters in between.

    Parameters
    ----------
    layer_sizes : sequence of int
        d(0), d(1), .., d(L): inputs, hidden widths, outputs.
    activation : str, (str, float) or sequence of these
        One for all hidden layers or one for each: identity, logistic, tanh, relu, leaky_relu (parameter 0.01), elu
        (1.0), gelu (exact, by erf), silu, softplus, sine.
    output_activation : str or (str, float)
        As above, or "softmax" or "exp". "identity": the outputs are logits.
    dtype : torch.dtype, optional
        torch.float32 or float64; None: torch's default.
    device : torch.device or str, optional
        Where the parameters lie and the net is computed: the CPU, or a GPU where fastbp's backend for it works. None:
        torch's default.

    Notes
    -----
    First and second derivatives in reverse mode, by autograd and by torch.func (grad, vjp, jacrev, vmap,
    functional_call), and torch.compile. No third derivatives and no forward mode: these raise. The layers are held as
    nn.Linear for their parameters alone: hooks on them do not run. Threads are those of torch's own
    operations, at most `fastbp.get_num_threads()` of them.

    Examples
    --------
    >>> import torch
    >>> from fastbp.torch import MLP
    >>> model = MLP((4, 16, 3), activation="tanh")
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> torch.nn.functional.cross_entropy(model(torch.ones(8, 4)), torch.zeros(8, dtype=torch.long)).backward()
    >>> optimizer.step()
    >>> list(model.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: Any = "relu",
        output_activation: Any = "identity",
        dtype: torch.dtype | None = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        sizes = sizes_of(layer_sizes)
        functions = [
            *hidden_activations(activation, len(sizes) - 2), output_activation_of(output_activation, None, sizes[-1])
        ]  # fmt: skip
        check_dtype("dtype", torch.get_default_dtype() if dtype is None else dtype)
        self.layer_sizes = sizes
        self._architecture = describe(sizes, functions)
        self._shapes = shapes_of(sizes)
        for k, (inputs, outputs) in enumerate(pairwise(sizes)):
            self.add_module(str(2 * k), nn.Linear(inputs, outputs, dtype=dtype, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """The output x(L).

        Parameters
        ----------
        x : Tensor (.., d(0))
            Of the parameters' dtype; under autocast any other is converted to it.

        Returns
        -------
        Tensor (.., d(L))

        Raises
        ------
        TypeError, ValueError
            If x or the parameters do not fit.
        """
        parameters = self._tensors()
        out = short_output(self._architecture, x, parameters)
        if out is not None:
            return out
        if torch.jit.is_tracing():
            raise NotImplementedError(
                "[forward] torch.jit.trace would keep the numbers of this call and forget the net: take torch.compile "
                "or torch.export, or trace the nn.Sequential that takes its state_dict"
            )
        check_parameters(parameters, self._shapes)
        x = check_input("forward", x, parameters[0], self.layer_sizes[0])
        if x.dim() == 2:
            return output(self._architecture, x, parameters)
        rows = output(self._architecture, x.reshape(-1, x.shape[-1]), parameters)
        return rows.view(*x.shape[:-1], rows.shape[-1])

    def loss(
        self,
        X: Tensor,
        y: Tensor,
        loss: str | Huber | Pinball = "cross_entropy",
        sample_weight: Tensor | None = None,
        reduction: str = "mean",
    ) -> float:
        """The loss, its gradient added to every parameter's ``.grad``: one call of the core in place of a graph.

        As ``loss.backward()`` it needs ``optimizer.zero_grad()`` before and ``optimizer.step()`` behind it. Nothing of
        it can be differentiated, X gets no gradient, and autograd's hooks do not run. Under torch.no_grad() it is the
        value alone.

        Parameters
        ----------
        X : Tensor (N, d(0))
        y : Tensor
            (N, d(L)), or (N,) where d(L) = 1; for cross_entropy class numbers (N,) or rows of probabilities.
        loss : str, fb.Huber or fb.Pinball
            Of fastbp's losses. Where the output is the identity, "cross_entropy" takes it as logits, as
            nn.CrossEntropyLoss does (with one output nn.BCEWithLogitsLoss), and "poisson" as logarithms.
            "squared_error" is 1/2 sum_j r_j^2 of a row: d(L) / 2 times nn.MSELoss.
        sample_weight : Tensor (N,) or (N, d(L)), optional
        reduction : "mean" or "sum"
            sum c_n e_n / sum c_n, or sum c_n e_n.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            If anything does not fit; no gradient has changed then.

        Examples
        --------
        >>> import torch
        >>> from fastbp.torch import MLP
        >>> model = MLP((2, 3))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> X, y = torch.eye(2), torch.tensor([0, 2])
        >>> values = []
        >>> for _ in range(50):
        ...     optimizer.zero_grad()
        ...     values.append(model.loss(X, y))
        ...     optimizer.step()
        >>> values[-1] < values[0]
        True
        """
        parameters = self._tensors()
        check_parameters(parameters, self._shapes)
        X = check_input("loss", X, parameters[0], self.layer_sizes[0])
        return add_gradients(self._architecture, parameters, X, y, loss, sample_weight, reduction)

    def extra_repr(self) -> str:
        """What is computed."""
        names = ", ".join(name for name, _ in functions_of(self._architecture))
        return f"layer_sizes={self.layer_sizes}, activations=({names})"

    def _tensors(self) -> list[Tensor]:
        """w(1), b(1), .. as they are now: replaced, parametrised, or lent by functional_call."""
        found: list[Tensor] = []
        for layer in self._modules.values():
            own = layer._parameters  # a parametrised one is not there; as an attribute each takes a search
            found += (own["weight"], own["bias"]) if "weight" in own and "bias" in own else _computed(layer)
        return found


def _computed(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """w and b of a layer that has something else as parameters.

    It is parametrised, or by the older way a hook computes them, which a call of the layer would run (pruning,
    nn.utils.weight_norm).
    """
    if not parametrize.is_parametrized(layer):
        for hook in layer._forward_pre_hooks.values():
            hook(layer, ())
    return layer.weight, layer.bias

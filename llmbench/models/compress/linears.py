"""Find and exchange the linear layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


def unify(model: PreTrainedModel) -> None:
    """Turn GPT-2's transposed layers into linear ones, so that there is one kind."""
    for name, inner in list(model.named_modules()):
        if isinstance(inner, Conv1D):
            model.set_submodule(name, _as_linear(inner))


def _as_linear(conv: Conv1D) -> nn.Linear:
    inputs, outputs = conv.weight.shape
    linear = nn.Linear(inputs, outputs, bias=False, device="meta")
    linear.weight = nn.Parameter(conv.weight.detach().T.contiguous(), requires_grad=False)
    linear.bias = conv.bias
    return linear


def inner_linears(model: PreTrainedModel) -> Iterator[nn.Linear]:
    """Give the linear layers but for the head, whose rows are the words."""
    head = model.get_output_embeddings()
    return (m for m in model.modules() if isinstance(m, nn.Linear) and m is not head)


def exchange(
    model: PreTrainedModel, make: Callable[[nn.Linear], nn.Module | None]
) -> tuple[int, int]:
    """Put what ``make`` gives in the place of each linear layer, the head included.

    None leaves a layer as it is. Returns how many were exchanged, and of how many.
    """
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    made = [(name, new) for name, linear in linears if (new := make(linear)) is not None]
    for name, new in made:
        model.set_submodule(name, new)
    return len(made), len(linears)

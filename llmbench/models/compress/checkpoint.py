"""A training that can be taken up again: its state in one safetensors file, without pickles."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")


def save(path: Path, model: nn.Module, optimizer: Optimizer, more: dict[str, Tensor]) -> None:
    """Write a model, the moments of its Adam and whatever more, whole or not at all."""
    state = {f"more.{name}": tensor for name, tensor in more.items()}
    for index, parameter in enumerate(model.parameters()):
        moments = optimizer.state[parameter]
        state |= {f"{key}.{index}": moments[key] for key in (*MOMENTS, "step")}
        state[f"parameter.{index}"] = parameter.data.contiguous()
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def restore(path: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Put a model and its Adam back to where they were, and return what was saved besides."""
    state = load_file(path)
    for index, parameter in enumerate(model.parameters()):
        parameter.data.copy_(state[f"parameter.{index}"])
        kept = {key: state[f"{key}.{index}"].to(parameter.device) for key in MOMENTS}
        optimizer.state[parameter] = {**kept, "step": state[f"step.{index}"]}
    prefix = "more."
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}

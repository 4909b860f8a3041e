"""A model's own forward in transformers, without a cache: what the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Forward = Callable[[Sequence[int], int], Tensor]

# configuration keys of positions at which attention or RoPE changes
BORDERS = {
    "sliding_window", "attention_chunk_size", "window_size", "original_max_position_embeddings",
}  # fmt: skip

# ε of steps with activations of fewer bits than the dtype, by quantization scheme
ACTIVATIONS = {"int8-dynamic": 2**-7, "float8": 2**-3}


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's own forward, and what a comparison with it needs to know about the model.

    ``forward(ids, count)`` returns the logits [at most count, vocabulary] of the last positions of
    a sequence. ``disturbed`` is the same, with embeddings that each call changes by about
    ``epsilon``; None if they cannot be changed. ``epsilon`` is that of the coarsest number format
    in the steps. ``layers`` are the kinds of layers, ``borders`` the positions at which they
    change. A token costs 2 × ``parameters`` FLOPs on the device type ``device``. ``key`` is the
    model's scenario key.
    """

    architecture: str
    layers: str
    forward: Forward
    disturbed: Forward | None
    epsilon: float
    vocabulary: int
    borders: tuple[int, ...]
    parameters: int
    device: str
    key: str = "model"


def reference_of(
    module: PreTrainedModel, parameters: int, *, epsilon: float = 0.0, key: str = "model"
) -> Reference:
    """Return the reference of a module; ``epsilon`` is used if it is larger than the dtype's."""
    epsilon = max(epsilon, torch.finfo(module.dtype).eps)
    generator = torch.Generator(module.device).manual_seed(0)
    config = module.config.get_text_config()
    return Reference(
        architecture=type(module).__name__,
        layers=", ".join(_kinds_of_layers(module)),
        forward=partial(_forward, module),
        disturbed=partial(_disturbed, module, epsilon, generator),
        epsilon=epsilon,
        vocabulary=int(config.vocab_size),
        borders=tuple(sorted(set(_borders(config.to_dict())))),
        parameters=parameters,
        device=module.device.type,
        key=key,
    )


@torch.inference_mode()
def _forward(module: PreTrainedModel, ids: Sequence[int], count: int) -> Tensor:
    sequence = torch.tensor([list(ids)], device=module.device)
    logits: Tensor = module(input_ids=sequence, use_cache=False, logits_to_keep=count).logits
    return logits[0, -count:]


def _disturbed(
    module: PreTrainedModel,
    epsilon: float,
    generator: torch.Generator,
    ids: Sequence[int],
    count: int,
) -> Tensor:
    """Run the forward with each embedding changed by a new random factor of about 1 ± epsilon."""

    def disturb(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
        noise = torch.empty_like(embedded).normal_(generator=generator)
        return embedded * (1 + epsilon * noise)

    hook = module.get_input_embeddings().register_forward_hook(disturb)
    try:
        return _forward(module, ids, count)
    finally:
        hook.remove()


def _kinds_of_layers(module: PreTrainedModel) -> list[str]:
    """Return the class names of a module's attention, and the layer types of its configuration."""
    names = {type(inner).__name__ for inner in module.modules()}
    kinds = {name for name in names if "Attention" in name} or {type(module).__name__}
    types = set(getattr(module.config.get_text_config(), "layer_types", None) or ())
    return sorted(kinds) + sorted(types)


def _borders(config: Mapping[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _borders(value)
        elif key in BORDERS and isinstance(value, int) and value > 0:
            yield value

"""The configurations of well-known models, to measure their speed with random weights.

Values are those of the published configurations, except ``initializer_range``: at 0.02 a random
model repeats one token, while a wider range yields varied text. Use shapes to measure speed, never
quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WIDE = 0.1
WIDEST = 0.2  # small models need more for the same effect
LLAMA_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's architecture (transformers' ``model_type``) and its configuration."""

    title: str
    model_type: str
    config: dict[str, Any]


def _llama(title: str, sizes: tuple[int, ...], **more: Any) -> Shape:
    """Return a Llama shape from its sizes, in the order of LLAMA_SIZES, and further keys."""
    config = dict(zip(LLAMA_SIZES, sizes, strict=True))
    return Shape(title, "llama", {**config, "initializer_range": WIDE, **more})


def _llama3_rope(factor: float) -> dict[str, Any]:
    return {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


GPT2 = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
SHAPES = {
    "tiny": _llama(
        "a Llama of 0.1M parameters", (512, 64, 176, 2, 4, 2, 2048), initializer_range=WIDEST
    ),
    "gpt2": Shape("GPT-2, 124M parameters", "gpt2", {**GPT2, "initializer_range": WIDE}),
    "smollm2-135m": _llama(
        "SmolLM2-135M",
        (49152, 576, 1536, 30, 9, 3, 8192),
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
    ),
    "llama-3.2-1b": _llama(
        "Llama 3.2 1B",
        (128_256, 2048, 8192, 16, 32, 8, 131_072),
        head_dim=64,
        rope_parameters=_llama3_rope(32.0),
        tie_word_embeddings=True,
    ),
    "llama-3.1-8b": _llama(
        "Llama 3.1 8B",
        (128_256, 4096, 14_336, 32, 32, 8, 131_072),
        rope_parameters=_llama3_rope(8.0),
    ),
}

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


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's architecture (transformers' ``model_type``) and its configuration."""

    title: str
    model_type: str
    config: dict[str, Any]


def _llama3_rope(factor: float) -> dict[str, Any]:
    return {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


SHAPES = {
    "tiny": Shape(
        "a Llama of 0.1M parameters",
        "llama",
        {
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 176,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "initializer_range": WIDEST,
        },
    ),
    "gpt2": Shape(
        "GPT-2, 124M parameters",
        "gpt2",
        {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "initializer_range": WIDE,
        },
    ),
    "smollm2-135m": Shape(
        "SmolLM2-135M",
        "llama",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "initializer_range": WIDE,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
            "tie_word_embeddings": True,
        },
    ),
    "llama-3.2-1b": Shape(
        "Llama 3.2 1B",
        "llama",
        {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131_072,
            "initializer_range": WIDE,
            "rope_parameters": _llama3_rope(32.0),
            "tie_word_embeddings": True,
        },
    ),
    "llama-3.1-8b": Shape(
        "Llama 3.1 8B",
        "llama",
        {
            "vocab_size": 128_256,
            "hidden_size": 4096,
            "intermediate_size": 14_336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131_072,
            "initializer_range": WIDE,
            "rope_parameters": _llama3_rope(8.0),
        },
    ),
}

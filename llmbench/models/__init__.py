"""Model sources: a hub id, a folder, a GGUF file, a random shape or a bundled model.

Importing this package is cheap; torch and transformers are imported when a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmbench.models.source import (
    HELD_OUT,
    bundled,
    check_heads,
    check_source,
    context_length,
    describe,
    is_trained,
    served_name,
    where,
)

if TYPE_CHECKING:
    from llmbench.models.loading import TorchModel
    from llmbench.models.tokenizing import Tokenizer
    from llmbench.scenario.schema import ModelOptions

__all__ = [
    "HELD_OUT",
    "bundled",
    "check_heads",
    "check_source",
    "context_length",
    "describe",
    "device_type",
    "is_trained",
    "load_model",
    "load_tokenizer",
    "served_name",
    "where",
]


def device_type(options: ModelOptions) -> str:
    """Return a model's device type, ``cpu`` or ``cuda``; raise InputError for a missing GPU."""
    from llmbench.models import loading  # noqa: PLC0415 (torch takes seconds to import)

    return loading.device_of(options.device).type


def load_tokenizer(options: ModelOptions) -> Tokenizer:
    """Load the tokenizer of a model; a model with random weights has a byte tokenizer.

    A served model uses the tokenizer of builtin:tiny, so prompt lengths are approximate. Raise
    InputError if the tokenizer is unavailable.
    """
    from llmbench.models import tokenizing  # noqa: PLC0415 (many processes need no tokenizer)

    return tokenizing.load(options)


def load_model(options: ModelOptions, attention: str = "sdpa") -> TorchModel:
    """Load a model for inference, on its device and in its dtype.

    Raise InputError if the model or its device is unavailable.
    """
    from llmbench.models import loading  # noqa: PLC0415 (torch takes seconds to import)

    return loading.load(options, attention)

"""Where a model comes from: a hub id, a folder, a GGUF file, a shape or what ships with llmbench.

Importing this package is cheap; torch and transformers come in when a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmbench.models.source import (
    HELD_OUT,
    bundled,
    check_source,
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
    "check_source",
    "describe",
    "device_type",
    "is_trained",
    "load_model",
    "load_tokenizer",
    "served_name",
    "where",
]


def device_type(options: ModelOptions) -> str:
    """Say whether a model will be on ``cpu`` or ``cuda``; raises InputError for a GPU not there."""
    from llmbench.models import loading  # noqa: PLC0415 (torch takes seconds to import)

    return loading.device_of(options.device).type


def load_tokenizer(options: ModelOptions) -> Tokenizer:
    """Load the tokenizer of a model; a random shape has one that maps bytes to ids.

    A model that only a server has gets the bundled one, to make prompts of about the length asked.

    Raises InputError when it cannot be had, with what to do.
    """
    from llmbench.models import tokenizing  # noqa: PLC0415 (transformers takes a second to import)

    return tokenizing.load(options)


def load_model(options: ModelOptions, attention: str = "sdpa") -> TorchModel:
    """Load a model, ready to infer, on its device and in its dtype.

    Raises InputError when it cannot be had, with what to do.
    """
    from llmbench.models import loading  # noqa: PLC0415 (torch takes seconds to import)

    return loading.load(options, attention)

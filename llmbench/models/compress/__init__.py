"""Compress a model: prune it, then quantize it.

Importing this package is cheap; torch is imported when a model is compressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmbench.models.compress.recipe import Recipe, Scheme

if TYPE_CHECKING:
    from llmbench.models.compress.recipe import Prune
    from llmbench.models.loading import TorchModel
    from llmbench.scenario.schema import ModelOptions

__all__ = ["Recipe", "Scheme", "check_torch_scheme", "pruned", "quantized"]


def check_torch_scheme(scheme: Scheme, options: ModelOptions) -> None:
    """Raise InputError if torch has no kernels for a scheme on a model's device; load no model."""
    from llmbench.models.compress import quantize  # noqa: PLC0415 (imports torch)

    quantize.check(scheme, options)


def pruned(model: TorchModel, options: ModelOptions, prune: Prune) -> TorchModel:
    """Prune a model in place and return it; raise InputError if it cannot be pruned that way."""
    from llmbench.models.compress import prune as pruning  # noqa: PLC0415 (imports torch)

    return pruning.pruned(model, options, prune)


def quantized(model: TorchModel, scheme: Scheme) -> TorchModel:
    """Quantize the linear layers of a torch model in place, and return the model."""
    from llmbench.models.compress import quantize  # noqa: PLC0415 (imports torch)

    return quantize.quantized(model, scheme)

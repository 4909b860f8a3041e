"""PyTorch as it is."""

from __future__ import annotations

from pydantic import Field

from llmbench import plugins
from llmbench.backends.base import LoadShape
from llmbench.backends.local import LENGTH_MULTIPLE
from llmbench.backends.torch.model import Attention, PyTorchBackend
from llmbench.engine.buckets import Buckets
from llmbench.models.compress import Recipe

WARMUP_SIZES = 8


class Eager(PyTorchBackend):
    """PyTorch, one kernel after another: prompts and batches in their exact sizes."""

    class Options(plugins.Options):
        """``{kind: eager, attention: sdpa}``."""

        attention: Attention = Field(
            default="sdpa", description="the implementation of attention in transformers"
        )
        compress: Recipe | None = Field(default=None, description="prune and quantize the model")

    def __init__(self, options: Options) -> None:
        self.attention = options.attention
        self.compress = options.compress

    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Take every size as it comes, and read the cache in pieces of 64 tokens."""
        lengths = range(LENGTH_MULTIPLE, max_length, LENGTH_MULTIPLE)
        return Buckets(
            load_shape.prompt_lengths, tuple(range(1, slots + 1)), (*lengths, max_length)
        )

    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:  # noqa: ARG002 (all are alike)
        """Run a few of each kind."""
        return buckets.thinned(WARMUP_SIZES)

"""What backends share that run a model's steps with PyTorch."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from llmbench import models
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.base import OpenContext
from llmbench.backends.local import LocalBackend
from llmbench.engine.buckets import Buckets
from llmbench.models.compress import Recipe, check_torch_scheme, pruned, quantized

if TYPE_CHECKING:
    from llmbench.engine.runner import Step, TorchRunner
    from llmbench.engine.sampling import Sampler
    from llmbench.models.loading import TorchModel

Attention = Literal["sdpa", "sdpa-grouped", "eager"]


class PyTorchBackend(LocalBackend["TorchModel"]):
    """Serves a torch module; a kind says how its steps are compiled, if at all."""

    attention: Attention
    compress: Recipe | None

    def compile_prefill(self, step: Step) -> Step:
        """Compile the prefill step, or leave it as it is."""
        return step

    def compile_decode(self, step: Step) -> Step:
        """Compile the decode step, or leave it as it is."""
        return step

    def prepared(self, runner: TorchRunner) -> None:
        """Do what must be done once before the first step."""

    def load(self, context: OpenContext) -> TorchModel:
        """Load the weights and compress them where that was asked for."""
        recipe = self.compress or Recipe()
        if recipe.quantize:
            check_torch_scheme(recipe.quantize, context.model)
        model = models.load_model(context.model, self.attention)
        return _compressed(model, context, recipe) if self.compress else model

    def costs(self, model: TorchModel) -> ModelCosts:
        """Return the costs with the weights as they are stored now."""
        from llmbench.engine.model_costs import costs_of  # noqa: PLC0415 (imports torch)

        return costs_of(model.module)

    def runner(
        self, model: TorchModel, buckets: Buckets, sampler: Sampler, *, slots: int, max_length: int
    ) -> TorchRunner:
        """Allocate the cache and wrap the steps."""
        from llmbench.engine.kv_cache import KvCache  # noqa: PLC0415 (imports torch)
        from llmbench.engine.runner import TorchRunner  # noqa: PLC0415 (imports torch)

        compilers: dict[str, Any] = {
            "compile_prefill": self.compile_prefill,
            "compile_decode": self.compile_decode,
        }
        cache = KvCache.allocate(model.module, slots, max_length)
        runner = TorchRunner(model.module, cache, sampler, buckets, **compilers)
        self.prepared(runner)
        return runner


def _compressed(model: TorchModel, context: OpenContext, recipe: Recipe) -> TorchModel:
    context.on_stage("compressing the model")
    began = time.monotonic()
    if recipe.prune:
        model = pruned(model, context.model, recipe.prune)
    if recipe.quantize:
        model = quantized(model, recipe.quantize)
    return replace(model, compile_seconds=time.monotonic() - began)

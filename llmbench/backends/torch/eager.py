"""The base class of PyTorch backends, and the backend for eager mode."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from llmbench import models, plugins
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.local import LENGTH_MULTIPLE, LocalBackend, LocalServer
from llmbench.engine.buckets import Buckets
from llmbench.errors import InputError
from llmbench.models.compress import Recipe, check_torch_scheme, pruned, quantized
from llmbench.scenario.schema import MAX_PREFILL_TOKENS, ModelOptions, ParallelOptions

if TYPE_CHECKING:
    from llmbench.backends.local import Checked, LocalRunner
    from llmbench.engine.runner import Step, TorchRunner
    from llmbench.engine.sampling import Sampler
    from llmbench.models.loading import TorchModel

WARMUP_SIZES = 8
Attention = Literal["sdpa", "sdpa-grouped", "eager"]


class PyTorchBackend(LocalBackend["TorchModel"]):
    """Base class of backends that run a torch module; a subclass may compile its steps."""

    attention: Attention
    compress: Recipe | None

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.attention = options.attention
        self.compress = options.compress

    def compile_prefill(self, step: Step) -> Step:
        """Return the prefill step to run: by default ``step``, not compiled."""
        return step

    def compile_decode(self, step: Step) -> Step:
        """Return the decode step to run: by default ``step``, not compiled."""
        return step

    def prepared(self, runner: TorchRunner) -> None:
        """Prepare a runner before its first step; the default does nothing."""

    def load(self, context: OpenContext) -> TorchModel:
        """Load the model, and prune and quantize it if requested."""
        from llmbench.engine import rope  # noqa: PLC0415 (imports torch)

        recipe = self.compress or Recipe()
        if recipe.quantize:
            check_torch_scheme(recipe.quantize, context.model)
        model = models.load_model(context.model, self.attention)
        model = rope.pinned(model, context.load_shape.longest_sequence)
        return _compressed(model, context, recipe) if self.compress else model

    def costs(self, model: TorchModel) -> ModelCosts:
        """Return the bytes and FLOPs of the model's steps, with its weights as currently stored."""
        from llmbench.engine.model_costs import costs_of  # noqa: PLC0415 (imports torch)

        return costs_of(model.module)

    def runner(
        self, model: TorchModel, buckets: Buckets, sampler: Sampler, *, slots: int, max_length: int
    ) -> TorchRunner:
        """Allocate the KV cache and return the runner of prefill and decode steps."""
        from llmbench.engine.kv_cache import KvCache  # noqa: PLC0415 (imports torch)
        from llmbench.engine.runner import TorchRunner  # noqa: PLC0415 (imports torch)

        cache = KvCache.allocate(model.module, slots, max_length)
        runner = TorchRunner(
            model.module, cache, sampler, buckets,
            compile_prefill=self.compile_prefill, compile_decode=self.compile_decode,
        )  # fmt: skip
        self.prepared(runner)
        return runner

    def references(self, model: TorchModel, runner: LocalRunner) -> Iterator[Checked]:
        """Yield the runner with the forward of its module, compressed as it is."""
        from llmbench.engine.own_forward import ACTIVATIONS, reference_of  # noqa: PLC0415 (imports torch)

        epsilon = ACTIVATIONS.get(model.effective.get("quantize", ""), 0.0)
        yield runner, reference_of(model.module, model.effective["parameters"], epsilon=epsilon)


def _compressed(model: TorchModel, context: OpenContext, recipe: Recipe) -> TorchModel:
    context.on_stage("compressing the model")
    began = time.monotonic()
    if recipe.prune:
        model = pruned(model, context.model, recipe.prune)
    if recipe.quantize:
        model = quantized(model, recipe.quantize)
    return replace(model, compile_seconds=time.monotonic() - began)


def exact_prompts(max_length: int) -> range:
    """Return all total lengths of the prompts in a step, which an eager prefill does not round."""
    return range(1, max(max_length, MAX_PREFILL_TOKENS) + 1)


class Eager(PyTorchBackend):
    """PyTorch in eager mode, which runs prompts and batches without padding."""

    class Options(plugins.Options):
        """``{kind: eager, attention: sdpa}``."""

        attention: Attention = Field(default="sdpa", description="attention implementation")
        compress: Recipe | None = Field(default=None, description="pruning and quantization")

    def check_parallel(self, parallel: ParallelOptions, model: ModelOptions) -> None:
        """Raise InputError if a model's heads cannot be divided, or it is to be compressed."""
        if parallel.tensor == 1:
            return
        if self.compress:
            raise InputError(
                "parallel.tensor: a divided model cannot be compressed; remove `compress` or "
                "`parallel`"
            )
        models.check_heads(model, parallel.tensor)

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[LocalServer]:
        """Open the backend, with the other ranks if the model is divided among several."""
        from llmbench.backends.torch.tensor_parallel import TensorParallel  # noqa: PLC0415 (rare)

        is_divided = context.parallel.tensor > 1
        opened = TensorParallel(self.options).open if is_divided else super().open
        with opened(context) as server:
            yield server

    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Return unrounded prompt lengths and batch sizes, and cache lengths in multiples of 64."""
        del load_shape
        lengths = range(LENGTH_MULTIPLE, max_length, LENGTH_MULTIPLE)
        return Buckets(exact_prompts(max_length), range(1, slots + 1), (*lengths, max_length))

    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:
        """Return a few of the prompt lengths, batch sizes and cache lengths, for the warm-up."""
        return replace(buckets, prompts=load_shape.prompt_lengths).thinned(WARMUP_SIZES)

"""The ONNX Runtime backend, with the same engine, load and clock as the other local backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmbench import plugins
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.local import LocalBackend
from llmbench.backends.memory import Gauge, Untracked
from llmbench.backends.torch.eager import WARMUP_SIZES
from llmbench.engine.buckets import Buckets
from llmbench.errors import Unavailable
from llmbench.models.compress import Recipe

if TYPE_CHECKING:
    from llmbench.backends.local import Checked, LocalRunner
    from llmbench.backends.onnx.loading import OnnxModel
    from llmbench.backends.onnx.runner import OnnxRunner
    from llmbench.engine.sampling import Sampler

__all__ = ["Onnx"]


class Onnx(LocalBackend["OnnxModel"]):
    """ONNX Runtime: the model exported with GroupQueryAttention, on one execution provider.

    Exports are cached by the model's configuration and weights; exporting counts as compilation.
    The precision is the model's ``dtype``.
    """

    needs: ClassVar = {"onnxruntime": "onnx", "onnxscript": "onnx"}

    class Options(plugins.Options):
        """``{kind: onnx, provider: cuda, optimization: all}``."""

        provider: str = Field(
            default="auto", description="execution provider; auto: cuda if available, else cpu"
        )
        optimization: Literal["none", "basic", "extended", "all"] = Field(
            default="all", description="level of onnxruntime's graph optimizations"
        )
        graph: Literal["export", "builder"] = Field(
            default="export", description="exporter: torch.onnx, or onnxruntime-genai's builder"
        )
        compress: Recipe | None = Field(default=None, description="pruning and quantization")

    options: Options

    def imports(self) -> None:
        """Import torch, onnxruntime and the other modules that loading needs."""
        from llmbench.backends.onnx import loading  # noqa: F401, PLC0415 (the same)

    def load(self, context: OpenContext) -> OnnxModel:
        """Load the model, export it to ONNX unless cached, and open a session."""
        from llmbench.backends.onnx import loading  # noqa: PLC0415 (imports torch, onnxruntime)

        options = self.options
        return loading.load(
            context,
            provider=options.provider,
            level=options.optimization,
            source=options.graph,
            recipe=options.compress or Recipe(),
        )

    def costs(self, model: OnnxModel) -> ModelCosts:
        """Return the bytes and FLOPs of the model's steps; raises Unavailable if unknown."""
        if model.costs is None:
            raise Unavailable(model.no_costs)
        return model.costs

    def allocator(self, context: OpenContext) -> Gauge:  # noqa: ARG002 (the same for all contexts)
        """Return an untracked gauge: torch's allocator counts only inputs, outputs and caches."""
        return Untracked("onnxruntime's own allocator tracks no peak")

    def runner(
        self, model: OnnxModel, buckets: Buckets, sampler: Sampler, *, slots: int, max_length: int
    ) -> OnnxRunner:
        """Allocate the KV cache and return the runner of prefill and decode steps."""
        from llmbench.backends.onnx.runner import OnnxRunner  # noqa: PLC0415 (imports torch)

        del buckets  # one graph runs steps of any size
        return OnnxRunner(model, sampler, slots=slots, max_length=max_length)

    def references(self, model: OnnxModel, runner: LocalRunner) -> Iterator[Checked]:
        """Yield the runner with the torch module's forward; a quantized graph with itself."""
        from llmbench.backends.onnx import checking  # noqa: PLC0415 (imports torch)
        from llmbench.backends.onnx.runner import OnnxRunner  # noqa: PLC0415 (the same)

        assert isinstance(runner, OnnxRunner)  # noqa: S101 (returned by `runner`)
        assert model.reference is not None  # noqa: S101 (there is a self-check)
        scheme = self.options.compress.quantize if self.options.compress else None
        if scheme is None:
            yield runner, model.reference
        else:
            yield runner, checking.reference_of_quantized(model.reference, runner, scheme)

    def without_references(self, model: OnnxModel) -> OnnxModel:
        """Return a model that keeps no torch module in memory."""
        return replace(model, reference=None)

    @contextmanager
    def traced(self, model: OnnxModel, runner: OnnxRunner, folder: Path) -> Iterator[OnnxRunner]:
        """Yield a runner on a second session, which profiles the graph's operators.

        Both sessions hold the weights: profiling can only be enabled when opening a session.
        """
        from llmbench.backends.onnx import sessions  # noqa: PLC0415 (imports onnxruntime)

        session = sessions.open_session(
            model.graph,
            sessions.chosen_provider(self.options.provider),
            self.options.optimization,
            recording=folder / "onnxruntime",
        )
        try:
            yield runner.in_session(session)
        finally:
            sessions.write_trace(session, folder / "onnxruntime.trace.json")

    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Return the prompt lengths and batch sizes without rounding, and the full cache length.

        Attention reads only the filled part of the cache.
        """
        return Buckets(load_shape.prompt_lengths, tuple(range(1, slots + 1)), (max_length,))

    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:  # noqa: ARG002 (all sizes run the same way)
        """Return a few of the prompt lengths and batch sizes, for the warm-up."""
        return buckets.thinned(WARMUP_SIZES)

    def settings(self) -> dict[str, Any]:
        """Return the exporter of the graph and the level of onnxruntime's optimizations."""
        return {"optimization": self.options.optimization, "graph": self.options.graph}

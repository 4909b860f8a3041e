"""PyTorch through torch.compile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from llmbench import plugins
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.torch.eager import WARMUP_SIZES, Attention, PyTorchBackend
from llmbench.engine.buckets import Buckets, doublings
from llmbench.models.compress import Recipe

if TYPE_CHECKING:
    from llmbench.engine.runner import Step, TorchRunner
    from llmbench.models.loading import TorchModel

LEAST_PROMPT = 32
ROWS_FACTOR = 8
MOST_SHAPES = 256
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")


class Compiled(PyTorchBackend):
    """torch.compile: whole steps in one graph, in few shapes that are compiled before the load.

    On a GPU ``mode: reduce-overhead`` replays steps as CUDA graphs. Each shape of a step is a graph
    to compile, so by default prefills are not compiled: they are bound by arithmetic, not by
    overhead, and come in many lengths. ``dynamic: true`` compiles one graph for all sizes.
    """

    class Options(plugins.Options):
        """``{kind: compiled, mode: reduce-overhead, prefill: compiled, row_buckets: [1, 8]}``."""

        mode: Literal[
            "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
        ] = Field(default="default", description="of torch.compile")
        fullgraph: bool = Field(default=True, description="fail where a step would be split")
        dynamic: bool = Field(default=False, description="one graph for all sizes")
        prefill: Literal["eager", "compiled"] = Field(
            default="eager", description="compile prefills too, one graph a bucket of lengths"
        )
        attention: Attention = Field(
            default="sdpa-grouped",
            description="sdpa, compiled, repeats keys and values for heads that share them",
        )
        matvec: Literal["library", "generated"] = Field(
            default="library",
            description="who multiplies in a step of one row: BLAS, or code of the compiler's own",
        )
        row_buckets: tuple[int, ...] | None = Field(
            default=None,
            min_length=1,
            description="sizes of a decode batch (default: 1, 8, 64, ... up to the slots)",
        )
        compress: Recipe | None = Field(default=None, description="prune and quantize the model")

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.attention = options.attention
        self.compress = options.compress

    def load(self, context: OpenContext) -> TorchModel:
        """Load the model; leave its products with one row to the compiler where that is asked."""
        model = super().load(context)
        if self.options.matvec == "generated":
            from llmbench.models.kernels import generate_matvecs  # noqa: PLC0415 (imports torch)

            generate_matvecs(model.module)
        return model

    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Round what is compiled up to few sizes, and read the whole cache."""
        eager = self.options.prefill == "eager"
        prompts = load_shape.prompt_lengths if eager else _padded(load_shape)
        return Buckets(prompts, self._rows(slots), (max_length,))

    def _rows(self, slots: int) -> tuple[int, ...]:
        asked = self.options.row_buckets
        if asked is None:
            return doublings(1, slots, ROWS_FACTOR)
        return tuple(sorted({min(size, slots) for size in asked} | {slots}))

    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:
        """Run every shape that is compiled, and a few prompts where they are not."""
        if self.options.prefill == "eager":
            prompts = buckets.thinned(WARMUP_SIZES).prompts
        else:
            prompts = tuple(sorted({buckets.prompt(n) for n in load_shape.prompt_lengths}))
        return replace(buckets, prompts=prompts)

    def compile_prefill(self, step: Step) -> Step:
        """Compile it where that was asked for."""
        return step if self.options.prefill == "eager" else self._compiled(step)

    def compile_decode(self, step: Step) -> Step:
        """Compile it."""
        return self._compiled(step)

    def _compiled(self, step: Step) -> Step:
        import torch  # noqa: PLC0415 (validating a scenario must not import torch)
        from torch import _dynamo  # noqa: PLC0415 (the same)

        # each shape is a graph of its own, and the default limit is eight
        _dynamo.config.recompile_limit = MOST_SHAPES
        compiled: Step = torch.compile(
            step,
            mode=self.options.mode,
            fullgraph=self.options.fullgraph,
            dynamic=self.options.dynamic,
        )
        return _stepwise(compiled) if self.options.mode in CUDA_GRAPH_MODES else compiled

    def prepared(self, runner: TorchRunner) -> None:
        """Tell dynamo which tensors stay where they are, so that CUDA graphs need not copy them."""
        from torch import _dynamo  # noqa: PLC0415 (the same)

        for tensor in runner.fixed_tensors:
            _dynamo.mark_static_address(tensor)

    def settings(self) -> dict[str, Any]:
        """Name the mode and how shapes are treated."""
        told = {"mode", "fullgraph", "dynamic", "prefill", "matvec"}
        return self.options.model_dump(include=told)


def _padded(load_shape: LoadShape) -> tuple[int, ...]:
    longest = max(load_shape.prompt_lengths)
    return doublings(min(LEAST_PROMPT, longest), longest)


def _stepwise(compiled: Step) -> Step:
    """Mark where a step begins: the last ids are on the host, so graphs may overwrite them."""
    import torch  # noqa: PLC0415 (the same)

    def step(*inputs: Any) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs)

    return step

"""PyTorch through torch.compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from llmbench import plugins
from llmbench.backends.base import Demand
from llmbench.backends.local import LocalBackend
from llmbench.engine.buckets import Buckets, doublings

if TYPE_CHECKING:
    from llmbench.engine.runner import Step, TorchRunner

__all__ = ["Compiled"]

LEAST_PROMPT = 32
ROWS_FACTOR = 4
MOST_SHAPES = 256
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")


class Compiled(LocalBackend):
    """torch.compile: whole steps in one graph, in few shapes that are compiled before the load.

    On a GPU ``mode: reduce-overhead`` replays steps as CUDA graphs. ``dynamic: true`` compiles one
    graph for all sizes, which starts sooner and runs slower.
    """

    class Options(plugins.Options):
        """``{kind: compiled, mode: reduce-overhead, fullgraph: true, dynamic: false}``."""

        mode: Literal[
            "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
        ] = "default"
        fullgraph: bool = Field(default=True, description="fail where a step would be split")
        dynamic: bool = Field(default=False, description="one graph for all sizes")
        row_buckets: tuple[int, ...] | None = Field(
            default=None,
            min_length=1,
            description="sizes of a decode batch (default: 1, 4, 16, ... up to the slots)",
        )

    def __init__(self, options: Options) -> None:
        self.options = options

    def buckets(self, demand: Demand, slots: int, max_length: int) -> Buckets:
        """Round prompts up to doublings of 32, batches to a few sizes, and read the whole cache."""
        longest_prompt = min(max_length, max(demand.prompt_lengths))
        prompts = doublings(min(LEAST_PROMPT, longest_prompt), longest_prompt)
        return Buckets(prompts, self._rows(slots), (max_length,))

    def _rows(self, slots: int) -> tuple[int, ...]:
        asked = self.options.row_buckets
        if asked is None:
            return doublings(1, slots, ROWS_FACTOR)
        return tuple(sorted({min(size, slots) for size in asked} | {slots}))

    def rehearsed(self, buckets: Buckets, demand: Demand) -> Buckets:
        """Run every shape that the load will bring."""
        prompts = sorted({buckets.prompt(length) for length in demand.prompt_lengths})
        return Buckets(tuple(prompts), buckets.rows, buckets.lengths)

    def compile_step(self, step: Step) -> Step:
        """Compile a step."""
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
        return self.options.model_dump(include={"mode", "fullgraph", "dynamic"})


def _stepwise(compiled: Step) -> Step:
    """Mark where a CUDA graph's step begins, and copy its output before the next overwrites it."""
    import torch  # noqa: PLC0415 (the same)

    def step(*inputs: Any) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs).clone()

    return step

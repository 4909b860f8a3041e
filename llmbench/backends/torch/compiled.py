"""The backend that runs PyTorch with torch.compile."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from llmbench import models, plugins
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.torch.eager import WARMUP_SIZES, Attention, PyTorchBackend, exact_prompts
from llmbench.engine.buckets import Buckets, doublings
from llmbench.errors import InputError, one_line
from llmbench.models.compress import Recipe
from llmbench.scenario.schema import MAX_PREFILL_TOKENS

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmbench.engine.runner import Step, TorchRunner
    from llmbench.models.loading import TorchModel
    from llmbench.models.products import Product

LEAST_PROMPT = 32
MOST_SHAPES = 256
MAX_REASON = 300  # characters
LIMITS = (
    "products are generated for plain linear layers, of up to 16 rows on CPUs and of one on GPUs; "
    "weights are packed on CPUs, in float32, and in bfloat16 where the CPU has it"
)
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")


class Compiled(PyTorchBackend):
    """PyTorch with torch.compile: one graph per step shape, compiled before the load.

    On a GPU, decode steps are replayed as CUDA graphs by default: ``mode: auto`` is
    ``reduce-overhead`` there, and ``default`` on CPUs. Prefills run eagerly, since they are
    compute-bound and vary in length. ``dynamic: true`` compiles one graph for all sizes of a step.
    """

    class Options(plugins.Options):
        """``{kind: compiled, mode: reduce-overhead, prefill: compiled, row_buckets: [1, 8]}``."""

        mode: Literal[
            "auto", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
        ] = Field(
            default="auto",
            description="mode of torch.compile; auto: reduce-overhead (CUDA graphs) on GPUs, "
            "default on CPUs",
        )
        fullgraph: bool = Field(default=True, description="fail on graph breaks")
        dynamic: bool = Field(default=False, description="one graph for all sizes of a step")
        prefill: Literal["eager", "compiled"] = Field(
            default="eager", description="how prefills run; compiled: one graph per length bucket"
        )
        attention: Attention = Field(
            default="sdpa-grouped",
            description="attention implementation; sdpa repeats grouped keys and values per head",
        )
        matvec: Literal["auto", "library", "generated", "packed"] = Field(
            default="auto",
            description="matrix products of decode steps: from BLAS, from torch.compile, or from "
            "oneDNN with a packed copy of the weights; auto: on CPUs, the fastest for each batch "
            "size, measured before the load",
        )
        inductor: dict[str, bool | int | float | str] = Field(
            default={},
            description="further options of torch.compile's compiler, by their names in "
            "`torch._inductor.config`",
        )
        row_buckets: tuple[int, ...] | None = Field(
            default=None,
            min_length=1,
            description="decode batch sizes to compile (1, 2, 4, 8, ... up to the number of slots)",
        )
        compress: Recipe | None = Field(default=None, description="pruning and quantization")

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._mode = "default" if options.mode == "auto" else options.mode

    def load(self, context: OpenContext) -> TorchModel:
        """Load the model, with the kinds of matrix products that its decode steps use."""
        if self.options.mode == "auto" and models.device_type(context.model) == "cuda":
            self._mode = "reduce-overhead"
        self._inductor_options()  # wrong ones are an error before the model is loaded
        model = super().load(context)
        return self._with_products(model, context)

    def _with_products(self, model: TorchModel, context: OpenContext) -> TorchModel:
        from llmbench.models.products import plain_linears, set_products  # noqa: PLC0415 (imports torch)

        context.on_stage("choosing the kernels of matrix products")
        began = time.monotonic()
        layers = plain_linears(model.module)
        products = self._products(layers, self._rows(context.engine.slots))
        if set(products.values()) != {"library"}:
            set_products(layers, products)
        took = time.monotonic() - began
        return replace(
            model,
            requested={**model.requested, "matvec": self.options.matvec, "mode": self.options.mode},
            effective={**model.effective, "matvec": _products_text(products), "mode": self._mode},
            reasons={**model.reasons, "matvec": LIMITS},
            compile_seconds=(model.compile_seconds or 0.0) + took,
        )

    def _products(self, layers: list[nn.Linear], sizes: Sequence[int]) -> dict[int, Product]:
        """Return the kind of product for each batch size of a step."""
        from llmbench.models.product_choice import fastest_products  # noqa: PLC0415 (imports torch)
        from llmbench.models.products import can_be_packed, most_generated_rows  # noqa: PLC0415 (the same)

        library: dict[int, Product] = dict.fromkeys(sizes, "library")
        if not layers or self.options.matvec == "library":
            return library
        weight = layers[0].weight
        if self.options.matvec == "generated":
            most = most_generated_rows(weight.device)
            return {rows: "generated" if rows <= most else "library" for rows in sizes}
        if self.options.matvec == "packed":
            return dict.fromkeys(sizes, "packed") if can_be_packed(weight) else library
        if weight.device.type != "cpu" or self.options.dynamic:
            return library
        return fastest_products(layers, sizes, self._compiled)

    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Return the compiled batch sizes, the prompt lengths and the full cache length."""
        eager = self.options.prefill == "eager"
        prompts = exact_prompts(max_length) if eager else _padded(load_shape, slots)
        return Buckets(prompts, self._rows(slots), (max_length,))

    def _rows(self, slots: int) -> tuple[int, ...]:
        buckets = self.options.row_buckets
        if buckets is None:
            return doublings(1, slots)
        return tuple(sorted({min(size, slots) for size in buckets} | {slots}))

    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:
        """Return every compiled shape, and a few prompt lengths if prefills are not compiled."""
        if self.options.prefill == "eager":
            exact = replace(buckets, prompts=load_shape.prompt_lengths)
            return replace(buckets, prompts=exact.thinned(WARMUP_SIZES).prompts)
        padded = tuple(sorted({buckets.prompt(n) for n in load_shape.prompt_lengths}))
        return replace(buckets, prompts=padded)

    def warmup_totals(self, buckets: Buckets, totals: range) -> Sequence[int]:
        """Return the largest total length, or every compiled one."""
        if self.options.prefill == "eager":
            return super().warmup_totals(buckets, totals)
        sizes = {buckets.prompt(total) for total in totals}
        return sorted(size for size in sizes if size <= totals[-1])

    def warmup_chunks(self, buckets: Buckets, longest: int) -> Sequence[int]:
        """Return a few sizes of chunks, or every compiled one."""
        if self.options.prefill == "eager":
            return super().warmup_chunks(buckets, longest)
        most = buckets.prompt(longest)
        return [min(size, longest) for size in buckets.prompts if size <= most]

    def checked_prompts(self, load_shape: LoadShape, max_length: int) -> Sequence[int]:
        """Return any prompt length, or those of the load if others would compile more graphs."""
        if self.options.prefill == "eager":
            return super().checked_prompts(load_shape, max_length)
        return load_shape.prompt_lengths

    def compile_prefill(self, step: Step) -> Step:
        """Return the prefill step, compiled if requested."""
        return step if self.options.prefill == "eager" else self._compiled_for_one_model(step)

    def compile_decode(self, step: Step) -> Step:
        """Return the compiled decode step."""
        return self._compiled_for_one_model(step)

    def _compiled_for_one_model(self, step: Step) -> Step:
        """Compile a step that does not check in each call that the model is still the same.

        Checking hundreds of layers takes a noticeable part of a step. Graphs are kept by code, and
        these checks tell models apart: so each model has a copy of the code. Without ``fullgraph``
        there are graphs of the model's own code too, and the checks stay.
        """
        import torch  # noqa: PLC0415 (the same)

        if not self.options.fullgraph:
            return self._compiled(step)
        unchecked = torch.compiler.skip_guard_on_all_nn_modules_unsafe
        return self._compiled(_copied(step), guard_filter_fn=unchecked)

    def _compiled(self, step: Step, **more: Any) -> Step:
        import torch  # noqa: PLC0415 (validating a scenario must not import torch)
        from torch import _dynamo  # noqa: PLC0415 (the same)

        # one graph per shape; the default limit is eight
        _dynamo.config.recompile_limit = MOST_SHAPES
        compiled: Step = torch.compile(
            step,
            options={**self._inductor_options(), **more},
            fullgraph=self.options.fullgraph,
            dynamic=self.options.dynamic,
        )
        whole = _refused_in_words(compiled)
        return _stepwise(whole) if self._mode in CUDA_GRAPH_MODES else whole

    def _inductor_options(self) -> dict[str, Any]:
        from llmbench.backends.torch.inductor import options_of  # noqa: PLC0415 (imports torch)

        return options_of(self._mode, self.options.inductor)

    def prepared(self, runner: TorchRunner) -> None:
        """Mark tensors as having fixed addresses, so that CUDA graphs do not copy them."""
        from torch import _dynamo  # noqa: PLC0415 (the same)

        for tensor in runner.fixed_tensors:
            _dynamo.mark_static_address(tensor)

    def settings(self) -> dict[str, Any]:
        """Return the options of torch.compile and of prefills."""
        names = {"fullgraph", "dynamic", "prefill", "inductor"}
        return self.options.model_dump(include=names)


def _products_text(products: Mapping[int, Product]) -> str:
    """Return which kernels compute the products, by batch size if they differ."""
    rows_of: dict[str, list[str]] = {}
    for rows, kind in products.items():
        rows_of.setdefault(kind, []).append(str(rows))
    if len(rows_of) == 1:
        return next(iter(rows_of))
    return "; ".join(f"{kind}: {', '.join(rows)} rows" for kind, rows in rows_of.items())


def _padded(load_shape: LoadShape, slots: int) -> tuple[int, ...]:
    """Return the sizes of compiled prefills: of single prompts, and of several together."""
    longest = max(load_shape.prompt_lengths)
    alone = doublings(min(LEAST_PROMPT, longest), longest)
    together = min(slots * longest, MAX_PREFILL_TOKENS)
    return (*alone, *doublings(2 * longest, together)) if together > longest else alone


def _copied(step: Step) -> Step:
    """Return a function or method with code of its own."""
    if isinstance(step, MethodType):
        return MethodType(_copied(step.__func__), step.__self__)
    function = cast("FunctionType", step)
    copy = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _refused_in_words(compiled: Step) -> Step:
    """Return a step that raises InputError where torch.compile fails on the model."""
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415 (imports torch)

    def step(*inputs: Any) -> torch.Tensor:
        try:
            return compiled(*inputs)
        except TorchDynamoException as error:
            reason = one_line(str(error).strip().partition("\n")[0], MAX_REASON)
            raise InputError(
                f"backends: torch.compile fails on this model: {reason} "
                "(`fullgraph: false` leaves parts uncompiled; `eager` runs all of it)"
            ) from error

    return step


def _stepwise(compiled: Step) -> Step:
    """Return a step that marks its start, so that CUDA graphs may reuse the last step's output."""
    import torch  # noqa: PLC0415 (the same)

    def step(*inputs: Any) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs)

    return step

"""Load a model, export it to ONNX unless cached, and open a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from llmbench import models
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends.base import OpenContext
from llmbench.backends.onnx import (
    builder,
    checking,
    exporting,
    graphs,
    quantizing,
    sessions,
    weights,
)
from llmbench.engine import rope
from llmbench.engine.model_costs import costs_of
from llmbench.engine.own_forward import Reference
from llmbench.environment.probing import Reader
from llmbench.environment.software import threads_spin
from llmbench.errors import InputError, MissingExtraError
from llmbench.models.compress import Recipe, Scheme, pruned
from llmbench.models.compress.linears import unify
from llmbench.models.loading import LoadedModel, TorchModel
from llmbench.models.source import is_trained
from llmbench.scenario.schema import ModelOptions


@dataclass(frozen=True, kw_only=True)
class OnnxModel(LoadedModel):
    """An open session of an exported graph, and the shapes of its KV cache.

    ``costs`` are the bytes and FLOPs of the steps; ``no_costs`` is the reason if they are unknown.
    ``reference`` is the torch module's own forward, until the self-check is done.
    """

    graph: Path
    session: Any
    cache_shapes: list[exporting.Shape]
    dtype: torch.dtype
    costs: ModelCosts | None = None
    no_costs: str = ""
    reference: Reference | None = None


def load(
    context: OpenContext, *, provider: str, level: str, source: str, recipe: Recipe
) -> OnnxModel:
    """Load the model, compress and export it unless cached, and open a session.

    The torch module is released after the self-check, so that only the session's weights stay in
    memory. Raises InputError when the model, the provider or kernels for the quantization are
    unavailable.
    """
    chosen = sessions.chosen_provider(provider)
    sessions.leave_default_stream(chosen)
    short_name = sessions.short_name(chosen)
    if recipe.quantize:
        quantizing.check(recipe.quantize, short_name)
    if source == "builder" and find_spec("onnxruntime_genai") is None:
        raise MissingExtraError("graph: builder", "onnxruntime_genai", "onnx-builder")
    model = _on_host(models.load_model(_for_export(context.model, chosen)))
    model = rope.pinned(model, context.load_shape.longest_sequence)
    began = time.monotonic()
    if recipe.prune:
        context.on_stage("compressing the model")
        model = pruned(model, context.model, recipe.prune)
    context.on_stage("exporting to ONNX")
    cache_shapes = exporting.cache_shapes(model.module)
    reader = Reader()
    costs = reader.read("model_costs", partial(costs_of, model.module))
    device = sessions.device_of(chosen)
    requested, effective = _settings(context.model, recipe.quantize, provider, short_name, device)

    def opened(graph: Path) -> OnnxModel:
        context.on_stage("opening the session")
        session = sessions.open_session(graph, chosen, level)
        return OnnxModel(
            graph=graph,
            session=session,
            cache_shapes=cache_shapes,
            dtype=model.module.dtype,
            costs=costs and weights.costs_of_graph(graph, costs),
            no_costs=reader.reasons.get("model_costs", ""),
            reference=checking.reference_of(model, device) if checked else None,
            context_length=model.context_length,
            eos_ids=model.eos_ids,
            vocabulary=model.vocabulary,
            device=device,
            weight_bytes=sum(file.stat().st_size for file in graph.parent.iterdir()),
            requested={**model.requested, **requested},
            effective={**model.effective, **effective},
            compile_seconds=time.monotonic() - began,
            caveats=model.caveats,
        )

    def check(exported: Path) -> None:
        context.on_stage("checking the exported graph")
        checking.check_export(opened(exported), context.load_shape.longest_sequence)

    checked = check if context.model.self_check else None
    return opened(_graph(model, recipe.quantize, source, short_name, checked))


def _settings(
    options: ModelOptions,
    scheme: Scheme | None,
    provider: str,
    short_name: str,
    device: torch.device,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the requested and the effective settings of a session."""
    requested = {"dtype": options.dtype, "device": options.device, "provider": provider}
    effective = {"device": str(device), "provider": short_name, "spinning": threads_spin()}
    # the attention of the graph is not configurable
    fixed = {"attention": builder.ATTENTION}
    if scheme:
        fixed["quantize"] = scheme
        effective["quantize_kernels"] = quantizing.KERNELS[scheme]
    return {**requested, **fixed}, {**effective, **fixed}


def _for_export(options: ModelOptions, provider: str) -> ModelOptions:
    """Return model options for loading on the host, in the dtype used on the provider's device.

    Random weights are drawn on that device, where other backends draw the same ones.
    """
    device = sessions.device_of(provider)
    dtype = "bfloat16" if options.dtype == "auto" and device.type == "cuda" else options.dtype
    where = "cpu" if is_trained(options) else str(device)
    return options.model_copy(update={"device": where, "dtype": dtype})


def _on_host(model: TorchModel) -> TorchModel:
    """Move a model to the host, and free its memory on the GPU for the session."""
    if model.device.type == "cpu":
        return model
    model.module.cpu()
    torch.cuda.empty_cache()
    return replace(model, device=torch.device("cpu"))


def _maker(
    module: PreTrainedModel, source: str, provider: str
) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """Return the cache-key components besides the model, and a function that writes the graph."""
    if source == "export":
        return exporting.recipe(), lambda path: exporting.export(module, path)
    return builder.recipe(provider), lambda path: builder.build(module, provider, path)


def _graph(
    model: TorchModel,
    scheme: Scheme | None,
    source: str,
    provider: str,
    check: Callable[[Path], None] | None,
) -> Path:
    """Return the path of a model's cached graph; create and quantize the graph if missing.

    ``check`` is called with an exported graph before it is quantized.
    """
    if scheme:
        unify(model.module)
    recipe, make = _maker(model.module, source, provider)
    if rope_factors := model.effective.get("rope"):
        recipe["rope"] = rope_factors
    key = graphs.content_key(model.module, recipe)
    try:
        exported = graphs.cached(key, make)
        if scheme is None:
            return exported
        return graphs.cached(
            f"{key}-{scheme}-{quantizing.RECIPE}{'' if check else '-unchecked'}",
            partial(_quantize, exported, scheme, check),
        )
    except OSError as error:
        raise InputError(
            f"exported graphs cannot be written to {graphs.folder()}: {error.strerror or error}; "
            "free some space or set LLMBENCH_CACHE to another folder"
        ) from error


def _quantize(
    exported: Path, scheme: Scheme, check: Callable[[Path], None] | None, path: Path
) -> None:
    if check:
        check(exported)
    quantizing.quantize(exported, scheme, path)

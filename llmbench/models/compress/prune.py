"""Prune a torch model: zero weights or drop whole layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune as torch_prune
from transformers import PreTrainedModel

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress.linears import inner_linears, unify
from llmbench.models.compress.recipe import DropLayers, Magnitude, Prune
from llmbench.models.loading import TorchModel, weight_bytes
from llmbench.quality.examination import read_windows
from llmbench.runs.caveats import Caveat
from llmbench.scenario.schema import ModelOptions

WINDOW, WINDOWS = 256, 8


def pruned(model: TorchModel, options: ModelOptions, prune: Prune) -> TorchModel:
    """Prune a model in place and return it; raise InputError if it cannot be pruned that way."""
    module = model.module
    unify(module)
    with torch.no_grad():
        dropped = _chosen_layers(module, options, prune) if isinstance(prune, DropLayers) else ()
        done = _prune(module, prune, dropped)
    dense = () if isinstance(prune, DropLayers) or "sparse" in done else (Caveat("pruned-dense"),)
    return replace(
        model,
        weight_bytes=weight_bytes(module),
        requested={**model.requested, "prune": str(prune)},
        effective={**model.effective, "prune": str(prune), "pruned": done},
        caveats=(*model.caveats, *dense),
        dropped_layers=tuple(dropped),
    )


def _prune(module: PreTrainedModel, prune: Prune, dropped: Sequence[int]) -> str:
    if isinstance(prune, DropLayers):
        drop_layers(module, dropped)
        return f"without {', '.join(map(str, dropped))}"
    if isinstance(prune, Magnitude):
        zero_least(module, prune.ratio)
        return "dense kernels"
    keep_two_of_four(module)
    if module.device.type != "cuda":
        return "dense kernels"
    _store_sparse(module)
    return "sparse kernels"


def zero_least(module: PreTrainedModel, ratio: float) -> None:
    """Zero the weights of smallest magnitude in each linear layer except the head.

    ``ratio`` is the fraction of a layer's weights to zero.
    """
    for linear in inner_linears(module):
        torch_prune.l1_unstructured(linear, "weight", amount=ratio)
        torch_prune.remove(linear, "weight")


def keep_two_of_four(module: PreTrainedModel) -> None:
    """Zero the two weights of smallest magnitude in every four, except in the head.

    Layers whose input size is not divisible by 4 are left unchanged.
    """
    for linear in inner_linears(module):
        if linear.in_features % 4 == 0:
            fours = linear.weight.view(-1, 4)
            largest = fours.abs().topk(2, dim=-1).indices
            fours.mul_(torch.zeros_like(fours).scatter_(-1, largest, 1))


def _store_sparse(module: PreTrainedModel) -> None:
    """Store 2:4 weights in the sparse format of Ampere and later GPUs."""
    for linear in inner_linears(module):
        try:
            sparse = torch.sparse.to_sparse_semi_structured(linear.weight)
        except RuntimeError as error:
            raise InputError(
                f"compress: two-four cannot be stored sparse on {module.device} ({error}); it "
                "needs compute capability 8.0, float16 or bfloat16, and sizes in multiples of 32"
            ) from error
        linear.weight = nn.Parameter(sparse, requires_grad=False)


def _chosen_layers(module: PreTrainedModel, options: ModelOptions, prune: DropLayers) -> list[int]:
    count = len(decoder_layers(module))
    if prune.layers is None:
        most = round((prune.ratio or 0) * count)
        if most in {0, count}:
            raise InputError(
                f"compress: a ratio of {prune.ratio:g} of {count} layers rounds to {most} layers; "
                "choose another ratio"
            )
        ranked = influences(module, options).argsort()
        return sorted(ranked[:most].tolist())
    if unknown := [layer for layer in prune.layers if not 0 <= layer < count]:
        raise InputError(
            f"compress: cannot drop layer {unknown[0]}; this model has layers 0 to {count - 1}"
        )
    dropped = sorted(set(prune.layers))
    if len(dropped) == count:
        raise InputError("compress: all layers would be dropped; leave at least one")
    return dropped


def _decoder(module: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    count = module.config.get_text_config().num_hidden_layers
    for name, inner in module.named_modules():
        if isinstance(inner, nn.ModuleList) and len(inner) == count:
            return name, inner
    raise InputError(
        f"compress: {type(module).__name__} has no list of {count} layers to drop from; prune it "
        "by `magnitude`"
    )


def decoder_layers(module: PreTrainedModel) -> nn.ModuleList:
    """Return a model's decoder layers; raise InputError if they are not in one module list."""
    return _decoder(module)[1]


def drop_layers(module: PreTrainedModel, dropped: Sequence[int]) -> None:
    """Drop decoder layers in place, renumber the others and update the configuration."""
    name, layers = _decoder(module)
    kept = [index for index in range(len(layers)) if index not in dropped]
    for number, index in enumerate(kept):
        for inner in layers[index].modules():
            if hasattr(inner, "layer_idx"):
                vars(inner)["layer_idx"] = number
    module.set_submodule(name, nn.ModuleList(layers[index] for index in kept))
    config = module.config.get_text_config()
    for key, value in list(config.to_dict().items()):
        if isinstance(value, list) and len(value) == len(layers):
            setattr(config, key, [value[index] for index in kept])
    config.num_hidden_layers = len(kept)


def influences(module: PreTrainedModel, options: ModelOptions) -> Tensor:
    """Return the block influence of each layer, [layers], on the bundled text.

    BI = 1 - mean(cos(x, y)), where x and y are a layer's input and output (Men et al., ShortGPT,
    2024, https://arxiv.org/abs/2403.03853). Only the end of the text is used; quality is measured
    on the beginning.
    """
    layers = decoder_layers(module)
    cosines: list[Tensor] = []

    def note(
        _: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor | tuple[Tensor, ...]
    ) -> None:
        after = outputs if isinstance(outputs, Tensor) else outputs[0]
        cosines.append(functional.cosine_similarity(inputs[0].float(), after.float(), -1).mean())

    hooks = [layer.register_forward_hook(note) for layer in layers]
    module(_calibration(options).to(module.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    return 1 - torch.stack(cosines).cpu()


def _calibration(options: ModelOptions) -> Tensor:
    """Return token ids [windows, tokens] from the end of the bundled text."""
    text = models.HELD_OUT.read_text("utf-8")[-4 * WINDOW * WINDOWS :]
    return torch.tensor(read_windows(models.load_tokenizer(options), text, WINDOW, WINDOWS))

"""Tensor parallelism: a model's weights divided among the ranks of a process group.

transformers divides the models that have a plan for it. For GPT-2, which has none, the plan is
here. Each rank keeps its share of the attention heads and of the columns or rows of matrices; the
products of rows are summed over the ranks (Shoeybi et al., Megatron-LM: Training Multi-Billion
Parameter Language Models Using Model Parallelism, 2019, https://arxiv.org/abs/1909.08053).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from transformers import PreTrainedModel
from transformers.distributed import utils

from llmbench.errors import InputError

CAN_DIVIDE = hasattr(utils, "TransformersDeviceMesh")  # not in old versions
# fused queries, keys and values are three parts, of which each rank has its share
COLUMNS = {"attn.c_attn": 3, "mlp.c_fc": 1}
ROWS = ("attn.c_proj", "mlp.c_proj")


@torch.no_grad()
def shard(module: PreTrainedModel) -> None:
    """Keep this rank's share of a module's weights, of which every rank has all.

    The process group is the default one. Raise InputError if there is no plan for the module.
    """
    if module.config.model_type == "gpt2":
        _shard_gpt2(module, dist.get_rank(), dist.get_world_size())
    else:
        _shard_by_plan(module, dist.get_world_size())


def check_plan(module: PreTrainedModel) -> None:
    """Raise InputError if a module cannot be divided among ranks."""
    if module.config.model_type == "gpt2":
        return
    if not CAN_DIVIDE:
        raise InputError(
            f"parallel.tensor: transformers {version('transformers')} cannot divide a loaded "
            "model; install transformers 5.23 or later"
        )
    if not module.tp_plan:
        raise InputError(
            f"parallel.tensor: {type(module).__name__} has no plan for tensor parallelism in "
            f"transformers {version('transformers')}; remove `parallel`, or use another model"
        )


def _shard_by_plan(module: Any, ranks: int) -> None:
    """Divide a module by transformers' plan for it."""
    from transformers.distributed.configuration_utils import DistributedConfig  # noqa: PLC0415 (imports much)

    head, embeddings = module.get_output_embeddings(), module.get_input_embeddings()
    if head.weight is embeddings.weight:  # tied weights are named once: shard both, tie them again
        head.weight = nn.Parameter(head.weight.detach(), requires_grad=False)
    names = ("pp", "fsdp", "tp")  # transformers looks these up
    mesh = init_device_mesh(module.device.type, (1, 1, ranks), mesh_dim_names=names)
    meshes = utils.TransformersDeviceMesh(mesh, mesh)
    module.maybe_distribute_model(module, DistributedConfig(tp_size=ranks), meshes)
    module.tie_weights()


def _shard_gpt2(module: Any, rank: int, ranks: int) -> None:
    for block in module.transformer.h:
        for name, parts in COLUMNS.items():
            _keep_columns(block.get_submodule(name), parts, rank, ranks)
        for name in ROWS:
            _keep_rows(block.get_submodule(name), rank, ranks)
        block.attn.split_size //= ranks


def _keep_columns(layer: Any, parts: int, rank: int, ranks: int) -> None:
    """Keep this rank's columns of each of the equal ``parts`` of a layer's matrix."""

    def kept(whole: Tensor) -> nn.Parameter:
        pieces = [part.chunk(ranks, dim=-1)[rank] for part in whole.chunk(parts, dim=-1)]
        return nn.Parameter(torch.cat(pieces, dim=-1), requires_grad=False)

    layer.weight, layer.bias = kept(layer.weight), kept(layer.bias)
    layer.nf //= ranks


def _keep_rows(layer: Any, rank: int, ranks: int) -> None:
    """Keep this rank's rows of a layer's matrix, and the bias on rank 0; sum the products."""
    weight = layer.weight.chunk(ranks, dim=0)[rank].clone()
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if rank:
        layer.bias = nn.Parameter(torch.zeros_like(layer.bias), requires_grad=False)
    layer.register_forward_hook(_summed)


def _summed(_layer: nn.Module, _inputs: Any, product: Tensor) -> Tensor:
    dist.all_reduce(product)
    return product

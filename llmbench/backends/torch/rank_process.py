"""A rank of a tensor-parallel model: it loads its share, and repeats what rank 0 does.

``python -m llmbench.backends.torch.rank_process`` receives a `RankJob` and then calls of a runner,
until rank 0 closes the channel.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined] # not in __all__
from transformers import PreTrainedModel

from llmbench.backends.base import LoadShape
from llmbench.backends.torch.eager import Eager
from llmbench.engine import rope
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.parallel_runner import ParallelRunner
from llmbench.engine.sampling import Greedy
from llmbench.environment import child_process
from llmbench.environment.child_process import Channel
from llmbench.models import load_model
from llmbench.models.loading import weight_bytes
from llmbench.models.sharding import shard
from llmbench.scenario.schema import ModelOptions

LOOPBACK = "127.0.0.1"
STEP_SECONDS = 60.0  # for which a rank waits for the others in a step
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


@dataclass(frozen=True, slots=True)
class RankJob:
    """What a rank needs to load its share of a model, and to join the others.

    ``port`` is that of rank 0's store on this machine, ``longest`` the longest sequence in tokens.
    """

    rank: int
    ranks: int
    port: int
    threads: int
    longest: int
    attention: str
    model: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RankStatus:
    """What a rank tells rank 0 when it is ready to go on, or why it failed."""

    weight_bytes: int = 0
    failure: str = ""


def join(store: TCPStore, rank: int, ranks: int, device: torch.device) -> None:
    """Join the process group of all ranks; raise an error after STEP_SECONDS."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        BACKENDS[device.type],
        store=store,
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=STEP_SECONDS),
    )


def store_at(port: int, ranks: int, *, is_master: bool) -> TCPStore:
    """Return the store through which ranks find each other; rank 0 has it, at a free port for 0."""
    limit = timedelta(seconds=STEP_SECONDS)
    return TCPStore(
        LOOPBACK, port, ranks, is_master=is_master, timeout=limit, wait_for_workers=False
    )


def main() -> int:
    """Do what rank 0 asks for; return the exit code."""
    parent = child_process.parent()
    parent.send(RankStatus())  # the modules are imported
    try:
        _follow(parent, parent.receive(RankJob))
    except EOFError:  # rank 0 has ended
        return 0
    except Exception as error:  # noqa: BLE001 (rank 0 reports it)
        parent.send(RankStatus(failure=f"{type(error).__name__}: {error}"))
        return 1
    return 0


@torch.inference_mode()
def _follow(parent: Channel, job: RankJob) -> None:
    """Load this rank's share of the model, and repeat rank 0's calls until it ends."""
    torch.set_num_threads(job.threads)
    options = ModelOptions.model_validate(job.model)
    model = rope.pinned(load_model(options, job.attention), job.longest)
    parent.send(RankStatus())
    parent.receive(str)  # rank 0 has loaded it, too
    join(store_at(job.port, job.ranks, is_master=False), job.rank, job.ranks, model.device)
    shard(model.module)
    parent.send(RankStatus(weight_bytes=weight_bytes(model.module)))
    runners: dict[int, Any] = {}
    while True:
        number, name, arguments = parent.receive(tuple[int, str, list[Any]])
        if name == "runner":
            runners[number] = _runner(model.module, *arguments)
        else:
            getattr(runners[number], name)(*arguments)


def _runner(module: PreTrainedModel, slots: int, max_length: int) -> ParallelRunner:
    """Return a runner with a KV cache of the same shape as rank 0's."""
    buckets = Eager(Eager.Options()).buckets(LoadShape((), 0), slots, max_length)
    cache = KvCache.allocate(module, slots, max_length)
    runner = ParallelRunner(module, cache, Greedy(), buckets, repeat=lambda *_: None)
    gc.collect()
    gc.freeze()  # a collection would delay a step of all ranks
    return runner


if __name__ == "__main__":
    raise SystemExit(main())

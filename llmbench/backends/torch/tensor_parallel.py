"""Tensor parallelism of the eager backend: this process is rank 0, the others are its children.

Rank 0 serves with the ordinary engine. Each call of its runner is sent to the other ranks over
their pipes, and they run the same step on their share of the model and of the KV cache.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from llmbench import models
from llmbench.backends import memory
from llmbench.backends.local import LocalServer
from llmbench.backends.torch.eager import Eager
from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.errors import InputError, LlmbenchError, MeasurementError, Unavailable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmbench.analysis.roofline.work import ModelCosts
    from llmbench.backends.base import OpenContext
    from llmbench.backends.local import Checked, LocalRunner
    from llmbench.backends.torch.rank_process import RankStatus
    from llmbench.engine.buckets import Buckets
    from llmbench.engine.parallel_runner import ParallelRunner, ShardedModel
    from llmbench.engine.sampling import Sampler
    from llmbench.models.loading import TorchModel
    from llmbench.scenario.schema import ModelOptions

MODULE = "llmbench.backends.torch.rank_process"
END_SECONDS = 2.0  # within which a rank that fails has said so, or has ended
NO_COSTS = "the steps of several ranks are not compared with the peaks of one device"
NO_PEAK = "torch counts the memory of one process, and the ranks are several"


class TensorParallel(Eager):
    """The eager backend with a model that is divided among several processes.

    The self-check compares the steps of all ranks with the undivided model, which rank 0 keeps
    until then.
    """

    ranks: Ranks

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[LocalServer]:
        """Start the other ranks, divide the model, warm it up, and yield its server.

        Raises MeasurementError if a rank ends or does not answer.
        """
        with _started(context.parallel.tensor) as self.ranks, _clear_failures(self.ranks):
            opened = super(Eager, self).open(context)  # Eager's would divide the model once more
            with opened as server:
                yield server

    def load(self, context: OpenContext) -> ShardedModel:  # type: ignore[override] # no torch_model
        """Load the model in all ranks, and keep this rank's share of it."""
        from llmbench.backends.torch.rank_process import join, store_at  # noqa: PLC0415 (imports torch)
        from llmbench.engine import rope  # noqa: PLC0415 (the same)
        from llmbench.models.sharding import check_plan, shard  # noqa: PLC0415 (the same)

        ranks, longest = self.ranks, context.load_shape.longest_sequence
        options = _by_rank(context.model, ranks.number)
        ranks.statuses()  # they have imported their modules
        store = store_at(0, ranks.number, is_master=True)
        self._send_jobs(options, store.port, longest)
        model = rope.pinned(models.load_model(options[0], self.attention), longest)
        check_plan(model.module)
        ranks.statuses()  # they have loaded the model, too
        ranks.send("join")
        join(store, 0, ranks.number, model.device)
        whole = deepcopy(model.module) if context.model.self_check else None
        shard(model.module)
        return _sharded(model, whole, ranks)

    def _send_jobs(self, options: list[ModelOptions], port: int, longest: int) -> None:
        import torch  # noqa: PLC0415 (imported by `open`)

        from llmbench.backends.torch.rank_process import RankJob  # noqa: PLC0415 (imports torch)

        for rank, child in enumerate(self.ranks.children, start=1):
            child.send(
                RankJob(
                    rank=rank,
                    ranks=self.ranks.number,
                    port=port,
                    threads=torch.get_num_threads(),
                    longest=longest,
                    attention=self.attention,
                    model=options[rank].model_dump(),
                )
            )

    def runner(  # type: ignore[override] # a share of a model
        self,
        model: ShardedModel,
        buckets: Buckets,
        sampler: Sampler,
        *,
        slots: int,
        max_length: int,
    ) -> ParallelRunner:
        """Allocate this rank's KV cache, and return a runner whose steps all ranks run."""
        from llmbench.engine.kv_cache import KvCache  # noqa: PLC0415 (imports torch)
        from llmbench.engine.parallel_runner import ParallelRunner  # noqa: PLC0415 (imports torch)

        repeat = self.ranks.new_runner(slots, max_length)
        cache = KvCache.allocate(model.module, slots, max_length)
        return ParallelRunner(model.module, cache, sampler, buckets, repeat=repeat)

    def references(self, model: ShardedModel, runner: LocalRunner) -> Iterator[Checked]:  # type: ignore[override]
        """Yield the runner with the forward of the undivided module."""
        from llmbench.engine.own_forward import reference_of  # noqa: PLC0415 (imports torch)

        assert model.whole  # noqa: S101 (kept until the self-check)
        yield runner, reference_of(model.whole, model.effective["parameters"])

    def without_references(self, model: ShardedModel) -> ShardedModel:  # type: ignore[override]
        """Return the model without its undivided module."""
        return replace(model, whole=None)

    def costs(self, model: TorchModel) -> ModelCosts:
        """Raise Unavailable: a step is that of several ranks."""
        del model
        raise Unavailable(NO_COSTS)

    def allocator(self, context: OpenContext) -> memory.Gauge:
        """Return a tracker without values: torch counts the memory of one process."""
        own = super().allocator(context)
        return memory.Untracked(NO_PEAK) if isinstance(own, memory.Allocator) else own

    def resident(self) -> memory.Gauge:
        """Return a tracker of the peaks of the resident memory of all ranks, added up."""
        pids = (child.pid for child in self.ranks.children)
        return memory.Resident((memory.SELF, *(Path(f"/proc/{pid}") for pid in pids)))


def _by_rank(options: ModelOptions, ranks: int) -> list[ModelOptions]:
    """Return the options of each rank, on its own GPU; raise InputError for too few of them."""
    import torch  # noqa: PLC0415 (imported by `open`)

    from llmbench.models.loading import device_of  # noqa: PLC0415 (imports torch)

    first = device_of(options.device)
    if first.type != "cuda":
        return [options.model_copy(update={"device": first.type})] * ranks
    devices, there = range(first.index, first.index + ranks), torch.cuda.device_count()
    if devices[-1] >= there:
        raise InputError(
            f"parallel.tensor: {ranks} ranks from {first} on need {devices[-1] + 1} GPUs, but "
            f"torch {torch.__version__} sees {there}; use fewer, or see `llmbench doctor`"
        )
    return [options.model_copy(update={"device": f"cuda:{index}"}) for index in devices]


def _sharded(model: TorchModel, whole: PreTrainedModel | None, ranks: Ranks) -> ShardedModel:
    """Return a model whose module is divided, with the sizes of all shares."""
    from llmbench.engine.parallel_runner import ShardedModel  # noqa: PLC0415 (imports torch)
    from llmbench.models.loading import LoadedModel, weight_bytes  # noqa: PLC0415 (the same)

    values = {field.name: getattr(model, field.name) for field in fields(LoadedModel)}
    setting = {"tensor": ranks.number}
    values |= {
        "weight_bytes": weight_bytes(model.module) + sum(s.weight_bytes for s in ranks.statuses()),
        "requested": {**model.requested, **setting},
        "effective": {**model.effective, **setting},
    }
    return ShardedModel(**values, module=model.module, whole=whole)


# -- the other ranks -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ranks:
    """The other ranks of a model, from rank 1 on, and the number of runners that they have."""

    children: tuple[Child, ...]
    runners: Iterator[int]

    @property
    def number(self) -> int:
        """The number of all ranks."""
        return 1 + len(self.children)

    def send(self, message: object) -> None:
        """Send a message to each of them."""
        for child in self.children:
            child.send(message)

    def new_runner(self, *sizes: int) -> Any:
        """Have them allocate a runner; return the function that has them call its methods."""
        number = next(self.runners)
        self._call(number, "runner", *sizes)
        return partial(self._call, number)

    def _call(self, runner: int, name: str, *arguments: Any) -> None:
        self.send((runner, name, arguments))

    def statuses(self) -> list[RankStatus]:
        """Return the next message of each; raise MeasurementError if one has failed."""
        return [_status_of(rank, child) for rank, child in enumerate(self.children, start=1)]

    def failure(self) -> MeasurementError | None:
        """Return the failure of a rank: first of one that was killed; None if all still run."""
        failures = [*map(_failure, range(1, self.number), self.children)]
        known = [failure for failure in failures if failure]
        return min(known, key=lambda failure: failure.has_reason, default=None)


class RankFailedError(MeasurementError):
    """A rank of a model has ended; ``has_reason``: it said why before."""

    has_reason = False


def _status_of(rank: int, child: Child) -> RankStatus:
    """Return the next message of a rank; raise RankFailedError if it has failed."""
    from llmbench.backends.torch.rank_process import RankStatus  # noqa: PLC0415 (imports torch)

    try:
        status = child.receive(RankStatus)
    except EOFError:
        raise RankFailedError(f"rank {rank} of the model {_end_of(child)}") from None
    if status.failure:
        failure = RankFailedError(f"rank {rank} of the model failed: {status.failure}")
        failure.has_reason = True
        raise failure
    return status


def _failure(rank: int, child: Child) -> RankFailedError | None:
    """Return the failure of a rank that has ended or ends now, or None."""
    if not child.poll(END_SECONDS):
        return None
    try:
        _status_of(rank, child)
    except RankFailedError as failure:
        return failure
    return None


def _end_of(child: Child) -> str:
    """Return how a rank ended, in words."""
    try:
        code = child.wait(END_SECONDS)
    except TimeoutExpired:
        return "closed its channel"
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"


@contextmanager
def _started(ranks: int) -> Iterator[Ranks]:
    """Start all ranks but this one; they and the process group end with the context."""
    with ExitStack() as stack:
        children = [stack.enter_context(child_process.started(MODULE)) for _ in range(1, ranks)]
        try:
            yield Ranks(tuple(children), count())
        finally:
            _leave()


def _leave() -> None:
    """End the process group, if this process has joined one."""
    import torch.distributed as dist  # noqa: PLC0415 (imports torch)

    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _clear_failures(ranks: Ranks) -> Iterator[None]:
    """Raise what has happened to a rank in place of the error of a step that it broke."""
    try:
        yield
    except LlmbenchError:
        raise
    except Exception as error:
        if failure := ranks.failure():
            raise failure from error
        if "timed out" in str(error).lower():
            raise MeasurementError(_silent()) from error
        raise


def _silent() -> str:
    from llmbench.backends.torch.rank_process import STEP_SECONDS  # noqa: PLC0415 (imports torch)

    return f"a rank of the model did not answer for {STEP_SECONDS:g} s; its process may be stopped"

"""The base class of backends that run a model in this process."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from llmbench import models
from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.backends import base, memory
from llmbench.backends.base import Backend, BackendReport, LoadShape, OpenContext, Output, Server
from llmbench.backends.gc_freeze import frozen_gc, paused_gc
from llmbench.backends.memory import MemoryPlan, Peaks
from llmbench.engine import warmup
from llmbench.engine.buckets import Buckets, doublings, round_up
from llmbench.engine.engine import BatchRunner, ChunkRunner, Engine, ModelRunner
from llmbench.engine.injected_delay import delayed
from llmbench.engine.step_log import StepLog
from llmbench.engine.warmup import Warmup, WarmupRunner, WarmupStep, graphs_compiled
from llmbench.environment import usable_cores
from llmbench.environment.probing import Reader
from llmbench.errors import InputError
from llmbench.loads.clock import Clock
from llmbench.loads.closed import one_after_another
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.runs.series import Series
from llmbench.scenario.schema import EngineOptions, ModelOptions

if TYPE_CHECKING:
    import torch

    from llmbench.engine.own_forward import Reference
    from llmbench.engine.sampling import Sampler
    from llmbench.engine.scoring import Scorer
    from llmbench.engine.self_check import SelfCheck
    from llmbench.models.loading import LoadedModel, TorchModel

    Checked = tuple["LocalRunner", Reference]

LENGTH_MULTIPLE = 64
FEW_CORES = 4
WARMUP_CHUNKS = 4
# docs/performance.md has the measurements
CPU_PREFILL_TOKENS = 64
GPU_PREFILL_TOKENS = 512
ONE_BY_ONE = "this backend prefills prompts one by one"


Model = TypeVar("Model", bound="LoadedModel")


class LocalRunner(WarmupRunner, Protocol):
    """The runner of a local backend's steps; ``counts`` are counters specific to the runner.

    ``sampler`` may be exchanged between steps if the runner ``shows_logits``.
    """

    counts: Counter[str]
    sampler: Sampler
    shows_logits: bool

    @property
    def cache_nbytes(self) -> int:
        """The size of the KV cache in bytes."""


class LocalBackend(Backend, ABC, Generic[Model]):
    """Loads a model into this process, warms it up and serves it with the engine.

    A subclass defines how a model is loaded, the runner of its steps, and their shapes. Local
    backends are ``profilable``: they open a LocalServer, whose steps can be traced.
    """

    profilable: ClassVar = True
    has_engine: ClassVar = True

    @abstractmethod
    def load(self, context: OpenContext) -> Model:
        """Load a model; raises InputError when it is unavailable."""

    @abstractmethod
    def runner(
        self, model: Model, buckets: Buckets, sampler: Sampler, *, slots: int, max_length: int
    ) -> LocalRunner:
        """Return the runner of prefill and decode steps, with its KV cache allocated."""

    @abstractmethod
    def buckets(self, load_shape: LoadShape, slots: int, max_length: int) -> Buckets:
        """Return the prompt lengths, batch sizes and cache lengths that steps are rounded up to."""

    @abstractmethod
    def warmup_shapes(self, buckets: Buckets, load_shape: LoadShape) -> Buckets:
        """Return the sizes of the steps that the warm-up runs."""

    def warmup_totals(self, buckets: Buckets, totals: range) -> Sequence[int]:
        """Return the total lengths of the prompts that the warm-up prefills together.

        ``totals`` are those of the load's prompts that share a step; the default is the largest.
        """
        del buckets
        return totals[-1:]

    def warmup_chunks(self, buckets: Buckets, longest: int) -> Sequence[int]:
        """Return the sizes of the chunks behind cached tokens that the warm-up prefills, ascending.

        ``longest`` is that of the load's chunks; the default is a few sizes up to it.
        """
        del buckets
        return doublings(1, longest)[-WARMUP_CHUNKS:]

    def context_length(self, model: ModelOptions) -> int | None:
        """Return a model's context length in tokens, if its configuration is on this machine."""
        return models.context_length(model)

    def imports(self) -> None:
        """Import the modules that loading needs, so that import time is measured separately."""
        from llmbench.models import loading  # noqa: F401, PLC0415 (imports torch, transformers)

    def settings(self) -> dict[str, Any]:
        """Return the backend-specific settings; their effective values are the requested ones."""
        return {}

    @abstractmethod
    def costs(self, model: Model) -> ModelCosts:
        """Return the bytes and FLOPs of a model's steps; raises Unavailable if unknown."""

    def allocator(self, context: OpenContext) -> memory.Gauge:
        """Return a tracker of peak tensor memory."""
        from llmbench.models.loading import device_of  # noqa: PLC0415 (imports torch)

        device = device_of(context.model.device)
        if device.type == "cuda":
            return memory.Allocator(device)
        return memory.Untracked(f"torch keeps no allocator statistics on {device.type}")

    def resident(self) -> memory.Gauge:
        """Return a tracker of peak resident memory, by default of this process."""
        return memory.Resident()

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[LocalServer]:
        """Load, compile and warm up the model, and yield its server.

        Raises InputError when the model is unavailable or its context is too short, and
        OutOfMemoryError when memory runs out.
        """
        context.on_stage("importing")
        began = time.monotonic()
        with paused_gc():
            import torch  # noqa: PLC0415 (validating a scenario must not import torch)

            self.imports()
        imported = time.monotonic() - began
        ranks = context.parallel.tensor
        torch.set_num_threads(threads_of(context.engine, _threads(), usable_cores(), ranks))
        peaks = Peaks(self.allocator(context), self.resident())
        plan = MemoryPlan(context.engine.slots)
        with memory.as_out_of_memory(plan):
            context.on_stage("loading the model")
            began = time.monotonic()
            with peaks.of("load"):
                model = self.load(context)
            loaded = time.monotonic() - began - (model.compile_seconds or 0.0)
            context.load_shape.check(model.context_length)
            context.on_stage("measuring the device's peak rates")
            roofline = RooflineInputs.of(model, partial(self.costs, model))
            _plan(plan, context, model, roofline.model_costs)
            cold_start: dict[str, float | None] = {"import": imported, "load": loaded}
            with torch.inference_mode():
                server = self._warm_server(context, model, cold_start, roofline, peaks)
                del model  # the server's has no reference for the self-check
                plan.stage = "serving the load"
                yield server

    def references(self, model: Model, runner: LocalRunner) -> Iterator[Checked]:
        """Yield the runners to check at load, each with its model's forward; none by default."""
        del model, runner
        yield from ()

    def checked_prompts(self, load_shape: LoadShape, max_length: int) -> Sequence[int]:
        """Return the prompt lengths that the self-check may use, ascending: by default any."""
        del load_shape
        return range(1, max_length + 1)

    def without_references(self, model: Model) -> Model:
        """Return a model without what only `references` needs; by default, that is nothing."""
        return model

    def scorer(self, context: OpenContext, model: Model, load_shape: LoadShape) -> Scorer:
        """Return a scorer of texts by the model's logits; it scores one text per slot at a time."""
        from llmbench.engine.scoring import ForcedSampler, Scorer  # noqa: PLC0415 (imports torch)

        load_shape.check(model.context_length)
        slots = context.engine.slots
        max_length = cache_length(load_shape, model)
        forced = ForcedSampler(rows=slots, vocabulary=model.vocabulary, device=model.device)
        buckets = self.buckets(load_shape, slots, max_length)
        runner = self.runner(model, buckets, forced, slots=slots, max_length=max_length)
        return Scorer(runner, forced, answering=runner)

    @contextmanager
    def traced(self, model: Model, runner: Any, folder: Path) -> Iterator[LocalRunner]:
        """Yield a runner whose runtime writes a trace of its operators into a folder, if supported.

        The trace is a Chrome trace whose ``baseTimeNanoseconds`` is in system time; it is complete
        when the context ends. The default writes none: torch's profiler records torch's operators.
        """
        del model, folder
        yield runner

    def _warm_server(
        self,
        context: OpenContext,
        model: Model,
        cold_start: dict[str, float | None],
        roofline: RooflineInputs,
        peaks: Peaks,
    ) -> LocalServer:
        from llmbench.engine.sampling import sampler_of  # noqa: PLC0415 (imports torch)

        slots, load_shape = context.engine.slots, context.load_shape
        max_length = cache_length(load_shape, model)
        began = time.monotonic()
        buckets = self.buckets(load_shape, slots, max_length)
        sampler = sampler_of(
            context.sampling,
            rows=slots,
            vocabulary=model.vocabulary,
            device=model.device,
            seed=context.seed,
        )
        runner = self.runner(model, buckets, sampler, slots=slots, max_length=max_length)
        prepared = time.monotonic() - began
        context.on_stage("warming up")
        first = first_chunks(load_shape, context.engine.prefill_chunk)
        shapes = self.warmup_shapes(buckets, first)
        budget = prefill_tokens_of(context.engine, runner, model.device)
        totals = self.warmup_totals(buckets, shared_totals(first, slots, budget))
        steps = warmup.warmup_steps(runner, shapes, totals)
        chunks = self._chunk_steps(context, runner, buckets)
        warmed = warmup.warm_up({**steps, **chunks}, graphs_compiled, on_stage=context.on_stage)
        cold_start["first_token"] = prepared + warmed.first_token_seconds
        cold_start["steady"] = sum(warmed.steps) - warmed.first_token_seconds
        checked, cold_start["self_check"] = self._self_check(
            context, model, runner, max_length, budget
        )
        model = self.without_references(model)
        _take_peaks(peaks, runner, shapes, totals, chunks)
        sampler.restart()
        roofline = roofline.checked(runner.cache_nbytes, slots * max_length)
        return LocalServer(
            self, context, model, runner, budget, warmed, checked, cold_start, roofline, peaks
        )  # fmt: skip

    def _chunk_steps(
        self, context: OpenContext, runner: LocalRunner, buckets: Buckets
    ) -> dict[str, WarmupStep]:
        """Return the warm-up's prefill steps behind cached tokens; none if no option needs them.

        Raise InputError if the runner prefills whole prompts only.
        """
        engine, longest = context.engine, context.load_shape.prompt_lengths[-1]
        option = chunk_option(engine)
        if option is None:
            return {}
        if not isinstance(runner, ChunkRunner):
            raise InputError(
                f"engine.{option}: backend `{type(self).__name__.lower()}` prefills whole prompts "
                "only; remove the key, or use a backend whose runner has `prefill_chunks`"
            )
        if longest == 1:
            return {}
        sizes = self.warmup_chunks(buckets, min(longest - 1, engine.prefill_chunk or longest))
        return warmup.chunk_steps(runner, sizes, longest)

    def _self_check(
        self, context: OpenContext, model: Model, runner: LocalRunner, max_length: int, budget: int
    ) -> tuple[SelfCheck | None, float | None]:
        """Compare the engine with the model's own forward; return the result and the seconds.

        Both are None if nothing is to be compared. Raises InputError for a difference.
        """
        from llmbench.engine import check_requests, self_check  # noqa: PLC0415 (imports torch)

        if not context.model.self_check:
            return None, None
        context.on_stage("checking against the model")
        began = time.monotonic()
        shape, engine = context.load_shape, context.engine
        prompts = self.checked_prompts(shape, max_length)
        capacity = check_requests.Capacity(engine.slots, prompts, shape.longest_sequence)
        result = self_check.total(
            self_check.check(
                checked,
                reference,
                capacity,
                engine.batching,
                budget,
                chunk_runner=chunked(checked, engine),
            )
            for checked, reference in self.references(model, runner)
        )
        return result, time.monotonic() - began if result else None


@dataclass(frozen=True, slots=True)
class RooflineInputs:
    """The model's costs and the device's measured peaks; ``reasons`` says why one is unknown."""

    model_costs: ModelCosts | None
    device_peaks: DevicePeaks | None
    reasons: dict[str, str]

    @classmethod
    def of(cls, model: LoadedModel, costs: Callable[[], ModelCosts]) -> RooflineInputs:
        """Compute the model's costs and get the device's measured peaks."""
        from llmbench.engine.device_peaks import peaks_of  # noqa: PLC0415 (imports torch)

        reader = Reader()
        known = reader.read("model_costs", costs)
        peaks = partial(peaks_of, model.device, model.effective["dtype"], _threads())
        return cls(known, reader.read("device_peaks", peaks), reader.reasons)

    def checked(self, cache_bytes: int, positions: int) -> RooflineInputs:
        """Return the inputs, without the costs if they imply another KV cache size in bytes."""
        costs = self.model_costs
        if costs is None or costs.kv_token_bytes * positions == cache_bytes:
            return self
        reason = "the KV cache size differs from what the model's configuration implies"
        return RooflineInputs(None, self.device_peaks, {**self.reasons, "model_costs": reason})


def _plan(
    plan: MemoryPlan, context: OpenContext, model: LoadedModel, costs: ModelCosts | None
) -> None:
    """Store the sizes of weights and KV cache in ``plan``.

    Raises OutOfMemoryError if a KV cache on the host exceeds the available memory.
    """
    plan.stage, plan.weight_bytes = "warming up", model.weight_bytes
    if costs is not None:
        positions = context.engine.slots * cache_length(context.load_shape, model)
        plan.kv_bytes = positions * costs.kv_token_bytes
    if model.device.type == "cpu":
        plan.check_host()


def _take_peaks(
    peaks: Peaks,
    runner: WarmupRunner,
    shapes: Buckets,
    totals: Sequence[int],
    chunks: Mapping[str, WarmupStep],
) -> None:
    """Rerun the largest prefill and decode steps to measure the memory peak of each phase."""
    largest = shapes.thinned(1)
    phases = {
        "prefill": {**warmup.prefills(runner, largest, totals[-1:]), **chunks},
        "decode": warmup.decodes(runner, largest),
    }
    for phase, steps in phases.items():
        with peaks.of(phase):
            for step in steps.values():
                step()


def threads_of(engine: EngineOptions, default: int, cores: int, ranks: int = 1) -> int:
    """Return the number of CPU threads of a backend; ``default`` is torch's, one per physical core.

    ``auto`` is that default, at most the usable ``cores``. On 2 to 4 cores it leaves one of them to
    the harness and other programs: a step waits for its slowest thread. Several ``ranks`` divide
    the cores. OMP_NUM_THREADS has precedence over ``auto``.
    """
    if engine.threads != "auto":
        return engine.threads
    if "OMP_NUM_THREADS" in os.environ:
        return default
    if ranks > 1:
        return max(1, cores // ranks)
    return cores - 1 if 1 < cores <= FEW_CORES else min(default, cores)


def prefill_tokens_of(engine: EngineOptions, runner: ModelRunner, device: torch.device) -> int:
    """Return the most prompt tokens of a prefill step; 1 if the runner runs prompts one by one."""
    if not isinstance(runner, BatchRunner):
        return 1
    if engine.prefill_tokens != "auto":
        return engine.prefill_tokens
    return CPU_PREFILL_TOKENS if device.type == "cpu" else GPU_PREFILL_TOKENS


def chunk_option(engine: EngineOptions) -> str | None:
    """Return the option that needs prefill steps behind cached tokens, or None."""
    if engine.prefill_chunk is not None:
        return "prefill_chunk"
    return "prefix_cache" if engine.prefix_cache else None


def chunked(runner: ModelRunner, engine: EngineOptions) -> ChunkRunner | None:
    """Return the runner if it prefills behind cached tokens, and an option needs that."""
    return runner if chunk_option(engine) and isinstance(runner, ChunkRunner) else None


def first_chunks(load_shape: LoadShape, chunk: int | None) -> LoadShape:
    """Return the shape of a load with the lengths of its prompts' first chunks."""
    if chunk is None:
        return load_shape
    lengths = {min(length, chunk) for length in load_shape.prompt_lengths}
    return replace(load_shape, prompt_lengths=tuple(sorted(lengths)))


def shared_totals(load_shape: LoadShape, slots: int, budget: int) -> range:
    """Return the total lengths in tokens that prompts of one prefill step may have."""
    lengths = load_shape.prompt_lengths
    most = min(budget, slots * lengths[-1]) if slots > 1 else 0
    return range(2 * lengths[0], most + 1)


def cache_length(load_shape: LoadShape, model: LoadedModel) -> int:
    """Return a slot's length in tokens: the longest sequence rounded up, within the context."""
    length = round_up(load_shape.longest_sequence, LENGTH_MULTIPLE)
    return length if model.context_length is None else min(length, model.context_length)


@dataclass(slots=True)
class LocalServer(Server):
    """A warm model that serves one load.

    ``cold_start`` is in seconds: ``import`` of modules that the workload had not imported, ``load``
    until the weights are on the device, ``first_token`` from there until the first token id is on
    the host (including cache allocation and compilation), ``steady`` for the rest of the warm-up,
    ``self_check`` for the comparison with the model's own forward.
    """

    backend: LocalBackend[Any]
    context: OpenContext
    model: LoadedModel
    runner: LocalRunner
    prefill_tokens: int
    warmup: Warmup
    self_check: SelfCheck | None
    cold_start: dict[str, float | None]
    roofline: RooflineInputs
    peaks: Peaks
    counters: dict[str, int] = field(default_factory=dict)
    step_log: StepLog = field(default_factory=lambda: StepLog(0.0))
    outputs: dict[int, Output] = field(default_factory=dict)

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        """Serve the load with the garbage collector frozen; count compilations and collections."""
        slowdown = self.context.slowdown
        engine = Engine.of(
            self.context.engine,
            delayed(self.runner, slowdown) if slowdown else self.runner,
            clock,
            priorities=self.context.priorities,
            prefill_tokens=self.prefill_tokens,
            stop_ids=self.model.eos_ids if self.context.stop_at_eos else frozenset(),
            keep_outputs=self.context.keep_outputs or self.context.keep_answers,
            on_progress=on_progress,
        )
        graphs = graphs_compiled()
        self.runner.counts.clear()
        self.peaks.allocator.reset()
        with frozen_gc() as collections:
            records = engine.serve(dispatch)
        self.step_log = engine.step_log
        self.counters = {
            "compiles_in_window": graphs_compiled() - graphs,
            "graph_breaks": warmup.graph_breaks(),
            "gc_collections": len(collections),
            **self.runner.counts,
        }
        self.outputs = Output.of_records(records) if self.context.keep_answers else {}
        return self.context.as_stored(records)

    def series(self) -> tuple[Series, ...]:
        """Return the shares of the engine's time over the last load."""
        return self.step_log.series()

    def answers(self) -> Mapping[int, Output]:
        """Return the token ids of the complete answers of the last load."""
        return self.outputs

    def answer_alone(self, requests: Sequence[Request]) -> list[Output]:
        """Serve requests one by one, with the same runner as the load."""
        self.serve(one_after_another(requests), self.new_clock(), lambda: None)
        return [self.outputs[request.id] for request in requests]

    @property
    def torch_model(self) -> TorchModel | None:
        """The model as a torch module, or None if another runtime runs it."""
        from llmbench.models.loading import TorchModel  # noqa: PLC0415 (already imported)

        return self.model if isinstance(self.model, TorchModel) else None

    def scorer(self, load_shape: LoadShape) -> Scorer:
        """Return a scorer of texts by the model's logits."""
        return self.backend.scorer(self.context, self.model, load_shape)

    def traced(self, folder: Path) -> AbstractContextManager[LocalRunner]:
        """Yield a runner that also writes its runtime's operator trace to ``folder``, if any."""
        return self.backend.traced(self.model, self.runner, folder)

    def report(self) -> BackendReport:
        """Return the requested and effective settings, the start-up times and the memory sizes."""
        compiles = self._compile_seconds()
        sizes = {"weights": self.model.weight_bytes, "kv_cache": self.runner.cache_nbytes}
        peaks = self.peaks.since_reset()
        reasons = {**self.roofline.reasons, **self.peaks.reader.reasons}
        if compiles is None:
            reasons["compile"] = "this backend compiles, exports and compresses nothing"
        if self.self_check is None:
            reasons["self_check"] = self._unchecked()
        return BackendReport(
            requested=self._requested(),
            effective=self.effective(),
            cold_start={**self.cold_start, "compile": compiles},
            memory={**sizes, **peaks},
            counters=self.counters,
            reasons=reasons,
            model_costs=self.roofline.model_costs,
            device_peaks=self.roofline.device_peaks,
            warmup_steps=self.warmup.steps,
            self_check=asdict(self.self_check) if self.self_check else {},
            engine_steps=self.step_log.report(),
            caveats=tuple(self._caveats()),
        )

    def _compile_seconds(self) -> float | None:
        if not graphs_compiled():
            return self.model.compile_seconds
        return self.warmup.compile_seconds + (self.model.compile_seconds or 0.0)

    def _unchecked(self) -> str:
        """Return why there was no self-check."""
        if self.context.model.self_check:
            return "this backend has no forward of its own model to compare with"
        return "`model.self_check` is false"

    def _requested(self) -> dict[str, Any]:
        engine = self.context.engine
        own = {"threads": engine.threads, "prefill_tokens": engine.prefill_tokens}
        return {**self.model.requested, **own, **self._chunking(), **self.backend.settings()}

    def _chunking(self) -> dict[str, Any]:
        """Return the options of chunked prefill and prefix reuse that are in use."""
        engine = self.context.engine
        options = {"prefill_chunk": engine.prefill_chunk, "prefix_cache": engine.prefix_cache}
        return {name: value for name, value in options.items() if value}

    def effective(self) -> dict[str, Any]:
        """Return the effective settings of the model, torch and the backend."""
        own = {"threads": _threads(), "prefill_tokens": self.prefill_tokens}
        return {**self.model.effective, **own, **self._chunking(), **self.backend.settings()}

    def _caveats(self) -> Iterator[Caveat]:
        yield from self.model.caveats
        reasons = {"prefill_tokens": ONE_BY_ONE, **self.model.reasons}
        yield from base.not_effective(self._requested(), self.effective(), reasons)
        peaks = self.roofline.device_peaks
        if peaks and peaks.is_doubtful:
            yield Caveat("roof-under-load", percent=peaks.other_load_percent)
        if not self.context.model.self_check:
            yield Caveat("unchecked")
        elif self.self_check and self.self_check.result == "undecided":
            yield Caveat("check-undecided")
        if not self.warmup.steady:
            yield Caveat("unsteady-warmup", rounds=len(self.warmup.rounds))
        if self.counters["compiles_in_window"]:
            yield Caveat("recompiled", graphs=self.counters["compiles_in_window"])


def local_server(server: Server) -> LocalServer:
    """Return ``server`` as a LocalServer; raises TypeError if its backend is not ``profilable``."""
    if not isinstance(server, LocalServer):
        raise TypeError(f"{type(server).__name__} is not a server of a local backend")
    return server


def _threads() -> int:
    import torch  # noqa: PLC0415 (already imported by `open`)

    return torch.get_num_threads()

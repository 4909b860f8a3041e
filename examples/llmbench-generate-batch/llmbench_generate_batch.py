"""A backend for llmbench: transformers' own continuous batching, the one of `generate_batch`.

transformers batches requests over a paged cache in a thread of its own, and timestamps a token when
its id is on the host. It returns whole answers only, so a load that needs first tokens as they
come, such as `load: mlperf`, is notified late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from pydantic import Field

from llmbench import models, plugins
from llmbench.backends import BackendReport, OpenContext, Record, Server, frozen_gc, not_effective
from llmbench.engine import Sequence
from llmbench.errors import InputError, MeasurementError
from llmbench.loads import Clock, Dispatch, RequestOutcome

if TYPE_CHECKING:
    from llmbench.backends import TorchModel

PAGE_TOKENS = 256  # transformers' default
WARMUP_ROUNDS = 3
WARMUP_TOKENS = 8
POLL_SECONDS = 0.01
NO_EOS = [-1]


class GenerateBatch:
    """PyTorch with the continuous batching and the paged cache of transformers' generate_batch."""

    class Options(plugins.Options):
        """``{kind: generate-batch, step_tokens: 2048}``."""

        step_tokens: int = Field(
            default=2048,
            ge=1,
            description="most tokens of a step; longer prompts take several steps",
        )
        share_prefixes: bool = Field(
            default=False, description="share the cache of common prompt prefixes"
        )

    def __init__(self, options: Options) -> None:
        self.options = options

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[Server]:
        """Load the model, start the thread that serves it, and warm up.

        Raises InputError for options that this backend does not support.
        """
        _check(context)
        cold_start: dict[str, float] = {}
        with _timed(cold_start, "import"):
            import torch  # noqa: PLC0415 (validating a scenario must not import torch)
            from transformers import GenerationConfig  # noqa: PLC0415 (the same)
        if context.engine.threads != "auto":
            torch.set_num_threads(context.engine.threads)
        context.on_stage("loading the model")
        with _timed(cold_start, "load"):
            model = models.load_model(context.model)
        context.load_shape.check(model.context_length)
        context.on_stage("warming up")
        began = time.monotonic()
        with model.module.continuous_batching_context_manager(  # type: ignore[operator]
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
            continuous_batching_config=self._sizes(context),
        ) as manager:
            server = BatchServer(context, model, manager, cold_start)
            server.warm_up(began)
            yield server

    def _sizes(self, context: OpenContext) -> Any:
        """Return sizes of the cache at which no request is preempted."""
        from transformers import ContinuousBatchingConfig  # noqa: PLC0415 (imports torch)

        slots = context.engine.slots
        pages = ceil(context.load_shape.longest_sequence / PAGE_TOKENS)
        return ContinuousBatchingConfig(
            num_blocks=2 * slots * pages,  # its scheduler admits no request to a nearly full cache
            max_batch_tokens=self.options.step_tokens,
            max_requests_per_batch=slots,
            allow_block_sharing=self.options.share_prefixes,
        )


def _check(context: OpenContext) -> None:
    if context.sampling.temperature > 0:
        raise InputError("sampling.temperature: generate-batch is greedy here; leave it at 0")
    if context.engine.batching != "continuous":
        raise InputError("engine.batching: generate-batch only has `continuous`")
    if context.engine.prefill_tokens != "auto":
        raise InputError("engine.prefill_tokens: generate-batch has `step_tokens` instead")
    if context.engine.queue.policy != "fifo" or context.engine.max_queue is not None:
        raise InputError("engine.queue: the queue of generate-batch is its own; leave it unset")
    if context.slowdown:
        raise InputError(
            "generate-batch cannot inject a delay into its steps; unset LLMBENCH_SLOWDOWN"
        )


@contextmanager
def _timed(stages: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    stages[name] = time.monotonic() - began


@dataclass
class BatchServer(Server):
    """A model, and the manager whose thread serves it; ``cold_start`` is in seconds by stage."""

    context: OpenContext
    model: TorchModel
    manager: Any
    cold_start: dict[str, float]
    warmup_steps: tuple[float, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def torch_model(self) -> TorchModel:
        """The model, for maps of attention."""
        return self.model

    def warm_up(self, began: float) -> None:
        """Answer prompts of lengths that will come, as many at once as there are slots."""
        lengths = self.context.load_shape.prompt_lengths
        some = lengths[:: ceil(len(lengths) / self.context.engine.slots)]
        seconds: list[float] = []
        for _ in range(WARMUP_ROUNDS):
            for number, length in enumerate(some):
                self._add(f"warm-up {number}", [1] * length, WARMUP_TOKENS)
            stamps = [stamp for _ in some for stamp in self._next().timestamps]
            seconds += [late - early for early, late in pairwise(sorted(set(stamps)))]
            self.cold_start.setdefault("first_token", min(stamps) - began)
        self.cold_start["steady"] = time.monotonic() - began - self.cold_start["first_token"]
        self.warmup_steps = tuple(seconds)

    def _add(self, name: str, prompt: list[int], tokens: int) -> None:
        ends = sorted(self.model.eos_ids) if self.context.stop_at_eos else NO_EOS
        self.manager.add_request(
            prompt, name, max_new_tokens=tokens, eos_token_id=ends, record_timestamps=True
        )

    def _next(self) -> Any:
        """Wait for an answer, whenever it comes."""
        while (answer := self._answer(within=1.0)) is None:
            pass
        return answer

    def _answer(self, within: float) -> Any:
        """Return an answer, or None where none comes within these seconds."""
        answer = self.manager.get_result(timeout=within)
        if answer is None and not self.manager.is_running():
            raise MeasurementError("transformers' thread for generation has ended; see its log")
        return answer

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        """Send what is due and collect the answers until the dispatch is finished."""
        origin = time.monotonic() - clock.now()
        waiting: dict[str, Sequence] = {}
        records: list[Record] = []
        with frozen_gc() as collections:
            while not dispatch.finished:
                self._send(dispatch, clock, waiting)
                if answer := self._answer(_poll_seconds(dispatch, clock)):
                    sequence = waiting.pop(answer.request_id)
                    _fill(sequence, answer, origin)
                    records.append(self._hand_back(sequence, dispatch))
                    on_progress()
        self.counters = {"gc_collections": len(collections)}
        return records

    def _send(self, dispatch: Dispatch, clock: Clock, waiting: dict[str, Sequence]) -> None:
        for request, due in dispatch.take_due(clock.now()):
            stop_ids = self.model.eos_ids if self.context.stop_at_eos else frozenset()
            name = str(request.id)
            waiting[name] = Sequence(request, due, sent=clock.now(), stop_ids=stop_ids)
            self._add(name, list(request.prompt), request.max_new_tokens)

    def _hand_back(self, sequence: Sequence, dispatch: Dispatch) -> Record:
        dispatch.first_token(sequence.request.id)
        times, ids = sequence.token_times, sequence.output_ids
        outcome = RequestOutcome(first_token=times[0], tokens=len(ids), answer_ids=ids)
        dispatch.finish(sequence.request.id, times[-1], outcome)
        return sequence.record(keep_outputs=self.context.keep_outputs)

    def report(self) -> BackendReport:
        """Return the requested and effective settings, and the measured costs."""
        requested, effective = self._settings()
        return BackendReport(
            requested=requested,
            effective=effective,
            cold_start={**self.cold_start, "compile": None},
            memory={"weights": self.model.weight_bytes, "kv_cache": None, "allocator_peak": None},
            reasons={
                "compile": "transformers does not separate it from the first steps",
                "kv_cache": "transformers does not report it",
                "allocator_peak": "transformers sizes its cache by the memory that is free",
            },
            counters=self.counters,
            warmup_steps=self.warmup_steps,
            caveats=tuple(not_effective(requested, effective)),
        )

    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return requested and effective settings; the manager may have changed the attention."""
        import torch  # noqa: PLC0415 (already imported)

        attention = self.model.module.config._attn_implementation  # noqa: SLF001 (no public name)
        threads = self.context.engine.threads
        return (
            {**self.model.requested, "threads": threads},
            {**self.model.effective, "attention": attention, "threads": torch.get_num_threads()},
        )


def _poll_seconds(dispatch: Dispatch, clock: Clock) -> float:
    """Return how long to wait for an answer before the next request may be due."""
    due = dispatch.next_due()
    wait = POLL_SECONDS if due is None else due - clock.now()
    return min(max(wait, 0.0), POLL_SECONDS)


def _fill(sequence: Sequence, answer: Any, origin: float) -> None:
    """Copy tokens and timestamps, which are of time.perf_counter: CLOCK_MONOTONIC on Linux."""
    if answer.error:
        raise MeasurementError(f"transformers failed on a request: {answer.error}")
    if len(answer.timestamps) != len(answer.generated_tokens):
        raise MeasurementError(
            "transformers returned a different number of timestamps than of tokens"
        )
    sequence.started = answer.lifespan[0] - origin
    for token, stamp in zip(answer.generated_tokens, answer.timestamps, strict=True):
        sequence.extend([token], stamp - origin)

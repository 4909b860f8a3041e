"""The backend interface: open a backend, serve a load, and report the effective settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from llmbench import plugins
from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.collectors.base import Access
from llmbench.errors import InputError, Unavailable
from llmbench.loads.clock import Clock, MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.request import ConstraintKind, Request
from llmbench.runs.series import Series
from llmbench.scenario.route import Route
from llmbench.scenario.schema import EngineOptions, ModelOptions, ParallelOptions, SamplingOptions
from llmbench.workloads.contents import Contents

if TYPE_CHECKING:
    from llmbench.engine.scoring import Scorer
    from llmbench.models.loading import TorchModel


@dataclass(frozen=True, slots=True)
class LoadShape:
    """The prompt lengths and the longest sequence of a load, which size KV cache and warm-up.

    Lengths are in tokens; ``prompt_lengths`` has each distinct length once, in ascending order.
    """

    prompt_lengths: tuple[int, ...]
    longest_sequence: int

    def check(self, context_length: int | None) -> None:
        """Raise InputError when the longest sequence exceeds a known context length in tokens."""
        if context_length is not None and self.longest_sequence > context_length:
            raise InputError(
                f"workload: the longest request has {self.longest_sequence} tokens (prompt and "
                f"output) but the model's context holds {context_length}; use shorter prompts, "
                "fewer output tokens or a model with a longer context"
            )


@dataclass(frozen=True, slots=True)
class OpenContext:
    """The arguments for opening a backend.

    ``on_stage`` is called with the current stage ("loading", "compiling", "warming up"). ``log`` is
    a file for the output of launched servers. ``slowdown`` is a delay added to every step, as a
    fraction of the step's time. ``routes`` has what the requests of a class have of their own.
    ``keep_answers``: the answers of the load are compared after it.
    """

    model: ModelOptions
    load_shape: LoadShape
    engine: EngineOptions = field(default_factory=EngineOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = 0
    stop_at_eos: bool = False
    keep_outputs: bool = False
    on_stage: Callable[[str], None] = lambda _: None
    log: Path | None = None
    slowdown: float = 0.0
    routes: Mapping[str, Route] = field(default_factory=dict)
    keep_answers: bool = False
    parallel: ParallelOptions = field(default_factory=ParallelOptions)

    @property
    def priorities(self) -> dict[str, int]:
        """The priorities of the request classes that have one."""
        own = ((name, route.priority) for name, route in self.routes.items())
        return {name: priority for name, priority in own if priority is not None}

    def as_stored(self, records: list[Record]) -> list[Record]:
        """Return the records of a load, without token ids that were kept only to compare them."""
        if self.keep_outputs or not self.keep_answers:
            return records
        return [replace(record, output_ids=None) for record in records]


class NothingKept(Unavailable):
    """A backend has no answers to compare; the message says why."""


@dataclass(frozen=True, slots=True)
class Output:
    """An answer: its token ids, or the text of a backend that has no ids.

    ``text`` is the part to grade; None: the text of the ids. ``cached_tokens`` of the prompt came
    from a prompt cache; None if unknown.
    """

    symbols: str | tuple[int, ...]
    text: str | None = None
    cached_tokens: int | None = None

    @classmethod
    def of_records(cls, records: Sequence[Record]) -> dict[int, Output]:
        """Return the token ids of complete answers, by request."""
        return {r.request_id: cls(r.output_ids or ()) for r in records if r.succeeded}

    @property
    def unit(self) -> Literal["tokens", "characters"]:
        """What its symbols are."""
        return "characters" if isinstance(self.symbols, str) else "tokens"


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What a backend reports after the load: its settings, counters and measured costs.

    ``effective`` has the keys of ``requested``; a difference becomes a caveat. ``cold_start`` is in
    seconds by stage, ``memory`` in bytes by kind, ``counters`` are arbitrary counts
    (``compiles_in_window``, ``gc_collections``). None means "not measured", with the reason under
    the same key in ``reasons``. ``client`` has the load client's overhead, with and without a
    server (``floor_...``): lag in seconds, CPU use as a fraction of a core; and the least
    ``round_trip`` to a server in seconds. ``warmup_steps`` has the recorded warm-up step times in
    seconds. ``model_costs`` has the bytes and FLOPs of the model's steps, ``device_peaks`` the
    device's measured peak FLOP rate and bandwidth. ``self_check`` is the result of the comparison
    with the model's own forward, with what was compared; empty if there was none. ``engine_steps``
    has where the time of a local engine went (see `StepLog.report`), ``replicas`` what each replica
    reports of itself, None for a lost one. ``is_monitored`` is False if the system under test runs
    on this machine in other processes than the monitored one, so that its resource use looks like
    that of other programs. ``facts`` become facts of the run.
    """

    requested: dict[str, Any] = field(default_factory=dict)
    effective: dict[str, Any] = field(default_factory=dict)
    cold_start: dict[str, float | None] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    client: dict[str, float | None] = field(default_factory=dict)
    model_costs: ModelCosts | None = None
    device_peaks: DevicePeaks | None = None
    warmup_steps: tuple[float, ...] = ()
    self_check: dict[str, Any] = field(default_factory=dict)
    engine_steps: dict[str, Any] | None = None
    replicas: tuple[dict[str, Any] | None, ...] = ()
    is_monitored: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


def not_effective(
    requested: Mapping[str, Any],
    effective: Mapping[str, Any],
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Caveat]:
    """Yield a caveat for each setting whose effective value differs from the requested one.

    None and ``auto`` match any effective value. ``reasons`` has the known reasons by setting.
    """
    for setting, value in requested.items():
        actual = effective[setting]
        if value in (None, "auto", actual):
            continue
        if reason := reasons.get(setting):
            yield Caveat(
                "fell-back", setting=setting, requested=value, effective=actual, reason=reason
            )
        else:
            yield Caveat("not-effective", setting=setting, requested=value, effective=actual)


class Server(Protocol):
    """An open backend, ready to serve a load.

    The defaults are those of a server in this process, without a load client or a torch module.
    """

    def new_clock(self) -> Clock:
        """Start and return the clock of the load; by default, it reads 0 now."""
        return MonotonicClock()

    def prepare(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Get ready for a load of these requests; return them as they are to be sent.

        The default returns them unchanged.
        """
        return requests

    def calibrate(self, dispatch: Dispatch) -> None:  # noqa: ARG002 (the default)
        """Measure the overhead of the load client, if any, on the requests of ``dispatch``.

        `report` returns the result. The default does nothing.
        """
        return

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        """Serve all requests of ``dispatch`` and return their records.

        ``on_progress`` is called each time requests finish.
        """

    def report(self) -> BackendReport:
        """Return the requested and effective settings, the counters and the measured costs."""

    def series(self) -> tuple[Series, ...]:
        """Return what the backend read of itself during the last load, on the load's clock.

        The default is nothing.
        """
        return ()

    def answers(self) -> Mapping[int, Output]:
        """Return the complete answers of the last load by request id, if the context keeps them."""
        return {}

    def answer_alone(self, requests: Sequence[Request]) -> list[Output]:  # noqa: ARG002 (the default)
        """Answer requests one by one, after the load and its report; return the answers in order.

        Raises NothingKept if the backend has no answers to compare, which is the default.
        """
        raise NothingKept("this backend keeps no answers to compare")

    @property
    def pid(self) -> int:
        """The id of the process that collectors monitor, with its descendants."""
        return os.getpid()

    @property
    def access(self) -> Access | None:
        """How collectors reach the server over HTTP, or None if it is in this process."""
        return None

    @property
    def torch_model(self) -> TorchModel | None:
        """The model that runs as a torch module, or None for other runtimes."""
        return None

    def scorer(self, load_shape: LoadShape) -> Scorer | None:  # noqa: ARG002 (the same)
        """Return a scorer of texts by the model's logits, or None if the backend exposes none."""
        return None


class Backend(plugins.Part):
    """A system under test, to which requests are sent.

    ``profilable`` means that `open` yields a LocalServer, whose steps can be profiled;
    ``has_engine`` that llmbench's engine queues and batches its requests, as `engine` says;
    ``has_routes`` that request classes may have their own model, URL, headers and fields.
    """

    profilable: ClassVar[bool] = False
    has_engine: ClassVar[bool] = False
    has_routes: ClassVar[bool] = False

    def contents(self, case: str, seed: int) -> Contents:  # noqa: ARG002 (the default)
        """Return how prompts that are only lengths are filled for a case, given a run's seed.

        The default, from the workload's own streams, sends all cases the same prompts.
        """
        return Contents()

    def context_length(self, model: ModelOptions) -> int | None:  # noqa: ARG002 (the default)
        """Return a model's context length in tokens if it is known before the model is loaded.

        The default is None: a server has its own.
        """
        return None

    def check_constraints(self, kinds: AbstractSet[ConstraintKind]) -> None:
        """Raise InputError if answers cannot be constrained as the rows of a workload ask for.

        The default refuses: the model of a local backend writes what it writes.
        """
        if kinds:
            raise InputError(
                "workload: its rows constrain the answers (`response_format`, `tools`), which "
                f"{type(self).__name__.lower()} cannot; use an endpoint, or set `constrain: never`"
            )

    def check_parallel(self, parallel: ParallelOptions, model: ModelOptions) -> None:  # noqa: ARG002 (the default)
        """Raise InputError if a model cannot be divided among processes.

        The default refuses: most backends run a model in one process.
        """
        if parallel.tensor > 1:
            raise InputError(
                f"parallel.tensor: {type(self).__name__.lower()} runs a model in one process; use "
                "the backend eager, or remove `parallel`"
            )

    def probe(self, model: ModelOptions, routes: Mapping[str, Route]) -> None:  # noqa: ARG002 (the default)
        """Raise InputError if the system under test cannot be used; called once before its runs.

        ``routes`` has what the requests of a class have of their own. The default does nothing.
        """
        return

    def open(self, context: OpenContext) -> AbstractContextManager[Server]:
        """Load, compile and warm up the model; yield the server, and release all resources at exit.

        Raises InputError for unsupported options instead of replacing them silently.
        """
        raise NotImplementedError


BACKENDS = plugins.Kind("backend", Backend)

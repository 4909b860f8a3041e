"""The one seam: a backend is opened, serves a dispatch, and says what it really was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.scenario.schema import EngineOptions, ModelOptions, SamplingOptions

if TYPE_CHECKING:
    from llmbench.engine.scoring import Scorer
    from llmbench.models.loading import TorchModel


@dataclass(frozen=True, slots=True)
class LoadShape:
    """What the load will ask, known before it starts, so that caches and warm-up fit it.

    Lengths are in tokens; ``prompt_lengths`` are the distinct ones, ascending.
    """

    prompt_lengths: tuple[int, ...]
    longest_sequence: int


@dataclass(frozen=True, slots=True)
class OpenContext:
    """Everything that a backend is opened with.

    ``on_stage`` is told what goes on ("loading", "compiling", "warming up") for people who wait.
    ``log`` is a file that what is started may write to. ``slowdown`` is the share of its
    time by which every step is to take longer, on purpose.
    """

    model: ModelOptions
    demand: LoadShape
    engine: EngineOptions = field(default_factory=EngineOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    seed: int = 0
    stop_at_eos: bool = False
    keep_outputs: bool = False
    on_stage: Callable[[str], None] = lambda _: None
    log: Path | None = None
    slowdown: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What a backend says of itself when the load is over.

    ``requested`` and ``effective`` have the same keys; a difference becomes a caveat.
    ``cold_start`` holds seconds by stage (metrics.STAGES names those that are shown), ``memory``
    bytes by kind, ``counters`` whatever was counted (``compiles_in_window``, ``gc_collections``);
    None stands for "not measured", with the reason under the same key in ``reasons``.
    ``client`` is what a client over the wire needed for itself, and what it needs at the least
    (``floor_...``): seconds of lag, shares of a core. ``warmup_steps`` is the kept series of
    warm-up step times in seconds. ``model`` is what the model's steps read and multiply, ``roof``
    what its device was measured to do.
    """

    requested: dict[str, Any] = field(default_factory=dict)
    effective: dict[str, Any] = field(default_factory=dict)
    cold_start: dict[str, float | None] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    client: dict[str, float | None] = field(default_factory=dict)
    model: ModelCosts | None = None
    roof: DevicePeaks | None = None
    warmup_steps: tuple[float, ...] = ()
    caveats: tuple[Caveat, ...] = ()


class Server(Protocol):
    """An opened backend, warm and ready."""

    def new_clock(self) -> Clock:
        """Start the clock that the load will run by; it reads 0 now."""

    def calibrate(self, dispatch: Dispatch) -> None:
        """Try a part of the load on nothing, to know what the client itself takes, if there is one.

        Its result is part of the account.
        """

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[int], None]
    ) -> list[Record]:
        """Serve until the dispatch is finished.

        ``on_progress`` is called with the number of finished requests now and then.
        """

    def account(self) -> BackendReport:
        """Say what was requested, what was effective and what it cost."""

    @property
    def pid(self) -> int:
        """The process that does the work, with its descendants, for collectors to watch."""

    @property
    def torch_model(self) -> TorchModel | None:
        """The model as a torch module, or None where another runtime has it."""

    def scorer(self, demand: LoadShape) -> Scorer | None:
        """Give what shows the model's logits, or None where the backend shows none."""


class Backend(Protocol):
    """A part that requests can be sent to."""

    def open(self, context: OpenContext) -> AbstractContextManager[Server]:
        """Load, compile and warm up; yields a server and frees everything afterwards.

        Raises InputError for what the user can mend, such as a prompt longer than the context.
        """

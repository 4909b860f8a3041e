"""The one seam: a backend is opened, serves a dispatch, and reports what took effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from llmbench import plugins
from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import ModelCosts
from llmbench.errors import InputError
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
    """The sizes of a load, known before it starts, so that caches and warm-up fit it.

    Lengths are in tokens; ``prompt_lengths`` are the distinct ones, ascending.
    """

    prompt_lengths: tuple[int, ...]
    longest_sequence: int

    def check(self, context_length: int) -> None:
        """Raise InputError when the longest sequence does not fit a model's context."""
        if self.longest_sequence > context_length:
            raise InputError(
                f"workload: the longest request has {self.longest_sequence} tokens (prompt and "
                f"answer) and the model's context holds {context_length}; give shorter prompts or "
                "output_tokens, or a model with a longer context"
            )


@dataclass(frozen=True, slots=True)
class OpenContext:
    """Everything that a backend is opened with.

    ``on_stage`` is called with what is going on ("loading", "compiling", "warming up"). ``log`` is
    a file for the output of launched servers. ``slowdown`` injects a delay into every step, as a
    share of its time.
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


@dataclass(frozen=True, slots=True)
class BackendReport:
    """A backend's own report when the load is over.

    ``effective`` has the keys of ``requested``; a difference becomes a caveat. ``cold_start`` is in
    seconds by stage, ``memory`` in bytes by kind, ``counters`` are any counts
    (``compiles_in_window``, ``gc_collections``). None means "not measured", with the reason under
    the same key in ``reasons``. ``client`` is the overhead of a client over the wire and its floor
    (``floor_...``): seconds of lag, shares of a core. ``warmup_steps`` is the kept series of
    warm-up step times in seconds. ``model_costs`` is what the model's steps read and multiply,
    ``device_peaks`` what its device was measured to reach.
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
    caveats: tuple[Caveat, ...] = ()


def not_effective(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> Iterator[Caveat]:
    """Yield a caveat for each setting whose effective value is not the requested one.

    None and ``auto`` request nothing in particular.
    """
    for setting, value in requested.items():
        if value not in (None, "auto", effective[setting]):
            yield Caveat(
                "not-effective", setting=setting, requested=value, effective=effective[setting]
            )


class Server(Protocol):
    """An opened backend, warm and ready."""

    def new_clock(self) -> Clock:
        """Start and return the clock of the load; it reads 0 now."""

    def calibrate(self, dispatch: Dispatch) -> None:
        """Measure the overhead of the client, if there is one, with the beginning of the load.

        The result is part of the report.
        """

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        """Serve until the dispatch is finished.

        ``on_progress`` is called whenever requests have finished.
        """

    def report(self) -> BackendReport:
        """Return what was requested, what was effective and what it cost."""

    @property
    def pid(self) -> int:
        """The process that collectors watch, with its descendants."""

    @property
    def torch_model(self) -> TorchModel | None:
        """The model as a torch module, or None where another runtime has it."""

    def scorer(self, load_shape: LoadShape) -> Scorer | None:
        """Return the scorer of the model's logits, or None where the backend exposes none."""


class Backend(plugins.Part):
    """A part that requests can be sent to.

    ``profilable`` means that `open` yields a LocalServer, whose steps can be profiled;
    ``sends_text``, that it needs the text of every prompt.
    """

    profilable: ClassVar[bool] = False
    sends_text: ClassVar[bool] = False

    def open(self, context: OpenContext) -> AbstractContextManager[Server]:
        """Load, compile and warm up; yield a server and free everything afterwards.

        Raises InputError for unsupported options; never substitutes silently.
        """
        raise NotImplementedError


BACKENDS = plugins.Kind("backend", Backend)

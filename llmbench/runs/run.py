"""A stored run: its records, series and facts, from which metrics are computed on reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import pyarrow as pa

from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

CLOCK_ORIGIN = "clock_origin_unix_seconds"

ARROW_TYPES = {
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "Phase": pa.string(),
    "Finish": pa.string(),
    "tuple[float, ...]": pa.list_(pa.float64()),
    "tuple[int, ...]": pa.list_(pa.int32()),
}


def _schema() -> pa.Schema:
    """Return the Arrow schema of records: a column per Record field, and ``output_tokens``."""
    types = {f.name: ARROW_TYPES[str(f.type).removesuffix(" | None")] for f in fields(Record)}
    names = list(types)
    names.insert(names.index("finish"), "output_tokens")
    return pa.schema([(name, types.get(name, pa.int64())) for name in names])


RECORD_SCHEMA = _schema()


def records_table(records: Iterable[Record]) -> pa.Table:
    """Return records as columns, one row per request, ordered by due time."""
    ordered = sorted(records, key=lambda record: (record.due, record.request_id))
    columns = {name: [getattr(record, name) for record in ordered] for name in RECORD_SCHEMA.names}
    return pa.table(columns, schema=RECORD_SCHEMA)


QUALITY_SCHEMA = pa.schema(
    [
        ("nll", pa.float64()),
        ("reference_nll", pa.float64()),
        ("kl_divergence", pa.float64()),
        ("agrees", pa.bool_()),
        ("logit_squared_error", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run has no measurements, with the end of its process's stderr.

    ``kind`` is one of ``bad-input``, ``damaged``, ``error``, ``killed``, ``out-of-memory``,
    ``timeout``. A damaged run was stored, and its files cannot be read any more.
    """

    kind: str
    message: str
    stderr_tail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The lengths in tokens of a greedy output and of its common prefix with the reference's."""

    tokens: int
    alike: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A greedy answer under load, compared with the sequential one to the same prompt.

    ``length`` is that of the longer one, ``alike`` that of their common prefix. ``changes_alone``:
    the sequential passes differ, too. ``neighbors`` is the mean number of other requests in flight.
    ``right_...`` is whether the answer is the expected one, None if that is unknown.
    """

    request_id: int
    length: int
    alike: int
    changes_alone: bool
    neighbors: float
    right_alone: bool | None = None
    right_under_load: bool | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the answers differ."""
        return self.alike < self.length


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """Greedy answers under load compared with sequential ones, in tokens or characters.

    ``cached_tokens`` of the ``prompt_tokens`` came from a prompt cache when the prompts were sent
    one at a time; None if the server does not report it. ``reason`` is why there is no comparison.
    """

    unit: Literal["tokens", "characters"] | None = None
    answers: tuple[Compared, ...] = ()
    cached_tokens: int | None = None
    prompt_tokens: int = 0
    reason: str | None = None


NOT_CHECKED = UnderLoad(reason="the scenario sets no `quality.under_load`")


@dataclass(frozen=True, slots=True)
class Quality:
    """A backend's outputs compared with those of the ``reference`` backend.

    ``tokens`` has a row per scored token of held-out text (QUALITY_SCHEMA, in nats), ``answers``
    the greedy outputs, ``attention`` the comparison of attention maps. ``reason`` is why they are
    unavailable. ``under_load`` compares the answers of the load with sequential ones.
    """

    reference: str | None = None
    tokens: pa.Table = field(default_factory=QUALITY_SCHEMA.empty_table)
    answers: tuple[Answer, ...] = ()
    attention: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    under_load: UnderLoad = NOT_CHECKED

    @classmethod
    def unavailable(cls, reason: str) -> Quality:
        """Return a Quality without values, with the reason why there are none."""
        return cls(reason=reason)


NOT_ASKED = Quality.unavailable("the scenario sets no `quality`")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of a run set, measured or not yet; ``repeat`` counts from 1 within its case."""

    case: Case
    repeat: int

    @property
    def name(self) -> str:
        """The name of the run's folder, from case and repeat."""
        return f"{self.case.slug}-r{self.repeat}"


@dataclass(frozen=True, slots=True)
class Run(PlannedRun):
    """One measurement of a case, in a separate process.

    ``began_at`` is the wall-clock start (ISO 8601, UTC), used only as a label; all other times are
    in seconds on the run's clock. ``backend_report`` is what the backend reports, such as its
    settings. ``facts`` are single values from collectors, load and warm-up; ``CLOCK_ORIGIN`` among
    them is the Unix time of the clock's origin, for aligning other tools' logs, or None for a
    virtual clock. ``discarded_attempts`` among them are the attempts at this run that were measured
    again, each with its start, caveats and failure. A failed run has a ``failure`` and no records.
    A run read from a history, or imported from a tool that stored no requests, has only
    ``summary``: the value and the sample size (0: unknown) of each metric.
    """

    began_at: str
    records: pa.Table = field(default_factory=RECORD_SCHEMA.empty_table)
    series: tuple[Series, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    backend_report: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    quality: Quality = NOT_ASKED
    caveats: tuple[Caveat, ...] = ()
    failure: Failure | None = None
    summary: dict[str, tuple[float, int]] | None = None

    @property
    def is_simulated(self) -> bool:
        """Whether its clock is virtual, so that the machine was not read in its seconds."""
        return self.facts.get(CLOCK_ORIGIN, 0.0) is None

    @property
    def imported_from(self) -> str | None:
        """The load tool that measured it; None if llmbench did."""
        source = self.case.spec.get("imported")
        return source["tool"] if source else None

    @property
    def is_imported_summary(self) -> bool:
        """Whether it has only values that another load tool computed."""
        return self.summary is not None and self.imported_from is not None

    @property
    def status(self) -> Literal["done", "failed"]:
        """``done`` if the run was measured, else ``failed``."""
        return "failed" if self.failure else "done"

    @property
    def contaminations(self) -> list[Caveat]:
        """The caveats of causes outside the run, which another attempt may be without."""
        return [caveat for caveat in self.caveats if caveat.may_pass]

    def find_series(self, quantity: str, device: str | None = None) -> Series | None:
        """Return the series of a quantity of a device (None: the whole machine), or None."""
        key = (device, quantity)
        return next((s for s in self.series if (s.device, s.quantity) == key), None)

"""One stored run: everything that was measured, and nothing that was computed from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from llmbench.runs.caveats import Caveat
from llmbench.runs.record import RECORD_SCHEMA
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

CLOCK_ORIGIN = "clock_origin_unix_seconds"

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

    ``kind`` is one of ``bad-input``, ``error``, ``killed``, ``out-of-memory``, ``timeout``.
    """

    kind: str
    message: str
    stderr_tail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer: its length, and the length of its common prefix with the reference's."""

    tokens: int
    alike: int


@dataclass(frozen=True, slots=True)
class Quality:
    """A backend's outputs compared with those of the ``reference`` backend.

    ``tokens`` has a row per scored token of held-out text (QUALITY_SCHEMA, in nats), ``answers``
    the greedy answers, ``attention`` the comparison of attention maps. ``reason`` is why there is
    none.
    """

    reference: str | None = None
    tokens: pa.Table = field(default_factory=QUALITY_SCHEMA.empty_table)
    answers: tuple[Answer, ...] = ()
    attention: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def unavailable(cls, reason: str) -> Quality:
        """Return no quality, with the reason."""
        return cls(reason=reason)


NOT_ASKED = Quality.unavailable("the scenario sets no `quality`")


@dataclass(frozen=True, slots=True)
class Run:
    """One case measured once, in a process of its own.

    ``began_at`` is the wall-clock time (ISO 8601, UTC), only a label; all other times are seconds
    on the run's clock. ``backend_report`` is the backend's own report. ``facts`` are single values
    from collectors, load and warm-up; ``CLOCK_ORIGIN`` among them is when the clock read 0, in
    seconds since 1970, for joining other logs, or None where time was simulated. A failed run has
    a ``failure`` and no records. A run of a history has only ``summary``, the value and the sample
    size of each metric.
    """

    case: Case
    repeat: int
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
    def status(self) -> Literal["done", "failed"]:
        """Whether it was measured."""
        return "failed" if self.failure else "done"

    def find_series(self, quantity: str, device: str | None = None) -> Series | None:
        """Return the series of a quantity of a device (None: the machine), if there is one."""
        key = (device, quantity)
        return next((s for s in self.series if (s.device, s.quantity) == key), None)

    @property
    def name(self) -> str:
        """The name of its folder: case and repeat."""
        return f"{self.case.slug}-r{self.repeat}"

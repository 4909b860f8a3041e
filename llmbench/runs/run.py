"""What is kept of one run: everything that was seen, and nothing that was computed from it."""

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
    """Why a run has no measurements, with the end of what its process wrote to stderr.

    ``kind`` is one of ``bad-input``, ``error``, ``killed``, ``out-of-memory``, ``timeout``.
    """

    kind: str
    message: str
    stderr_tail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer beside the reference's: its length, and the tokens alike at its beginning."""

    tokens: int
    alike: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How a backend's outputs stand to those of the ``reference`` backend.

    ``tokens`` has a row for each scored token of held-out text (QUALITY_SCHEMA, in nats),
    ``answers`` the greedy answers, ``attention`` what maps of attention show. ``reason`` says why
    there is none.
    """

    reference: str | None = None
    tokens: pa.Table = field(default_factory=QUALITY_SCHEMA.empty_table)
    answers: tuple[Answer, ...] = ()
    attention: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @classmethod
    def unavailable(cls, reason: str) -> Quality:
        """Say why a run has none."""
        return cls(reason=reason)


NOT_ASKED = Quality.unavailable("the scenario does not ask for `quality`")


@dataclass(frozen=True, slots=True)
class Run:
    """One case measured once, in a process of its own.

    ``began_at`` is the wall-clock time (ISO 8601, UTC) and serves as a label only; every other time
    is in seconds on the run's clock. ``backend_report`` is the backend's own report, ``facts``
    what the collectors found out once, and under ``CLOCK_ORIGIN`` when the clock read 0, in seconds
    since 1970: only for joining what others logged, and None where time was simulated. A failed run
    has a ``failure`` and no records; of a run in a history only ``summary`` is kept, the value and
    the sample size of each metric.
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

    @property
    def name(self) -> str:
        """Its folder's name: the case and which repeat."""
        return f"{self.case.slug}-r{self.repeat}"

"""Service level objectives: the keys of `slo` and their bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass

SLO_KEY = re.compile(
    r"(?:([\w-]+)\.)?(ttft|service_ttft|content_ttft|tpot|itl|e2e|queue_time|job)(?:_p(50|90|95|99))?"
)
DEFAULT_PERCENT = 99.0
JOB = "job"


@dataclass(frozen=True, slots=True)
class Objective:
    """A parsed key of `slo`: ``chat.ttft_p99`` is the p99 TTFT of the class chat.

    The default class is all requests, the default percentile p99.
    """

    request_class: str | None
    quantity: str
    percent: float

    @property
    def is_of_jobs(self) -> bool:
        """Whether the objective is one of agents' jobs: ``job_p95`` is the p95 of job times."""
        return self.quantity == JOB

    @classmethod
    def of(cls, key: str) -> Objective:
        """Parse a key of `slo`; raises ValueError for an invalid key."""
        match = SLO_KEY.fullmatch(key)
        if not match:
            raise ValueError(f"no such objective {key!r}; expected e.g. ttft, tpot_p99, e2e_p95")
        return cls(match[1], match[2], float(match[3] or DEFAULT_PERCENT))


def valid_slo(slo: dict[str, float]) -> dict[str, float]:
    """Return the checked objectives of `slo`; raises ValueError for an invalid key or bound."""
    for key, seconds in slo.items():
        Objective.of(key)
        if seconds <= 0:
            raise ValueError(f"{key} must be greater than 0")
    return slo

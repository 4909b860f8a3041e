"""The job of a worker process."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from llmbench.scenario.cases import Case, portable
from llmbench.scenario.schema import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A case for a worker to measure, and the results folder for the run."""

    folder: str
    case: Case
    repeat: int = 1

    def message(self) -> dict[str, Any]:
        """Return the job as a message to a worker of any version.

        Its keys are fixed; ``case``, ``point`` and ``spec``, with the repeat's seed, describe the
        case.
        """
        case = self.case
        return {
            **{item.name: getattr(self, item.name) for item in fields(self)},
            "case": case.name,
            "point": case.point,
            "spec": portable(case.spec_of(self.repeat)),
        }

    @classmethod
    def read(cls, message: dict[str, Any]) -> Self:
        """Return the job in a message, with its case validated."""
        name, point, spec = (message.pop(key) for key in ("case", "point", "spec"))
        return cls(case=Case.of(Scenario.model_validate(spec), point, name), **message)

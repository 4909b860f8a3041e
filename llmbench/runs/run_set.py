"""Run sets: the runs of one scenario, planned and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmbench.runs.run import Run
from llmbench.scenario.cases import Case


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of a run set, measured or not yet."""

    case: Case
    repeat: int

    @property
    def name(self) -> str:
        """The name of the run's folder, from case and repeat."""
        return f"{self.case.slug}-r{self.repeat}"


@dataclass(frozen=True, slots=True)
class RunSet:
    """All runs of one scenario, and their plan.

    ``runs`` has the stored runs, in the order of the plan.
    """

    folder: Path
    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]
    origins: dict[str, str]
    plan: tuple[PlannedRun, ...]
    runs: tuple[Run, ...] = ()

    @property
    def missing(self) -> list[PlannedRun]:
        """The planned runs that failed or are not measured yet."""
        done = {run.name for run in self.runs if not run.failure}
        return [planned for planned in self.plan if planned.name not in done]

    def by_case(self) -> dict[str, list[Run]]:
        """Return the measured runs by case name, in the order of the plan."""
        runs: dict[str, list[Run]] = {planned.case.name: [] for planned in self.plan}
        for run in self.runs:
            if not run.failure:
                runs[run.case.name].append(run)
        return runs

    @property
    def failed(self) -> list[Run]:
        """The stored runs that failed."""
        return [run for run in self.runs if run.failure]

"""Run sets of one scenario on several kinds of node, for tests of what compares these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import small_sets

from llmbench.runs import store
from llmbench.runs.run import PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case, case_name, slug_of

ENERGY = "energy_joules_per_output_token"
THROUGHPUT = "output_tokens_per_second"
COST = "cost_per_million_output_tokens"


@dataclass(frozen=True)
class Nodes:
    """The processes of a case on one kind of node: their metrics, and the device of each."""

    kind: str
    metrics: Mapping[str, Sequence[float]]
    devices: Sequence[str] = ("",)
    environment: Mapping[str, Any] = field(default_factory=dict)

    def runs(self, point: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Run]:
        whole = {"node": self.kind, **point}
        name = case_name("eager", whole)
        case = Case(name, slug_of(name), "eager", whole, {**small_sets.SPEC, **spec})
        count = len(next(iter(self.metrics.values())))
        return [self._run(case, index) for index in range(count)]

    def _run(self, case: Case, index: int) -> Run:
        device = self.devices[index % len(self.devices)]
        is_gpu = device.startswith("GPU")
        node = {"name": f"node of {device}" if device else "", "kind": self.kind, "resources": {}}
        gpus = [{"uuid": device, "name": self.kind}] if is_gpu else []
        meters = {"gpu0": {"method": "nvml-counter", "uuid": device}} if is_gpu else {}
        return Run(
            case,
            index + 1,
            small_sets.BEGAN,
            facts={"node": node, "energy": meters, "gpus": gpus},
            environment={"cpu": {"model": f"CPU of {self.kind}"}, "gpus": gpus, **self.environment},
            backend_report={"effective": {"device": "cuda:0" if is_gpu else "cpu"}},
            summary={name: (values[index], 700) for name, values in self.metrics.items()},
        )


def of(
    *nodes: Nodes, points: Sequence[Mapping[str, Any]] = ({},), folder: Path = Path("fleet"),
    **spec: Any,
) -> RunSet:  # fmt: skip
    """Return the run set of one backend at some points on some kinds of node."""
    runs = [run for point in points for each in nodes for run in each.runs(point, spec)]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(folder, "fleet", "", small_sets.BEGAN, "name: fleet\n", (), {}, plan, tuple(runs))


def stored(folder: Path, ttfts: Mapping[str, float], repeats: int = 1) -> Path:
    """Store a run set with records, of one kind of node per TTFT, and return its folder."""
    runs = [
        replace(run, summary=None, records=records_table(small_sets.records(ttft)))
        for kind, ttft in ttfts.items()
        for run in Nodes(kind, {THROUGHPUT: (1.0,) * repeats}, [f"GPU-{kind}"]).runs({}, {})
    ]
    small_sets.begun(folder, [PlannedRun(run.case, run.repeat) for run in runs], "fleet")
    for run in runs:
        store.write_run(folder, run)
    return folder

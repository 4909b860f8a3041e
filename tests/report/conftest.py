"""Run sets made in-process by the simulated server on a virtual clock, stored and read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import browsing
import numpy as np
import profiles
import pytest
from selenium.webdriver import Chrome

from llmbench import report
from llmbench.analysis.history import ChangePoint, MetricHistory
from llmbench.backends.base import BackendReport
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Poisson
from llmbench.loads.stopping import Stop
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.report.attachments import Attachments
from llmbench.report.results import Results
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.run import Failure, PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case, normal_spec
from llmbench.scenario.rng import stream
from llmbench.testing import fake_server, open_context
from llmbench.testing import serve as serve_dispatch
from llmbench.workloads.synthetic import Synthetic

HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"
WARMUP = 5
REQUESTS = 60
SCENARIO_TEXT = """\
# a scenario with a comment
name: sample
model: builtin:tiny
workload: {kind: synthetic, prompt_tokens: 32, output_tokens: {uniform: [8, 40]}}
load: {kind: poisson, rate: 8/s}
"""


def spec_of(backend: str, rate: float = 8.0, **more: Any) -> dict[str, Any]:
    return {
        "name": "sample",
        "model": "builtin:tiny",
        "workload": {
            "kind": "synthetic", "prompt_tokens": 32, "output_tokens": {"uniform": [8, 40]},
        },
        "load": {"kind": "poisson", "rate": f"{rate:g}/s"},
        "requests": REQUESTS,
        "warmup": WARMUP,
        "repeats": 3,
        "backends": [{"kind": "fake", "name": backend}],
        "engine": {"slots": 8, "batching": "continuous"},
        "slo": {"ttft_p99": "500 ms", "tpot_p99": "20 ms"},
        **more,
    }  # fmt: skip


def serve(seed: int, rate: float = 8.0, requests: int = REQUESTS, **options: Any) -> list[Record]:
    """Return the records of a simulated server under a Poisson load, simulated once a session."""
    return list(_served(seed, rate, requests, json.dumps(options)))


@cache
def _served(seed: int, rate: float, requests: int, options: str) -> list[Record]:
    stop = Stop(WARMUP, requests)
    arrivals = Poisson(Poisson.Options(rate=rate)).arrivals(stop, stream(seed, "arrivals"))
    workload = Synthetic(
        Synthetic.Options.model_validate(
            {"prompt_tokens": 32, "output_tokens": {"uniform": [8, 40]}}
        )
    )
    pool = workload.requests(ByteTokenizer(500), seed)
    numbered = (replace(next(pool), id=i) for i in range(WARMUP + requests))
    with fake_server(open_context(slots=8), **json.loads(options)) as server:
        return serve_dispatch(server, Dispatch(numbered, arrivals, stop))


def failing(records: list[Record], every: int, message: str) -> list[Record]:
    """Return the records with every n-th measured request failed."""
    return [
        replace(r, finish="error", error_kind="timeout", error_message=message)
        if r.phase == "measured" and r.request_id % every == 0
        else r
        for r in records
    ]


def forgetting(record: Record) -> Record:
    """Keep the first and the last stamp alone, as imported runs do."""
    first, *middle, last = record.token_times
    return replace(record, token_times=(first, *([float("nan")] * len(middle)), last))


def cut_short(record: Record) -> Record:
    """Keep the first chunk alone."""
    return replace(record, token_times=record.token_times[:1], token_counts=record.token_counts[:1])


def cpu_series(seconds: float) -> tuple[Series, ...]:
    times = np.arange(0.0, seconds, 0.1)
    return (
        Series.measured("cpu_busy_share", "%", times, 50 + 30 * np.sin(times)),
        Series.measured("memory_resident_bytes", "B", times, 2**28 + 1e6 * times),
        Series.unavailable(
            "gpu0_power_average_watts", "W", "no NVIDIA driver (NVML) on this machine"
        ),
    )


def run_of(planned: PlannedRun, served: list[Record], **more: Any) -> Run:
    last = max(r.token_times[-1] for r in served if r.token_times)
    plain: dict[str, Any] = {
        "records": records_table(served),
        "series": cpu_series(last),
        "environment": {
            "cpu": {"model": "Simulated CPU", "cores": 2},
            "libraries": {"torch": "2.13.0", "numpy": "2.3.0"},
            "hostname": HOSTILE,
        },
        "backend_report": backend_report_of(planned.repeat),
        **more,
    }
    return Run(planned.case, planned.repeat, "2026-01-01T00:00:00+00:00", **plain)


def backend_report_of(repeat: int) -> dict[str, Any]:
    return asdict(
        BackendReport(
            requested={"dtype": "auto", "attention": "sdpa", "threads": None},
            effective={"dtype": "float32", "attention": "eager", "threads": 2},
            cold_start={
                "import": 1.5,
                "load": 0.5 + repeat / 10,
                "compile": 2.5,
                "first_token": 0.05,
                "steady": 0.75,
                "self_check": 0.25,
            },
            memory={"weights": 12 * 2**20, "kv_cache": 3 * 2**20, "allocator_peak": None},
            reasons={"allocator_peak": "needs a GPU"},
            self_check={"result": "equal", "requests": 6, "tokens": 50, "longest": 68},
        )
    )


def planned(case: str, repeat: int, point: dict[str, Any] | None = None, **spec: Any) -> PlannedRun:
    slug = "".join(letter if letter.isalnum() else "-" for letter in case).strip("-")
    normal = normal_spec(spec_of(case.partition(", ")[0], **spec))
    return PlannedRun(Case(case, slug, "fake", point or {}, normal), repeat)


def store_run_set(
    folder: Path, plan: Sequence[PlannedRun], runs: Sequence[Run], **more: Any
) -> RunSet:
    """Store a run set as a campaign does, and read it back."""
    texts: dict[str, Any] = {
        "name": "sample",
        "description": "Two simulated servers under a Poisson load.",
        "overrides": ("load.rate=8",),
        "origins": {"name": "scenarios/sample.yaml:2", "load.rate": "--set load.rate=8"},
        "scenario_text": SCENARIO_TEXT,
        **more,
    }
    store.create(
        RunSet(folder=folder, began_at="2026-01-01T00:00:00+00:00", plan=tuple(plan), **texts)
    )
    for run in runs:
        store.write_run(folder, run)
    return store.read(folder)


SERVERS: dict[str, dict[str, Any]] = {
    "swift": {"prefill": 0.02, "per_token": 0.005},
    "steady": {"prefill": 0.03, "per_token": 0.012},
    "stalling": {"prefill": 0.02, "per_token": 0.006, "stalls": [{"at": 3.0, "lasting": 0.8}]},
}


DTYPE = Caveat("not-effective", setting="dtype", requested="auto", effective="float32")


def sample_runs(plan: Sequence[PlannedRun]) -> list[Run]:
    return [
        run_of(
            planned,
            failing(records, 20, HOSTILE) if name == "stalling" else records,
            caveats=(DTYPE,) if name == "steady" else (),
        )
        for planned in plan
        if (name := planned.case.name) in SERVERS
        for records in [serve(planned.repeat, **SERVERS[name])]
    ]


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Whatever a test needs to store a run set of its own."""
    return SimpleNamespace(
        cut_short=cut_short,
        failing=failing,
        forgetting=forgetting,
        planned=planned,
        run_of=run_of,
        sample_runs=sample_runs,
        serve=serve,
        spec_of=spec_of,
        store_run_set=store_run_set,
    )


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """Three simulated servers, three processes each, and a fourth that never came up."""
    cases = [*SERVERS, "broken"]
    plan = [planned(case, repeat) for repeat in (1, 2, 3) for case in cases]
    failure = Failure("killed", "the worker was killed by SIGKILL", f"Traceback ...\n{HOSTILE}\n")
    failed = [
        run_of(p, serve(1), records=records_table([]), series=(), environment={}, backend_report={},
               failure=failure)
        for p in plan
        if p.case.name == "broken"
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("results") / "sample"
    return store_run_set(folder, plan, [*sample_runs(plan), *failed])


@pytest.fixture(scope="session")
def results(sample: RunSet) -> Results:
    """The sample with its metrics computed once."""
    return Results(sample)


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    """One Chromium for all tests."""
    driver = browsing.start(tmp_path_factory.mktemp("profile"), downloads)
    yield driver
    driver.quit()


NIGHTS = tuple(f"2026-01-{day:02}T03:17:00+00:00" for day in range(1, 25))
MOVED = ChangePoint(NIGHTS[12], "abcdef0123", 0.1, 0.12, 0.001)
LEVELS = (0.1,) * 12 + (0.12,) * 12
SERIES = tuple(
    MetricHistory("sample", "swift", metric, NIGHTS, LEVELS, left_out=0, changes=(MOVED,))
    for metric in ("ttft_p50", "tpot_p50")
)


@pytest.fixture(scope="session")
def page(sample: RunSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the sample, with a history and a profile beside it."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    profile = profiles.profile(path.parent, profiles.case("swift"), name="sample")
    report.write(sample, path, attachments=Attachments(SERIES, profile))
    return path


@pytest.fixture(scope="session")
def quick_page(page: Path) -> Path:
    """The page with a few of its charts, for tests of what all charts have or none has."""
    path = page.with_name("quick.html")
    shutil.copy(page, path)
    return browsing.keep_charts(path, "ecdf-ttft", "ecdf-e2e", "timeline-2", "waterfall")

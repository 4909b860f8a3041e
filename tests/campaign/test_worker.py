"""One run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.backends import fake
from llmbench.backends.base import BackendReport
from llmbench.campaign import worker
from llmbench.campaign.job import Job
from llmbench.campaign.worker import Events
from llmbench.collectors.sampler import Collected
from llmbench.loads.clock import VirtualClock
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import Run
from llmbench.scenario.file import load

SCENARIO = """\
name: small
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: closed
requests: 3
backends: [fake]
collect: []
"""


def measured(folder: Path) -> Run:
    (folder / "small.yaml").write_text(SCENARIO)
    (case,) = load(folder / "small.yaml", []).cases
    return worker.measure(Job(folder=str(folder), case=case), Events(lambda _: None))[0]


@pytest.mark.parametrize("is_monitored", [True, False])
def test_the_load_of_a_system_that_is_not_monitored_is_no_other_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_monitored: bool
) -> None:
    stolen, others = Caveat("cpu-stolen", percent=9.0), Caveat("other-load", percent=60.0)

    @contextmanager
    def watch(*_: object) -> Iterator[Collected]:
        yield Collected(caveats=(stolen, others))

    monkeypatch.setattr(worker, "watch", watch)
    report = BackendReport(is_monitored=is_monitored)
    monkeypatch.setattr(fake._FakeServer, "report", lambda _: report)
    expected = (stolen, others) if is_monitored else (stolen,)
    assert measured(tmp_path).caveats == expected


def test_garbage_is_collected_before_the_clock_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    @contextmanager
    def frozen() -> Iterator[list[str]]:
        order.append("garbage")
        yield []

    def new_clock() -> VirtualClock:
        order.append("clock")
        return VirtualClock()

    monkeypatch.setattr(worker, "frozen_gc", frozen)
    monkeypatch.setattr(fake, "VirtualClock", new_clock)
    run = measured(tmp_path)
    assert order[-2:] == ["garbage", "clock"]
    assert run.records.num_rows == 3


def test_rows_left_out_of_a_file_are_a_caveat_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "hi"}\n{"prompt": null}\n{"prompt": "ho"}')
    workload = f"{{kind: dataset, path: {tmp_path}/a.jsonl}}"
    scenario = SCENARIO.replace("{kind: synthetic, prompt_tokens: 8, output_tokens: 4}", workload)
    (tmp_path / "small.yaml").write_text(scenario)
    (case,) = load(tmp_path / "small.yaml", []).cases
    run, _ = worker.measure(Job(folder=str(tmp_path), case=case), Events(lambda _: None))
    (caveat,) = [caveat for caveat in run.caveats if caveat.kind == "rows-left-out"]
    assert caveat.message == "1 of 3 rows of a.jsonl were left out: 1 without a prompt."


def test_a_run_of_replicas_knows_who_served_what(tmp_path: Path) -> None:
    scenario = SCENARIO.replace("[fake]", "[{kind: fake, clock: real}]\nreplicas: 2")
    (tmp_path / "small.yaml").write_text(scenario)
    (case,) = load(tmp_path / "small.yaml", []).cases
    run, _ = worker.measure(Job(folder=str(tmp_path), case=case), Events(lambda _: None))
    assert run.records["replica"].to_pylist() == [0, 1, 0]
    assert [bool(part) for part in run.backend_report["replicas"]] == [True, True]

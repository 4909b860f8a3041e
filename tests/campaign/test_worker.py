"""One run in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.backends import fake
from llmbench.campaign import worker
from llmbench.campaign.worker import Events, Job
from llmbench.loads.clock import VirtualClock
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
    (tmp_path / "small.yaml").write_text(SCENARIO)
    (case,) = load(tmp_path / "small.yaml", []).cases
    job = Job(folder=str(tmp_path), case=case)
    run, _ = worker.measure(job, Events(lambda _: None))
    assert order[-2:] == ["garbage", "clock"]
    assert run.records.num_rows == 3

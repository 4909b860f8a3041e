"""Steps of a real model under torch's profiler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from chrome_traces import violations

from llmbench.analysis.trace.breakdown import break_down
from llmbench.analysis.trace.events import events_of
from llmbench.backends.local import LocalServer
from llmbench.backends.torch.eager import Eager
from llmbench.campaign.profile import recording
from llmbench.campaign.profile.phases import Phase, phases_of
from llmbench.campaign.profile.recording import DISCARDED, Recorded
from llmbench.errors import InputError
from llmbench.runs.profile import Breakdown
from llmbench.runs.request import Request
from llmbench.testing import open_context

STEPS = 4


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    context = open_context(prompt_lengths=(6,), longest_sequence=14)
    with Eager(Eager.Options()).open(context) as opened:
        yield opened


@pytest.fixture(scope="module")
def phases(server: LocalServer) -> list[Phase]:
    return phases_of(server.runner, [Request(0, (1, 2, 3, 4, 5, 6), 8)], rows=2)


@pytest.fixture(scope="module", params=[0, 1], ids=["prefill", "decode"])
def recorded(
    request: pytest.FixtureRequest, phases: list[Phase], tmp_path_factory: pytest.TempPathFactory
) -> Recorded:
    path = tmp_path_factory.mktemp("traces") / "trace.json"
    marks = recording.ranges(nvtx=False)
    return recording.record(phases[request.param], STEPS, torch.device("cpu"), path, marks)


def trace(recorded: Recorded) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(recorded.path.read_text("utf-8"))
    return document


def broken_down(recorded: Recorded) -> Breakdown:
    return break_down(events_of(trace(recorded)), "cpu", DISCARDED, STEPS)


def test_the_shares_of_real_steps_sum_to_the_step(recorded: Recorded) -> None:
    breakdown = broken_down(recorded)
    assert sum(breakdown.shares.values()) == pytest.approx(1)
    assert all(breakdown.shares[category] > 0 for category in ("gemm", "attention", "elementwise"))
    assert all(breakdown.shares[category] > 0 for category in ("sampling", "copies", "idle"))


def test_equal_steps_run_equal_numbers_of_kernels(recorded: Recorded) -> None:
    breakdown = broken_down(recorded)
    assert len(set(breakdown.kernels)) == len(set(breakdown.launches)) == 1
    assert 0 < breakdown.launches[0] < breakdown.kernels[0]


def test_a_layer_multiplies_by_seven_matrices(recorded: Recorded, server: LocalServer) -> None:
    assert server.torch_model is not None
    layers = server.torch_model.module.config.num_hidden_layers
    products = [use.calls for use in broken_down(recorded).uses if use.name == "aten::mm"]
    assert products == [7 * layers + 1]  # and the head


def test_a_trace_is_valid_by_the_trace_event_format(recorded: Recorded) -> None:
    assert violations(trace(recorded)) == []


def test_discarded_steps_are_not_reported(recorded: Recorded) -> None:
    assert recorded.tokens in (STEPS, 2 * STEPS)
    low, high = recorded.cache_tokens
    assert 6 <= low <= high < 14


def test_steps_are_timed_without_the_first_ones(phases: list[Phase]) -> None:
    for phase in phases:
        seconds = recording.time_steps(phase, STEPS, recording.ranges(nvtx=False))
        assert len(seconds) == STEPS
        assert min(seconds) > 0


def test_nvtx_marks_need_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--nvtx: torch cannot use CUDA"):
        recording.ranges(nvtx=True)


def test_every_step_is_marked_where_there_is_cuda(
    phases: list[Phase], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[str] = []

    @contextmanager
    def mark(name: str) -> Iterator[None]:
        marked.append(name)
        yield

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nvtx, "range", mark)
    recording.time_steps(phases[0], 2, recording.ranges(nvtx=True))
    assert marked == ["prefill"] * (DISCARDED + 2)

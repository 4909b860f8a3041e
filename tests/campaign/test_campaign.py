"""A campaign on the simulated server; some of its workers are real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from newest_child import newest_child

import llmbench
from llmbench.campaign import execute, plan
from llmbench.campaign.observer import SilentObserver
from llmbench.errors import InputError
from llmbench.loads.progress import Progress
from llmbench.report.conclusions import answer
from llmbench.report.results import Results
from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file
from llmbench.scenario.file import Source

SCENARIO = """\
name: simulated
description: A simulated server.
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: poisson, rate: 4/s}
requests: 10
warmup: 2
collect: [cpu]
backends:
  - {kind: fake, name: quick, prefill: 10 ms, per_token: 5 ms}
  - {kind: fake, name: slow, prefill: 20 ms, per_token: 10 ms}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "simulated.yaml"
    path.write_text(SCENARIO)
    return path


class Listening(SilentObserver):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.reports: list[Progress] = []
        self.ended_runs: list[Run] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def progress(self, progress: Progress) -> None:
        self.reports.append(progress)

    def ended(self, run: Run) -> None:
        self.ended_runs.append(run)


def run(source: Source, folder: Path, observer: SilentObserver | None = None) -> RunSet:
    return execute.run_all(plan.begin(source, folder), observer or SilentObserver())


def edited(path: Path, *overrides: str) -> Source:
    return scenario_file.load(path, overrides)


def test_every_case_is_measured_in_every_repeat(path: Path, tmp_path: Path) -> None:
    run_set = run(edited(path, "repeats=2"), tmp_path / "results")
    assert Counter(r.case.name for r in run_set.runs) == {"quick": 2, "slow": 2}
    assert [r.status for r in run_set.runs] == ["done"] * 4
    assert all(r.records.num_rows == 12 for r in run_set.runs)


def test_a_simulated_servers_known_latencies_are_recovered(path: Path, tmp_path: Path) -> None:
    frames = llmbench.load(run(edited(path, "load.rate=0.1"), tmp_path / "results").folder)
    values = frames.summary.set_index(["case", "metric"])["value"]
    assert values["quick", "ttft_p50"] == pytest.approx(0.010, abs=1e-9)
    assert values["slow", "itl_p50"] == pytest.approx(0.010, abs=1e-9)
    assert values["slow", "e2e_p50"] == pytest.approx(0.050, abs=1e-9)


def test_each_repeat_measures_all_cases_in_its_own_order(path: Path) -> None:
    planned = plan.planned_runs(edited(path, "repeats=12"))
    rounds = [tuple(p.case.name for p in planned[i : i + 2]) for i in range(0, 24, 2)]
    assert set(rounds) == {("quick", "slow"), ("slow", "quick")}
    assert planned == plan.planned_runs(edited(path, "repeats=12"))
    assert planned != plan.planned_runs(edited(path, "repeats=12", "seed=5"))


def test_an_observer_gets_the_progress_of_a_run(path: Path, tmp_path: Path) -> None:
    listening = Listening()
    run(edited(path, "backends=[fake]"), tmp_path / "results", listening)
    assert "measuring" in listening.stages
    last = listening.reports[-1]
    assert (last.completed, last.total, last.failed, last.output_tokens) == (12, 12, 0, 48)
    latencies = [value for report in listening.reports for value in report.itl_seconds]
    assert min(latencies) == pytest.approx(0.005)
    assert [r.case.name for r in listening.ended_runs] == ["fake"]


def test_bad_input_that_only_a_worker_detects_fails_its_run_and_the_others_go_on(
    path: Path, tmp_path: Path
) -> None:
    backends = "backends=[eager, fake]"
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "x" * 4000}))
    workload = f"workload={{kind: dataset, path: {tmp_path}/long.jsonl, output_tokens: 8}}"
    run_set = run(edited(path, backends, workload), tmp_path / "results")
    (failed,) = run_set.failed
    assert failed.failure is not None
    assert (failed.case.name, failed.failure.kind) == ("eager", "bad-input")
    assert failed.failure.message.startswith(f"--set {workload[:20]}")
    assert "}: workload: the longest request has 4008 tokens" in failed.failure.message
    assert "context holds 2048" in failed.failure.message
    assert [r.case.name for r in run_set.runs if not r.failure] == ["fake"]


def test_a_batch_that_does_not_fit_in_memory_is_a_result_with_the_size_that_fits(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = 65_536
    free = psutil.virtual_memory()._replace(available=2**28)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    swept = edited(path, "backends=[eager]", f"sweep={{engine.slots: [2, {huge}]}}")
    run_set = run(swept, tmp_path / "results")
    (failed,) = run_set.failed
    assert failed.failure is not None
    assert failed.failure.kind == "out-of-memory"
    assert f"KV cache for {huge:,} slots" in failed.failure.message
    assert failed.failure.stderr_tail == ""
    assert [r.case.point for r in run_set.runs if not r.failure] == [{"engine.slots": 2}]
    text = answer(Results(run_set))
    assert f"eager: engine.slots=2 fit in memory, {huge} did not." in text


@pytest.mark.processes
def test_a_run_over_its_timeout_is_stopped_and_fails(path: Path, tmp_path: Path) -> None:
    slow = "backends=[{kind: fake, clock: real, prefill: 60 s}]"
    run_set = run(edited(path, slow, "timeout=2 s"), tmp_path / "results")
    (failed,) = run_set.failed
    assert failed.failure is not None
    assert failed.failure.kind == "timeout"
    assert "raise `timeout`" in failed.failure.message


class Killing(SilentObserver):
    """Kills the worker when it starts to measure, as the kernel does when memory runs out."""

    def stage(self, text: str) -> None:
        if text == "measuring":
            newest_child().send_signal(signal.SIGKILL)


@pytest.mark.processes
def test_a_killed_worker_is_a_failed_run_with_advice(path: Path, tmp_path: Path) -> None:
    real = "backends=[{kind: fake, clock: real, prefill: 1 s}]"
    run_set = run(edited(path, real), tmp_path / "results", Killing())
    (failed,) = run_set.failed
    assert failed.failure is not None
    assert failed.failure.kind == "killed"
    assert "SIGKILL; if memory ran out, use a smaller model" in failed.failure.message


@pytest.mark.processes
def test_the_stderr_of_a_dead_worker_is_stored_without_secrets(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary12345")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'llmbench.worker' in sys.orig_argv:\n"
        "    raise SystemExit(f'broken with {os.environ[\"HF_TOKEN\"]}')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_set = run(edited(path, "backends=[fake]"), tmp_path / "results")
    (failed,) = run_set.failed
    assert failed.failure is not None
    assert failed.failure.kind == "error"
    assert failed.failure.message == "the worker exited with code 1: SystemExit: broken with ***"
    stored = b"".join(p.read_bytes() for p in (tmp_path / "results").rglob("*") if p.is_file())
    assert b"canary" not in stored


@pytest.mark.processes
def test_workers_import_nothing_from_the_working_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("llmbench", "pyarrow", "json", "psutil"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path)
    run_set = run(edited(path, "backends=[fake]"), tmp_path / "results")
    assert [r.failure for r in run_set.runs] == [None]
    assert "sampler" in run_set.runs[0].facts


def test_a_resumed_run_set_measures_only_missing_runs(path: Path, tmp_path: Path) -> None:
    begun = plan.begin(edited(path, "repeats=2"), tmp_path / "results")
    first = begun.plan[0]
    execute.run_all(replace(begun, plan=(first,)), SilentObserver())
    measured_at = (begun.folder / "runs" / first.name / "run.json").stat().st_mtime_ns
    listening = Listening()
    run_set = execute.run_all(store.read(begun.folder), listening)
    assert len(listening.ended_runs) == 3
    assert run_set.missing == []
    assert (begun.folder / "runs" / first.name / "run.json").stat().st_mtime_ns == measured_at


def test_an_unavailable_model_is_refused_before_anything_is_created(
    path: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such folder"):
        plan.begin(edited(path, "model=./nowhere"), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_killed_campaign_keeps_finished_runs_and_can_be_resumed(
    path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    slow = SCENARIO.replace("prefill: 20 ms", "clock: real, prefill: 1 s")
    slow = slow.replace("requests: 10\nwarmup: 2", "requests: 2\nwarmup: 0")
    path.write_text(f"{slow}rerun_contaminated: 0\n")  # other tests use the CPU
    command = [sys.executable, "-m", "llmbench", "run", str(path), "--out", str(folder)]
    quick = folder / "runs" / "quick-r1" / "run.json"
    with subprocess.Popen([*command, "--set", "seed=1"], stderr=subprocess.DEVNULL) as parent:
        for _ in range(2400):
            if quick.exists() or parent.poll() is not None:
                break
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGKILL)
    done = [r.name for r in store.read(folder).runs]
    assert "quick-r1" in done
    path.write_text("the scenario is read from the results, not from its file")
    again = subprocess.run(
        [sys.executable, "-m", "llmbench", "run", "--resume", str(folder), "-q"], check=False
    )
    assert again.returncode == 0
    assert store.read(folder).missing == []

"""``llmbench profile``: what it prints and writes, and its exit codes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from chrome_traces import violations

from llmbench.campaign.job import Job
from llmbench.campaign.process import Installation
from llmbench.cli import main
from llmbench.runs import profile
from llmbench.runs.profile import PhaseProfile

SCENARIO: dict[str, Any] = {
    "name": "why",
    "description": "Why it is slow.",
    "model": "random:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 8, "output_tokens": 6},
    "load": {"kind": "closed", "concurrency": 2},
    "requests": 4,
    "engine": {"slots": 4},
    "backends": ["eager"],
}

Capture = pytest.CaptureFixture[str]


def scenario(folder: Path, **changes: Any) -> str:
    path = folder / "why.yaml"
    path.write_text(json.dumps({**SCENARIO, **changes}), "utf-8")
    return str(path)


def stored_trace(folder: Path, phase: PhaseProfile) -> dict[str, Any]:
    trace: dict[str, Any] = json.loads(gzip.decompress((folder / phase.trace).read_bytes()))
    return trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case that can be profiled, and one whose draft is no model."""
    place = tmp_path_factory.mktemp("profiled")
    path = scenario(place, backends=["eager", {"kind": "speculative", "draft": str(place)}])
    code = main(["profile", path, "--out", str(place / "out"), "--steps", "3", "--quiet"])
    assert code == 2
    return place / "out"


def test_a_failed_case_is_a_row_and_the_others_are_profiled(folder: Path) -> None:
    eager, speculative = profile.read(folder).cases
    assert [phase.phase for phase in eager.phases] == ["prefill", "decode"]
    assert speculative.failure is not None
    assert speculative.failure.kind == "bad-input"


def test_the_batch_is_as_large_as_the_load_allows(folder: Path) -> None:
    prefill, decode = profile.read(folder).cases[0].phases
    assert (prefill.rows, decode.rows) == (1, 2)
    assert decode.tokens_per_step == 2
    assert decode.cache_tokens[1] <= 8 + 6


def test_shares_sum_to_the_step(folder: Path) -> None:
    for phase in profile.read(folder).cases[0].phases:
        assert sum(phase.breakdown.shares.values()) == pytest.approx(1)
        assert len(phase.breakdown.step_seconds) == len(phase.step_seconds) == 3


def test_traces_are_stored_with_the_numbers_and_nothing_else(folder: Path) -> None:
    for phase in profile.read(folder).cases[0].phases:
        trace = stored_trace(folder, phase)
        assert violations(trace) == []
        assert any(event["name"] == f"llmbench {phase.phase} 3" for event in trace["traceEvents"])
    left = {path.name for path in folder.iterdir()}
    assert left == {"profile.json", "report.html", "traces"}


def test_a_report_can_be_written_again(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(folder), "--out", str(tmp_path / "again.html")]) == 0
    assert "eager, decode: a step takes" in " ".join(capsys.readouterr().out.split())
    assert "Why it is slow." in (tmp_path / "again.html").read_text("utf-8")


def test_json_is_the_only_thing_on_stdout(tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    asked = ["profile", scenario(tmp_path), "--out", out, "--steps", "2", "--rows", "3", "--json"]
    assert main(asked) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == out
    assert Path(printed["report"]).is_file()
    (case,) = printed["cases"]
    decode = case["phases"][1]
    assert decode["rows"] == 3
    assert decode["launches_per_token"] == pytest.approx(decode["launches_per_step"] / 3)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, ["--steps", "0"], "--steps 0: must be at least 1"),
        ({}, ["--rows", "5"], "--rows 5: expected 1 to 4, the number of engine slots"),
        ({"backends": ["eager", "fake"]}, [], "backend 'fake' does not run the model"),
        ({"backends": [{"kind": "endpoint", "url": "http://x"}]}, [], "backend 'endpoint' does"),
        ({"replicas": 2}, [], "replicas: a profile is of one engine; profile it with --set"),
        ({"model": "./nowhere"}, [], "no such folder"),
        ({"backends": ["eagre"]}, [], "eager"),
    ],
)
def test_bad_input_exits_with_2_before_anything_is_written(
    tmp_path: Path, capsys: Capture, changes: dict[str, Any], arguments: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main(["profile", scenario(tmp_path, **changes), "--out", str(out), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert not out.exists()


def test_nvtx_without_cuda_is_bad_input(tmp_path: Path, capsys: Capture) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    out = str(tmp_path / "out")
    assert main(["profile", scenario(tmp_path), "--out", out, "--nvtx", "--quiet"]) == 2
    assert "--nvtx: torch cannot use CUDA on this machine" in capsys.readouterr().err


def test_an_interrupt_keeps_finished_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out = tmp_path / "out"
    path = scenario(tmp_path, backends=["eager", {"kind": "eager", "name": "again"}])
    launch = Installation.launch

    def interrupted(installation: Installation, module: str, job: Job, *others: Any) -> Any:
        if job.case.name == "again":
            raise KeyboardInterrupt
        return launch(installation, module, job, *others)

    monkeypatch.setattr(Installation, "launch", interrupted)
    assert main(["profile", path, "--out", str(out), "--steps", "2"]) == 130
    assert f"1 of 2 cases are kept in {out}" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"profile.json", "traces"}


@pytest.mark.slow
def test_compiled_and_onnx_are_profiled(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    path = scenario(tmp_path, backends=["compiled", "onnx"])
    assert main(["profile", path, "--out", str(out), "--steps", "3", "--quiet"]) == 0
    compiled, onnx = profile.read(out).cases
    names = {use.name for use in compiled.phases[1].breakdown.uses}
    assert any("cpp_fused" in name for name in names)
    for phase in onnx.phases:
        trace = stored_trace(out, phase)
        assert violations(trace) == []
        assert {"cpu_op", "Node"} <= {event.get("cat") for event in trace["traceEvents"]}
        by_name = {use.name: use for use in phase.breakdown.uses}
        assert by_name["GroupQueryAttention"].category == "attention"
        assert by_name["aten::argmax"].category == "sampling"  # torch's part of the same step
        assert sum(phase.breakdown.shares.values()) == pytest.approx(1)
        assert len(set(phase.breakdown.kernels)) == 1

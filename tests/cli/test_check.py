"""``llmbench check``: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from foreign_results import VLLM_SUMMARY

from llmbench.cli import main
from llmbench.runs.imports.run_set import import_results

ROOT = Path(__file__).parent.parent.parent
SCENARIO = """\
name: simulated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: constant, rate: 4/s}
requests: 20
repeats: 4
collect: []
backends: [{kind: fake, prefill: PREFILL}]
gate: {metrics: {ttft_p50: 0.03, tpot_p50: 0.03}}
"""


def scenario(folder: Path, prefill: str, **changes: str) -> str:
    text = SCENARIO.replace("PREFILL", prefill)
    for old, new in changes.items():
        text = text.replace(f"{old}:", new)
    path = folder / f"{prefill.replace(' ', '')}{''.join(changes)}.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stored run set with a prefill of 10 ms."""
    folder = tmp_path_factory.mktemp("baseline")
    main(["run", scenario(folder, "10 ms"), "--out", str(folder / "set"), "--json"])
    return str(folder / "set")


def check(tmp_path: Path, prefill: str, baseline: str, *arguments: str) -> int:
    out = str(tmp_path / "out")
    return main(
        ["check", scenario(tmp_path, prefill), "--baseline", baseline, "--out", out, *arguments]
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--baseline git:HEAD: --ray needs stored results; measure them with"),
        (["--noise", "noise.json"], "--noise: was measured on this machine"),
    ],
)
def test_a_fleet_is_checked_against_stored_results_only(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "10 ms", "git:HEAD", "--ray", "auto", *more) == 2
    assert message in capsys.readouterr().err


def test_what_did_not_change_passes(
    tmp_path: Path, baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "10 ms", baseline, "--strict") == 0
    assert "2 equivalent in 1 case" in capsys.readouterr().out


def test_a_regression_fails_and_is_written_for_machines(
    tmp_path: Path,
    baseline: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    junit = tmp_path / "check.xml"
    assert check(tmp_path, "12 ms", baseline, "--json", "--junit", str(junit)) == 1
    verdicts: dict[str, Any] = json.loads(capsys.readouterr().out)["cases"][0]["verdicts"]
    assert {key: v["outcome"] for key, v in verdicts.items()} == {
        "ttft_p50": "regression", "tpot_p50": "equivalent",
    }  # fmt: skip
    suite = ET.fromstring(junit.read_text())  # noqa: S314 (our own)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "| fake | TTFT p50 | +20.0 %" in (tmp_path / "summary.md").read_text()
    assert json.loads((tmp_path / "out" / "verdicts.json").read_text())["missing"] == []
    assert "TTFT p50" in (tmp_path / "out" / "comparison.html").read_text()


def test_on_github_a_regression_is_annotated(
    tmp_path: Path,
    baseline: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    check(tmp_path, "12 ms", baseline)
    assert "::error title=llmbench regression::fake, ttft_p50: +20.0 %25" in capsys.readouterr().out


@pytest.fixture
def noisy(tmp_path: Path, baseline: str) -> str:
    """A baseline file whose processes have a TTFT between 5 and 20 ms."""
    path = tmp_path / "noisy.json"
    main(["baseline", baseline, str(path)])
    stored = json.loads(path.read_text())
    stored["cases"][0]["metrics"]["ttft_p50"]["values"] = [0.005, 0.008, 0.012, 0.02]
    path.write_text(json.dumps(stored))
    return str(path)


def test_an_undecided_metric_ends_with_3_and_every_output_says_so(
    tmp_path: Path, noisy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    junit = tmp_path / "check.xml"
    assert check(tmp_path, "12 ms", noisy, "--junit", str(junit)) == 3
    printed = capsys.readouterr()
    assert "1 undecided, 1 equivalent in 1 case" in printed.out
    assert "::warning title=llmbench undecided::fake, ttft_p50: +22.5 %25" in printed.out
    assert "undecided: fake, ttft_p50: 24 new processes neither confirm nor rule" in printed.err
    suite = ET.fromstring(junit.read_text())  # noqa: S314 (our own)
    assert [suite.get(kind) for kind in ("failures", "errors", "skipped")] == ["0", "1", "0"]
    assert "! undecided" in (tmp_path / "summary.md").read_text()
    assert "diamond-open" in (tmp_path / "out" / "comparison.html").read_text()
    stored = json.loads((tmp_path / "out" / "verdicts.json").read_text())
    assert stored["cases"][0]["verdicts"]["ttft_p50"]["outcome"] == "undecided"


def test_a_regression_outweighs_an_undecided_metric(tmp_path: Path, noisy: str) -> None:
    stored = json.loads(Path(noisy).read_text())
    values = stored["cases"][0]["metrics"]["tpot_p50"]["values"]
    stored["cases"][0]["metrics"]["tpot_p50"]["values"] = [value / 2 for value in values]
    Path(noisy).write_text(json.dumps(stored))
    assert check(tmp_path, "12 ms", noisy) == 1


def test_an_improvement_passes(tmp_path: Path, baseline: str) -> None:
    assert check(tmp_path, "8 ms", baseline) == 0


def test_what_was_measured_is_not_measured_again(tmp_path: Path, baseline: str) -> None:
    check(tmp_path, "10 ms", baseline)
    (stored,) = (tmp_path / "out" / "candidate" / "runs").glob("fake-r1")
    before = (stored / "run.json").stat().st_mtime_ns
    assert check(tmp_path, "10 ms", baseline) == 0
    assert (stored / "run.json").stat().st_mtime_ns == before


def test_a_case_that_the_baseline_lacks_ends_with_3(
    tmp_path: Path, baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SCENARIO.replace("{kind: fake, prefill: PREFILL}", "{kind: fake, name: new}")
    (tmp_path / "new.yaml").write_text(text)
    arguments = ["--baseline", baseline, "--out", str(tmp_path / "out")]
    assert main(["check", str(tmp_path / "new.yaml"), *arguments]) == 3
    assert "undecided: new: a side has no measured run" in capsys.readouterr().err


def test_a_listed_metric_with_too_few_samples_ends_with_3(tmp_path: Path, baseline: str) -> None:
    text = SCENARIO.replace("PREFILL", "10 ms").replace("ttft_p50: 0.03", "ttft_p99: 0.1")
    (tmp_path / "p99.yaml").write_text(text)
    arguments = ["--baseline", baseline, "--out", str(tmp_path / "out")]
    assert main(["check", str(tmp_path / "p99.yaml"), *arguments]) == 3


def test_another_load_is_not_comparable(
    tmp_path: Path, baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "10 ms", baseline, "--set", "load.rate=5") == 3
    assert "load.rate: 4.0 → 5.0" in " ".join(capsys.readouterr().out.split())


def test_a_baseline_of_another_schema_is_refused(
    tmp_path: Path, baseline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(baseline, old)
    stored = json.loads((old / "runset.json").read_text())
    (old / "runset.json").write_text(json.dumps({**stored, "schema_version": 1}))
    assert check(tmp_path, "10 ms", str(old)) == 2
    assert "schema version 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere", "expected a results folder, a checkout"),
        ("git:no-such-commit", "git:no-such-commit"),
    ],
)
def test_a_missing_baseline_is_refused(
    tmp_path: Path, reference: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "10 ms", reference) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of this very code."""
    there = tmp_path / "checkout"
    shutil.copytree(ROOT / "llmbench", there / "llmbench")
    return there


REAL = "{kind: fake, clock: real, prefill: 2 ms, per_token: 4 ms}"


def real(tmp_path: Path) -> str:
    text = SCENARIO.replace("{kind: fake, prefill: PREFILL}", REAL).replace("0.03", "0.25")
    (tmp_path / "real.yaml").write_text(text.replace("4/s", "40/s"))
    return str(tmp_path / "real.yaml")


@pytest.mark.slow
@pytest.mark.processes
def test_a_sleep_in_the_decode_step_of_one_of_two_checkouts_is_a_regression(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = checkout / "llmbench" / "engine" / "engine.py"
    step = "        running = self._scheduler.decoding\n"
    assert step in engine.read_text()
    faster = tmp_path / "faster"
    shutil.copytree(checkout, faster)
    asleep = f"        __import__('time').sleep(4e-3)\n{step}"
    engine.write_text(engine.read_text().replace(step, asleep))
    monkeypatch.setenv("PYTHONPATH", str(checkout))  # the candidate is the slow one
    monkeypatch.chdir(tmp_path)
    out = str(tmp_path / "out")
    assert main(["check", real(tmp_path), "--baseline", str(faster), "--out", out]) == 1


@pytest.mark.slow
@pytest.mark.processes
def test_two_equal_checkouts_have_no_regression(tmp_path: Path, checkout: Path) -> None:
    out = str(tmp_path / "out")
    code = main(["check", real(tmp_path), "--baseline", str(checkout), "--out", out])
    assert code in (0, 3)  # 3, undecided, where the machine is too noisy


def test_an_imported_baseline_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = tmp_path / "imported"
    import_results([VLLM_SUMMARY], imported, "fake")
    assert check(tmp_path, "10 ms", str(imported)) == 2
    message = capsys.readouterr().err
    assert "imported from vllm bench serve: one value per metric, without an interval" in message
    assert "compare it with `llmbench compare`" in message
    assert not (tmp_path / "out" / "candidate").exists()

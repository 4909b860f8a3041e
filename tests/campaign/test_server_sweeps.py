"""Sweeps of the settings of servers that llmbench starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cache_servers import SCENARIO, SCRIPT

from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.run_set import RunSet

Capture = pytest.CaptureFixture[str]
SERVER = {"launch": f"{{python}} {SCRIPT} --port {{port}}", "health": "/v1/models"}
TEMPLATE = "server.arguments.template"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    backends = [{"kind": "endpoint", "name": "cached", "server": {**SERVER, "arguments": {}}}]
    path = tmp_path / "swept.yaml"
    changes: dict[str, Any] = {"backends": backends, "sweep": {TEMPLATE: [4, "many", 12]}}
    path.write_text(json.dumps({**SCENARIO, "requests": 3, **changes}), "utf-8")
    return path


def run(path: Path, *more: str) -> tuple[int, RunSet]:
    out = path.parent / "out"
    return main(["run", str(path), "--out", str(out), *more]), store.read(out)


def test_a_server_that_does_not_start_fails_its_case_and_the_others_go_on(
    path: Path, capsys: Capture
) -> None:
    code, run_set = run(path)
    assert code == 1
    (failed,) = run_set.failed
    assert failed.case.point == {TEMPLATE: "many"}
    assert failed.failure
    assert "argument --template: invalid int value: 'many'" in failed.failure.message
    assert [len(runs) for runs in run_set.by_case().values()] == [1, 0, 1]
    assert "invalid int value: 'many'" in capsys.readouterr().out
    page = (run_set.folder / "report.html").read_text("utf-8")
    assert "invalid int value: &#39;many&#39;" in page
    assert f"{TEMPLATE}: [4, many, 12]" in page or f"{TEMPLATE} 4, many, 12" in page


@pytest.mark.usefixtures("plain_pages")
def test_every_run_has_a_server_of_its_own(path: Path) -> None:
    code, run_set = run(path, "--set", f"sweep.{TEMPLATE}=[4]", "--set", "repeats=2")
    assert code == 0
    urls = [each.backend_report["effective"]["url"] for each in run_set.runs]
    assert len({*urls}) == 2
    logs = {log.name for log in (run_set.folder / "logs").iterdir()}
    assert logs == {f"cached-server.arguments.template-4-r{repeat}.log" for repeat in (1, 2)}


@pytest.mark.usefixtures("plain_pages")
def test_settings_are_compared_by_name(path: Path, capsys: Capture) -> None:
    changes = ["--set", f"sweep.{TEMPLATE}=[4, 12]", "--quiet"]
    main(["run", str(path), "--out", str(path.parent / "a"), *changes])
    shutil.copytree(path.parent / "a", path.parent / "b")
    capsys.readouterr()
    main(["compare", str(path.parent / "a"), str(path.parent / "b")])
    text = capsys.readouterr().out
    assert f"cached, {TEMPLATE}=4" in " ".join(text.split())

"""Killed campaigns lose nothing, and nothing of them goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import kills
import psutil
import pytest
from object_storage import Bucket


@pytest.mark.slow
def test_campaigns_that_are_killed_keep_their_finished_runs_and_can_be_resumed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert kills.main(["--count", "5", "--seed", "1"]) == 0
    assert "5 kills" in capsys.readouterr().out


@pytest.mark.slow
def test_campaigns_in_object_storage_that_are_killed_keep_their_stored_runs(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kills.main(["--count", "5", "--seed", "2", "--url", f"{bucket.url}/kills"]) == 0
    assert "5 kills" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_prints_what_was_found_and_ends_the_campaign(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", kills.__file__, "--seed", "1", "--latest", "1"]
    with subprocess.Popen(
        [*command, "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("kill 1 of 200: ")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output = process.stdout.read()
        assert process.wait() == 128 + number
    assert "interrupted" in output
    assert " finished runs: 0 problems" in output
    assert not psutil.wait_procs(family, timeout=10)[1]

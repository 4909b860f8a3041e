"""Killed campaigns lose nothing, and nothing of them goes on."""

from __future__ import annotations

import kills
import pytest


@pytest.mark.slow
def test_campaigns_that_are_killed_keep_their_finished_runs_and_can_be_resumed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert kills.main(["--count", "5", "--seed", "1"]) == 0
    assert "5 kills" in capsys.readouterr().out

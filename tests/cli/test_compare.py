"""``llmbench compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_sets import stored

from llmbench.cli import main


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two stored run sets, the second with twice the TTFT."""
    folder = tmp_path_factory.mktemp("compared")
    before = stored(folder / "before", *[0.25] * 6, case="fake")
    return str(before), str(stored(folder / "after", *[0.5] * 6, case="fake"))


def test_the_table_says_what_changed(
    sets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *sets]) == 0
    shown = capsys.readouterr().out
    assert "after against before" in shown
    assert "2 regressions" in shown  # TTFT and E2E
    assert "+100 %" in shown


def test_a_narrow_terminal_shows_whole_verdicts_and_ratios(
    sets: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["compare", *sets]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 60
    assert "▲ regression" in shown
    assert "÷ baseline" in shown
    assert "× 2.00" in shown


def test_json_has_every_verdict(sets: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *sets, "--json"])
    (comparison,) = json.loads(capsys.readouterr().out)
    verdict: dict[str, Any] = comparison["cases"][0]["verdicts"]["ttft_p50"]
    assert verdict["outcome"] == "regression"
    assert verdict["change"]["ratio"] == pytest.approx(2.0)


def test_markdown_is_a_table(sets: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", *sets, "--markdown"])
    assert "| fake | TTFT p50 | +100 %" in capsys.readouterr().out


def test_several_candidates_make_one_page(
    sets: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    main(["compare", sets[0], sets[1], sets[0], "--out", str(page)])
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    assert "after against before" in text
    assert "before against before" in text
    assert 'src="http' not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "tftt_p50=0.1"], "no metric 'tftt_p50'"),
        (["--tolerance", "ttft_seconds_p50"], "expected a fraction"),
        (["--tolerance", "ttft_p50=2"], "between 0 and 1"),
        (["--tolerance", "makespan_seconds=0.1"], "has no better direction"),
    ],
)
def test_a_bad_tolerance_is_refused(
    sets: tuple[str, str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *sets, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "nowhere", "elsewhere"]) == 2
    assert "no such folder" in capsys.readouterr().err

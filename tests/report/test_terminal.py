"""The terminal shows the headline and the caveats within 100 columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import small_sets
from rich.console import Console

from llmbench import report
from llmbench.runs.run_set import RunSet


def shown(run_set: RunSet, width: int = 100) -> str:
    printed = io.StringIO()
    Console(width=width, file=printed).print(report.render(run_set, "terminal"))
    return printed.getvalue()


@pytest.fixture(scope="module")
def text(sample: RunSet) -> str:
    return shown(sample)


def test_it_fits_a_hundred_columns(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text


@pytest.mark.parametrize("width", [60, 80, 90])
def test_a_narrow_terminal_loses_columns_and_no_names(sample: RunSet, width: int) -> None:
    text = shown(sample, width)
    assert max(map(len, text.splitlines())) <= width
    assert "stalling" in text.split("───")[-1]
    assert "p99 46.6 ms †" in text


def test_it_shows_each_case_with_its_sample_and_interval(text: str) -> None:
    assert "3 × 60 requests" in text
    assert "138 – 243" in text
    assert "p99 46.6 ms †" in text


def test_failed_runs_are_shown_with_their_reason(text: str) -> None:
    assert "broken-r1, broken-r2, broken-r3  the worker was killed by SIGKILL" in text


def test_caveats_end_with_what_to_do(text: str) -> None:
    assert "Raise `requests`, or treat the percentile as indicative only." in " ".join(text.split())


def test_markup_in_names_is_text(make: Any, tmp_path: Path) -> None:
    plan = make.planned("[bold]eager[/bold]", 1)
    run_set = make.store_run_set(
        tmp_path / "set", [plan], [make.run_of(plan, make.serve(1))], name="[red]x[/red]"
    )
    assert "[bold]eager[/bold]" in shown(run_set, 120)
    assert "[red]x[/red]" in shown(run_set)


def test_a_run_set_without_results_says_so(make: Any, tmp_path: Path) -> None:
    text = shown(make.store_run_set(tmp_path / "set", [make.planned("only", 1)], []))
    assert "No results yet." in text
    assert "not measured" in text


def test_of_many_cases_the_first_are_shown_and_the_others_counted() -> None:
    cases = [f"server-{number}" for number in range(45)]
    plan = tuple(small_sets.planned(case, 1) for case in cases)
    runs = tuple(map(small_sets.run_of, plan))
    many = RunSet(Path("many"), "many", "", small_sets.BEGAN, "", (), {}, plan, runs)
    text = shown(many)
    assert "server-39" in text
    assert "server-40" not in text
    assert "… and 5 more cases in the report" in text

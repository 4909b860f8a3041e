"""The section on determinism under load, its badge and its sentences."""

from __future__ import annotations

from pathlib import Path

import small_sets

from llmbench.report.results import Results
from llmbench.report.sections import overview
from llmbench.report.sections.under_load import badge, sentences, under_load
from llmbench.report.table import Table
from llmbench.runs import store
from llmbench.runs.run import NOT_CHECKED, Compared, Quality, UnderLoad


def answers(changed: int, *, alone: int = 0, total: int = 16) -> UnderLoad:
    return UnderLoad(
        "tokens",
        tuple(
            Compared(
                request_id=n,
                length=32,
                alike=10 if n < changed else 32,
                changes_alone=n < alone,
                neighbors=3.0,
                right_alone=True,
                right_under_load=n >= changed,
            )
            for n in range(total)
        ),
        cached_tokens=50,
        prompt_tokens=200,
    )


def results(folder: Path, *of_runs: UnderLoad) -> Results:
    plan = [small_sets.planned("eager", repeat) for repeat, _ in enumerate(of_runs, start=1)]
    small_sets.begun(folder / "set", plan)
    for run, compared in zip(plan, of_runs, strict=True):
        quality = Quality(reason="none", under_load=compared)
        store.write_run(folder / "set", small_sets.run_of(run, quality=quality))
    return Results(store.read(folder / "set"))


def cells(table: Table) -> dict[str, tuple[str, str]]:
    (row,) = table.rows
    return {c.label: (cell.text, cell.detail) for c, cell in zip(table.columns, row, strict=True)}


def test_what_was_compared_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    (run,) = results(tmp_path, answers(3)).measured[0].runs
    assert run.quality.under_load == answers(3)


def test_shares_have_wilson_intervals_over_all_processes(tmp_path: Path) -> None:
    shown = cells(under_load(results(tmp_path, answers(3), answers(1, alone=1))))
    assert shown["answers"] == ("32", "")
    assert shown["changed under load"] == ("12.5 %", "5.0 – 28.1 %")
    assert shown["changed, sequential"] == ("3.1 %", "0.6 – 15.7 %")
    assert shown["accuracy, sequential"][0] == "100.0 %"
    assert shown["accuracy under load"][0] == "87.5 %"
    assert shown["tokens before the first change"][0] == "10.0"
    assert shown["cached, sequential"][0] == "25.0 %"
    assert shown["others in flight"][0] == "3.00"


def test_the_badge_says_whether_answers_change(tmp_path: Path) -> None:
    (changed,) = results(tmp_path / "a", answers(3)).measured
    (same,) = results(tmp_path / "b", answers(0)).measured
    (unchecked,) = results(tmp_path / "c", NOT_CHECKED).measured
    assert (badge(changed).text, badge(changed).detail) == ("changed", "3 of 16 changed")
    assert (badge(same).text, badge(same).detail) == ("deterministic", "0 of 16 changed")
    assert badge(unchecked).is_missing
    assert badge(unchecked).note == "the scenario sets no `quality.under_load`"


def test_the_badge_is_in_the_terminal_only_if_something_was_checked(tmp_path: Path) -> None:
    def labels(compared: UnderLoad, name: str) -> list[str]:
        return [c.label for c in overview.brief(results(tmp_path / name, compared)).columns]

    assert "determinism check" in labels(answers(0), "a")
    assert "determinism check" not in labels(NOT_CHECKED, "b")


def test_sentences_name_the_cases_whose_answers_change(tmp_path: Path) -> None:
    (sentence,) = sentences(results(tmp_path / "a", answers(3, alone=1)))
    assert sentence == (
        "Under load, 3 of 16 greedy answers of eager differ from those to the same prompts sent "
        "one at a time (95 % interval 6.6 to 43.0 %; 1 changed between two sequential passes): its "
        "speed was measured with the changed answers."
    )
    (unchanged,) = sentences(results(tmp_path / "b", answers(0)))
    assert unchanged == (
        "Greedy answers under load equal those to the same prompts sent one at a time: "
        "eager (16 of 16)."
    )
    assert [*sentences(results(tmp_path / "c", NOT_CHECKED))] == []


def test_without_a_check_the_section_is_empty_and_says_why(tmp_path: Path) -> None:
    table = under_load(results(tmp_path, NOT_CHECKED))
    assert [column.label for column in table.columns] == ["case"]
    assert "the scenario sets no `quality.under_load`" in table.note

"""Lines on stdout are wrapped for a terminal, and nowhere else."""

from __future__ import annotations

import pytest

from llmbench.report.console import on_stdout

LINE = "word " * 60


@pytest.mark.parametrize(("columns", "lines"), [(None, 1), ("80", 4)])
def test_piped_output_is_wrapped_only_to_columns(
    columns: str | None,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    on_stdout().print(LINE)
    assert len(capsys.readouterr().out.splitlines()) == lines

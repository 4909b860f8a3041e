"""Help on terminals of several widths."""

from __future__ import annotations

import pytest
from generate_reference import subparsers

from llmbench.cli import build_parser, main
from llmbench.cli.help_text import fitted

LINE = "  llmbench run default                   two backends, small model"


def test_a_line_that_fits_is_kept() -> None:
    assert fitted(LINE, len(LINE)) == LINE


def test_the_remark_of_a_long_line_is_on_a_line_of_its_own() -> None:
    assert fitted(LINE, 40).splitlines() == [
        "  llmbench run default",
        "      two backends, small model",
    ]


def test_commands_are_never_broken_within_a_word() -> None:
    assert fitted("  llmbench run --backends eager,compiled", 30).splitlines() == [
        "  llmbench run --backends",
        "      eager,compiled",
    ]


def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = build_parser()
    for command in (parser, *subparsers(parser).values()):
        assert max(map(len, command.format_help().splitlines())) <= 80


def test_the_guide_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main([]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60

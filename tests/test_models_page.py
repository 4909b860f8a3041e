"""The architectures of docs/models.md, which tools/generate_models.py tries."""

from __future__ import annotations

from pathlib import Path

import generate_models
import pytest

NAMES = sorted(generate_models.configurations())


def test_the_page_has_every_architecture() -> None:
    page = generate_models.PAGE.read_text("utf-8").partition("## Reasons")[0]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == NAMES, "python tools/generate_models.py"


def test_no_architecture_of_the_page_gives_other_tokens() -> None:
    assert "**differs**" not in generate_models.PAGE.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_architecture_gives_the_tokens_of_generate_or_is_refused(
    name: str, tmp_path: Path
) -> None:
    trial = generate_models.Trial(generate_models.configurations()[name], tmp_path)
    assert trial.outcome("eager").verdict in {"equal", "refused"}

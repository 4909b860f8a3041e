"""What the docs show is true."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from llmbench import scenario_file
from llmbench.backends.base import Demand, OpenContext
from llmbench.cli import main
from llmbench.dispatch import Dispatch
from llmbench.loads.closed import Closed
from llmbench.request import Request
from llmbench.scenario import EngineOptions, ModelOptions, SamplingOptions
from llmbench.stopping import Stop
from llmbench.streams import stream

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_scenario_in_the_docs_is_valid(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        path = tmp_path / "shown.yaml"
        path.write_text(text)
        assert scenario_file.load(path).cases


def test_the_backend_in_the_docs_works() -> None:
    namespace: dict[str, Any] = {}
    exec(blocks(ROOT / "docs" / "backends.md", "python")[0], namespace)  # noqa: S102 (our own docs)
    echo = namespace["Echo"](namespace["Echo"].Options())
    context = OpenContext(
        ModelOptions(source="random:tiny"), EngineOptions(), SamplingOptions(), Demand((3,), 8),
    )  # fmt: skip
    stop = Stop(requests=3)
    arrivals = Closed(Closed.Options()).arrivals(stop, stream(0, "arrivals"))
    requests = (Request(number, (1, 2, 3), 5) for number in count())
    with echo.open(context) as server:
        dispatch = Dispatch(requests, arrivals, stop)
        records = server.serve(dispatch, server.new_clock(), lambda _: None)
    assert [record.output_tokens for record in records] == [5, 5, 5]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_is_one_that_exists(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = "\n".join(blocks(page, "(?:sh)?"))
    for command in re.findall(r"^\$? ?llmbench ([a-z]+)", shown, re.MULTILINE):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out

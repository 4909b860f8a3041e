"""What the README and the docs show works."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from documents import PAGES, ROOT, blocks, commands, name_of
from generate_reference import subparsers

from llmbench.cli import build_parser, main
from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario import shipped
from llmbench.testing import dispatch, open_context, requests, serve

SIMULATED = """\
name: simulated
description: Results for the Python in the docs.
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: poisson, rate: 4/s}
requests: 10
collect: [cpu]
backends: [{kind: fake, name: eager}]
"""
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
SESSIONS = {node.name for node in NOXFILE.body if isinstance(node, ast.FunctionDef)}
BEHIND = {"bench": "run", "check": "check"}  # the subcommand that a session's arguments go to

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def written_scenarios(page: Path, folder: Path) -> dict[str, Path]:
    """Write the scenarios of a page to files of the same names."""
    paths = {}
    for text in blocks(page, "yaml"):
        name = re.findall(r"^name: (.+)$", text, re.MULTILINE)[0]
        paths[f"{name}.yaml"] = folder / f"{name}.yaml"
        paths[f"{name}.yaml"].write_text(text)
    return paths


class Checked:
    """Raises AssertionError for an invalid command."""

    def __init__(self, scenarios: dict[str, Path]) -> None:
        self.scenarios = scenarios

    def llmbench(self, words: Sequence[str]) -> None:
        if {"--help", "--version"} & {*words}:
            return
        try:
            arguments = build_parser().parse_args(words)
        except SystemExit as refused:
            raise AssertionError(f"llmbench does not accept {' '.join(words)}") from refused
        named = str(getattr(arguments, "scenario", None))
        path = self.scenarios.get(named, ROOT / named)
        path = shipped.path_of(named) if named in shipped.names() else path
        if path.is_file() and not named.startswith("examples/"):  # these need to be installed
            scenario_file.load(path, arguments.set)

    def nox(self, words: Sequence[str]) -> None:
        own, _, passed_on = " ".join(words).partition(" -- ")
        _, *named = own.split() or [""]
        assert set(named) <= SESSIONS
        if passed_on and named[0] in BEHIND:
            self.llmbench([BEHIND[named[0]], *passed_on.split()])

    def python(self, words: Sequence[str]) -> None:
        script, *arguments = words
        source = (ROOT / script).read_text("utf-8")
        assert [a for a in arguments if a.startswith("--") and f'"{a}"' not in source] == []

    def pip(self, words: Sequence[str]) -> None:
        extras = re.findall(r"\[(.+?)\]", " ".join(words))
        assert set(",".join(extras).split(",")) - {""} <= set(
            PYPROJECT["project"]["optional-dependencies"]
        )
        paths = [word for word in words if word.startswith("./") or word.endswith(".txt")]
        assert [path for path in paths if not (ROOT / path).exists()] == []

    def pytest(self, words: Sequence[str]) -> None:
        assert [w for w in words if not w.startswith("-") and not (ROOT / w).exists()] == []


def check_flags(words: Sequence[str]) -> None:
    """Check an incomplete command: its subcommand exists and has its flags."""
    known = re.findall(r"--[a-z-]+", subparsers(build_parser())[words[0]].format_help())
    assert {word for word in words if word.startswith("--")} <= {*known}


@every_page
def test_every_command_in_the_docs_is_valid(page: Path, tmp_path: Path) -> None:
    checked = Checked(written_scenarios(page, tmp_path))
    for command in commands(page):
        program, *words = command.words
        if command.in_a_sentence and program == "llmbench" and words != ["--help"]:
            check_flags(words)
        else:
            getattr(checked, program)(words)


@pytest.mark.parametrize(
    "command",
    [
        "llmbench run scenarios/default.yaml --speed 4",
        "llmbench rum scenarios/default.yaml",
        "llmbench check default",
        "nox -s benches",
        "nox -s check -- --baseline git:HEAD~1",
        "python benchmarks/report.py --rows 5",
        "pip install 'llmbench[all]'",
        "pytest scenario/",
    ],
)
def test_an_invalid_command_is_detected(command: str) -> None:
    program, *words = command.split()
    with pytest.raises((AssertionError, OSError)):
        getattr(Checked({}), program)(words)


def test_an_override_of_an_unknown_key_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SIMULATED)
    for named in ("mine.yaml", "default"):
        with pytest.raises(ScenarioError, match="did you mean 'rate'"):
            Checked({"mine.yaml": path}).llmbench(["run", named, "--set", "load.rat=8"])


@every_page
def test_every_scenario_in_the_docs_is_valid(page: Path, tmp_path: Path) -> None:
    for path in written_scenarios(page, tmp_path).values():
        assert scenario_file.load(path).cases


@every_page
def test_other_data_in_the_docs_can_be_read(page: Path) -> None:
    for text in blocks(page, "toml"):
        assert tomllib.loads(text)
    for text in blocks(page, "json"):
        assert json.loads(text)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results where the docs expect them: in ``results/...``."""
    folder = tmp_path_factory.mktemp("docs")
    path = folder / "simulated.yaml"
    path.write_text(SIMULATED)
    assert main(["run", str(path), "--out", str(folder / "results" / "..."), "--quiet"]) == 0
    return folder


@every_page
def test_python_in_the_docs_runs(
    page: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(measured)
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), {"__name__": page.stem})  # noqa: S102 (our own docs)


def test_the_backend_in_the_docs_works() -> None:
    namespace: dict[str, Any] = {"__name__": "mybackend"}
    exec(blocks(ROOT / "docs" / "backends.md", "python")[0], namespace)  # noqa: S102 (our own docs)
    echo = namespace["Echo"](namespace["Echo"].Options())
    with echo.open(open_context()) as server:
        records = serve(server, dispatch(requests(3, tokens=5)))
    assert [record.output_tokens for record in records] == [5, 5, 5]


@every_page
def test_links_between_pages_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""``llmbench list``: scenarios, plugins, models and results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options, output
from llmbench.errors import ScenarioError

if TYPE_CHECKING:
    from llmbench.plugins import KindName
    from llmbench.runs.catalog import Entry

HELP = "list scenarios, plugins, models and results"
DESCRIPTION = "List scenarios, backends, loads, workloads, collectors, models and results."
EPILOG = """\
examples:
  llmbench list                 everything
  llmbench list backends
  llmbench list results --folder results --json
"""

Rows = list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    text = "folder with scenarios or results (default: shipped ones and ./scenarios, ./results)"
    what = f"what to list: {', '.join(LISTINGS)} (default: all)"
    parser.add_argument("what", nargs="?", choices=[*LISTINGS], metavar="WHAT", help=what)
    parser.add_argument("--folder", type=options.results_list, metavar="DIR", help=text)
    options.add_json(parser, "the lists")


def run(arguments: argparse.Namespace) -> int:
    """Print the selected lists as a table or as JSON."""
    selected = [arguments.what] if arguments.what else list(LISTINGS)
    lists = {what: LISTINGS[what](arguments.folder) for what in selected}
    if arguments.json:
        print(json.dumps({what: dict(rows) for what, rows in lists.items()}, indent=1))
    else:
        _print(lists)
    return 0


def _print(lists: dict[str, Rows]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from llmbench.report.console import on_stdout

    table = Table(box=None, pad_edge=False, show_header=False)
    for what, rows in lists.items():
        table.add_row(f"[bold]{what}[/]")
        for name, text in rows or [("(none)", "")]:
            table.add_row(f"  {escape(name)}", escape(text))
    on_stdout(highlight=False).print(table)


def _parts(kind: KindName, _: Path | None) -> Rows:
    from llmbench import plugins

    return [(name, plugins.summary(plugins.find(kind, name))) for name in plugins.names(kind)]


def _scenarios(folder: Path | None) -> Rows:
    return [(name, _description(path)) for name, path in scenario_files(folder).items()]


def scenario_files(folder: Path | None) -> dict[str, Path]:
    """Return the scenarios of a folder; by default the shipped ones by name, and ./scenarios."""
    from llmbench.scenario import shipped

    own = folder or Path("scenarios")
    paths = {str(path): path for path in sorted(own.rglob("*.yaml"))}
    if folder is None:
        in_package = {name: shipped.path_of(name) for name in shipped.names()}
        paths = in_package if own.resolve() == shipped.folder().resolve() else in_package | paths
    return paths


def _description(path: Path) -> str:
    from llmbench.scenario import file as scenario_file

    try:
        return scenario_file.load(path).scenario.description
    except ScenarioError as error:
        return f"invalid: {error}"


def _results(folder: Path | None) -> Rows:
    from llmbench.runs import catalog
    from llmbench.runs.remote import address

    entries = map(catalog.entry, catalog.find(folder or Path("results")))
    return [(address(entry.folder), _describe(entry)) for entry in entries]


def _describe(entry: Entry) -> str:
    if entry.problem:
        return f"cannot be read: {entry.problem}"
    damaged = f" ({entry.damaged} damaged)" if entry.damaged else ""
    runs = output.count_of(entry.measured, entry.planned, "run")
    return f"{runs}{damaged}, {entry.name}"


def _models(_: Path | None) -> Rows:
    from llmbench import models

    return [(source, models.describe(source)) for source in models.bundled()]


LISTINGS: dict[str, Callable[[Path | None], Rows]] = {
    "scenarios": _scenarios,
    "backends": partial(_parts, "backend"),
    "loads": partial(_parts, "load"),
    "workloads": partial(_parts, "workload"),
    "collectors": partial(_parts, "collector"),
    "models": _models,
    "results": _results,
}

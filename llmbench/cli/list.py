"""``llmbench list``: what there is to choose from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench.plugins import Kind
    from llmbench.runs.catalog import Entry

EXAMPLES = """\
examples:
  llmbench list                 everything
  llmbench list backends
  llmbench list results --folder results --json
"""

Rows = list[tuple[str, str]]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "list",
        help="list scenarios, parts and results",
        description="List scenarios, backends, loads, workloads, collectors, models and results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=[*LISTINGS], help="default: everything")
    parser.add_argument(
        "--folder", type=Path, help="where to look (default: ./scenarios, ./results)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the listings asked for."""
    wanted = [arguments.what] if arguments.what else list(LISTINGS)
    found = {what: LISTINGS[what](arguments.folder) for what in wanted}
    if arguments.json:
        print(json.dumps({what: dict(rows) for what, rows in found.items()}, indent=1))
    else:
        _print(found)
    return 0


def _print(found: dict[str, Rows]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for what, rows in found.items():
        table.add_row(f"[bold]{what}[/]")
        for name, told in rows or [("(none)", "")]:
            table.add_row(f"  {_escaped(name)}", _escaped(told))
    Console(highlight=False).print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _parts(kind: Kind) -> Callable[[Path | None], Rows]:
    def rows(_: Path | None) -> Rows:
        from llmbench import plugins

        return [(name, plugins.summary(plugins.find(kind, name))) for name in plugins.names(kind)]

    return rows


def _scenarios(folder: Path | None) -> Rows:
    from llmbench.errors import ScenarioError
    from llmbench.scenario import file as scenario_file

    rows = []
    for path in sorted((folder or Path("scenarios")).rglob("*.yaml")):
        try:
            rows.append((str(path), scenario_file.load(path).scenario.description))
        except ScenarioError as error:
            rows.append((str(path), f"not valid: {error}"))
    return rows


def _results(folder: Path | None) -> Rows:
    from llmbench.runs import catalog

    found = map(catalog.entry, catalog.find(folder or Path("results")))
    return [(str(entry.folder), _told(entry)) for entry in found]


def _told(entry: Entry) -> str:
    if entry.problem:
        return f"not readable: {entry.problem}"
    return f"{entry.measured} of {entry.planned} runs, {entry.name}"


def _models(_: Path | None) -> Rows:
    from llmbench import models

    return [(source, models.describe(source)) for source in models.bundled()]


LISTINGS: dict[str, Callable[[Path | None], Rows]] = {
    "scenarios": _scenarios,
    "backends": _parts("backend"),
    "loads": _parts("load"),
    "workloads": _parts("workload"),
    "collectors": _parts("collector"),
    "models": _models,
    "results": _results,
}

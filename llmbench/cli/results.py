"""``llmbench results``: list, show and prune stored run sets."""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options, output
from llmbench.errors import InputError
from llmbench.units import format_bytes

if TYPE_CHECKING:
    from llmbench.runs.catalog import Entry

HELP = "list, show and prune stored run sets"
DESCRIPTION = "List the run sets in a folder, show one again, or delete all but the newest ones."
EPILOG = """\
examples:
  llmbench results list                        the newest first, with size and state
  llmbench results list s3://bucket/nightly    those in a store
  llmbench results show results/tonight        its table again; nothing is written
  llmbench results prune --keep 5              what would be deleted: all but 5 per scenario
  llmbench results prune --keep 5 --yes        delete it

Prune leaves profiles, run sets that cannot be read, and those that are being measured.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the run sets, the newest first")
    _add_folder(listing)
    options.add_json(listing, "the list")
    show = actions.add_parser("show", help="print the table of stored results")
    show.add_argument("folder", type=options.results, metavar="DIR", help="a results folder")
    prune = actions.add_parser("prune", help="delete all but the newest run sets of each scenario")
    _add_folder(prune)
    text = "how many run sets of each scenario to keep"
    prune.add_argument("--keep", type=int, required=True, metavar="N", help=text)
    text = "delete them; without it, they are only listed"
    prune.add_argument("--yes", action="store_true", help=text)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    folder, text = Path("results"), "folder to search for run sets (default: results)"
    parser.add_argument(
        "folder", nargs="?", type=options.results_list, default=folder, metavar="DIR", help=text
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the action."""
    return {"list": _list, "show": _show, "prune": _prune}[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    entries = _entries(arguments.folder)
    if arguments.json:
        print(json.dumps([_as_dict(entry) for entry in entries], indent=1))
    elif entries:
        _print(entries)
    return 0


def _print(entries: list[Entry]) -> None:
    """Print one row per run set; only a terminal wraps it."""
    from rich.table import Table
    from rich.text import Text

    from llmbench.report.console import on_stdout
    from llmbench.runs import remote

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    for entry in entries:
        table.add_row(Text(remote.address(entry.folder)), Text(_state(entry)))
    on_stdout(highlight=False).print(table)


def _show(arguments: argparse.Namespace) -> int:
    from llmbench.runs import profile, store

    folder: Path = arguments.folder
    read = profile.read if profile.is_profile(folder) else store.read
    output.print_table(read(folder), folder / "report.html")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    """Delete, or only list, all but the newest run sets of each scenario."""
    if arguments.keep < 0:
        raise InputError(f"--keep {arguments.keep}: must be at least 0")
    from llmbench.runs import remote

    older = _older(_entries(arguments.folder), arguments.keep)
    for entry in older:
        state = _state(entry)  # with the size, before it is gone
        done = _delete(entry.folder) if arguments.yes else "would delete"
        print(f"{done}  {remote.address(entry.folder)}  {state}")
    if older and not arguments.yes:
        print("nothing was deleted; to delete them, add --yes")
    return 0


def _older(entries: list[Entry], keep: int) -> list[Entry]:
    """Return the readable entries beyond the newest ``keep`` of each scenario."""
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.problem:
            by_name[entry.name].append(entry)
    return [entry for group in by_name.values() for entry in group[keep:]]


def _delete(folder: Path) -> str:
    """Delete a run set, unless a process measures into it; return what was done."""
    from llmbench.runs import remote

    try:
        with output.locked(folder):
            remote.remove(folder)
            shutil.rmtree(folder)
    except InputError as error:
        return f"kept ({remote.with_addresses(str(error))})"
    return "deleted"


def _entries(folder: Path) -> list[Entry]:
    """Return the catalog entries of a folder, the newest first."""
    from llmbench.runs import catalog

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; specify a results folder")
    entries = map(catalog.entry, catalog.find(folder))
    return sorted(entries, key=lambda entry: entry.began_at, reverse=True)


def _state(entry: Entry) -> str:
    size = format_bytes(_size(entry.folder))
    if entry.problem:
        return f"{size}, cannot be read: {entry.problem}"
    runs = output.count_of(entry.measured, entry.planned, "run")
    return f"{entry.name}, {entry.began_at[:16]}, {runs}, {size}"


def _as_dict(entry: Entry) -> dict[str, object]:
    from llmbench.runs import remote

    return {
        "folder": remote.address(entry.folder), "name": entry.name, "began_at": entry.began_at,
        "planned": entry.planned, "measured": entry.measured, "failed": entry.failed,
        "bytes": _size(entry.folder), "problem": entry.problem,
    }  # fmt: skip


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder, or of all objects if it is in a store."""
    from llmbench.runs import remote

    if (stored := remote.stored_bytes(folder)) is not None:
        return stored
    return sum(path.lstat().st_size for path in folder.rglob("*"))

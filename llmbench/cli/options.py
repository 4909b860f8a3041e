"""Command-line options that subcommands share, and the interface of a subcommand's module."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

SCENARIO = "a scenario file (YAML), or the name of one that ships with llmbench"


class Command(Protocol):
    """The interface of a subcommand's module."""

    HELP: str
    DESCRIPTION: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the subcommand's arguments to its parser."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the subcommand and return its exit code."""


@dataclass(frozen=True, slots=True)
class Url:
    """The URL of results in a store, to open after the command line is parsed.

    ``names`` are those of the files that the command reads, all by default.
    """

    text: str
    names: frozenset[str] | None = None


def results(text: str) -> Path | Url:
    """Return the path of a results folder, or the URL of one in a store."""
    return Url(text) if "://" in text else Path(text)


def results_list(text: str) -> Path | Url:
    """Return a folder with run sets to list, of which only the small files are read."""
    from llmbench.runs.working_copy import HEADS

    return Url(text, HEADS) if "://" in text else Path(text)


def reports(text: str) -> Path | Url:
    """Return a folder with reports to open, of which nothing else is read."""
    from llmbench.runs.remote import REPORTS

    return Url(text, REPORTS) if "://" in text else Path(text)


def local_path(text: str) -> Path:
    """Return the path of a local file; raise ArgumentTypeError for a URL."""
    if "://" in text:
        message = (
            f"{text.partition('?')[0]!r}: expected a local path; only results folders have URLs"
        )
        raise argparse.ArgumentTypeError(message)
    return Path(text)


def open_urls(arguments: argparse.Namespace) -> None:
    """Replace the URLs among the arguments by the paths of their working copies."""
    for name, value in vars(arguments).items():
        if isinstance(value, list):
            setattr(arguments, name, [_opened(one) for one in value])
        else:
            setattr(arguments, name, _opened(value))


def _opened(value: object) -> object:
    if not isinstance(value, Url):
        return value
    from llmbench.runs import remote

    return remote.opened(value.text, value.names)


def add_path(parser: argparse.ArgumentParser, flag: str, metavar: str, text: str) -> None:
    """Add an option whose value is the path of a local file or folder."""
    parser.add_argument(flag, type=local_path, metavar=metavar, help=text)


def add_results(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    """Add an option whose value is a results folder, local or in a store."""
    parser.add_argument(flag, type=results, metavar="DIR", help=text)


def add_json(parser: argparse._ActionsContainer, subject: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {subject} as JSON")


def add_quiet(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", "-q", action="store_true", help=text)


def add_campaign(
    parser: argparse.ArgumentParser,
    subject: str,
    folder: str,
    quiet: str = "hide progress",
    *,
    in_store: bool = True,
) -> None:
    """Add the shared options of measuring commands: --set, --out, --json and --quiet.

    ``in_store`` is whether the results folder may be the URL of one in a store.
    """
    text = "override a scenario key; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    kind = results if in_store else local_path
    named = "results folder, or s3://BUCKET/FOLDER" if in_store else "results folder"
    parser.add_argument("--out", type=kind, metavar="DIR", help=f"{named} (default: {folder})")
    add_json(parser, subject)
    add_quiet(parser, quiet)


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Add ``--ray``."""
    text = "measure on the nodes of a Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT"
    parser.add_argument("--ray", metavar="ADDRESS", help=text)


def default_folder(name: str) -> Path:
    """Return the path of a new results folder, named after ``name`` and the current time."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{name}-{stamp}".replace(" ", "-")

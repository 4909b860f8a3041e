"""Shared command-line options, and the interface of a subcommand's module."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Command(Protocol):
    """The interface of a subcommand's module."""

    HELP: str
    DESCRIPTION: str
    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit code."""


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add ``--set KEY=VALUE``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a scenario key; repeatable",
    )


def add_out(parser: argparse.ArgumentParser, text: str, metavar: str = "DIR") -> None:
    """Add ``--out``."""
    parser.add_argument("--out", type=Path, metavar=metavar, help=text)


def add_json(parser: argparse._ActionsContainer, subject: str = "the result") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {subject} as JSON")


def add_quiet(parser: argparse.ArgumentParser, text: str = "hide progress") -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", "-q", action="store_true", help=text)


def add_campaign(
    parser: argparse.ArgumentParser, subject: str, folder: str, quiet: str = "hide progress"
) -> None:
    """Add the shared options of measuring commands: --set, --out, --json and --quiet."""
    add_set(parser)
    add_out(parser, f"results folder ({folder})")
    add_json(parser, subject)
    add_quiet(parser, quiet)


def default_folder(name: str) -> Path:
    """Return the path of a new results folder, named after ``name`` and the current time."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{name}-{stamp}".replace(" ", "-")

"""Command-line options that subcommands share, and the interface of a subcommand's module."""

from __future__ import annotations

import argparse
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


def add_path(parser: argparse.ArgumentParser, flag: str, metavar: str, text: str) -> None:
    """Add an option whose value is a path."""
    parser.add_argument(flag, type=Path, metavar=metavar, help=text)


def add_json(parser: argparse._ActionsContainer, subject: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=f"print {subject} as JSON")


def add_quiet(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", "-q", action="store_true", help=text)


def add_campaign(
    parser: argparse.ArgumentParser, subject: str, folder: str, quiet: str = "hide progress"
) -> None:
    """Add the shared options of measuring commands: --set, --out, --json and --quiet."""
    text = "override a scenario key; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    add_path(parser, "--out", "DIR", f"results folder (default: {folder})")
    add_json(parser, subject)
    add_quiet(parser, quiet)


def default_folder(name: str) -> Path:
    """Return the path of a new results folder, named after ``name`` and the current time."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{name}-{stamp}".replace(" ", "-")

"""Completion of commands, flags, scenarios and backends in the shell, by argcomplete."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator

from llmbench.errors import MissingExtraError

REQUESTED = "_ARGCOMPLETE"  # set by the shell function that argcomplete registers
COMPLETER = "completer"  # the attribute of an argument where argcomplete looks


def is_requested() -> bool:
    """Return whether the shell asks what may follow, instead of running a command."""
    return REQUESTED in os.environ


def answer(parser: argparse.ArgumentParser) -> None:
    """Print what may follow on the command line, for the shell, and exit.

    Raises MissingExtraError if argcomplete is not installed.
    """
    try:
        import argcomplete
    except ModuleNotFoundError:
        raise MissingExtraError("completion", "argcomplete", "completion") from None
    for argument in _arguments(parser):
        if complete := COMPLETERS.get(argument.dest):
            setattr(argument, COMPLETER, complete)
    argcomplete.autocomplete(parser)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its subcommands."""
    for action in parser._actions:  # noqa: SLF001 (argparse has no public list of them)
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 (the same)
            for subparser in action.choices.values():
                yield from _arguments(subparser)


def _scenarios(prefix: str, **_: object) -> list[str]:
    """Return the scenarios that ``llmbench list scenarios`` shows, and the YAML files."""
    from argcomplete.completers import FilesCompleter

    from llmbench.cli.list import scenario_files

    files = FilesCompleter(("yaml", "yml"))(prefix)
    return [name for name in scenario_files(None) if name.startswith(prefix)] + files


def _backends(prefix: str, **_: object) -> list[str]:
    """Return the backends that may end a list such as ``eager,comp``."""
    from llmbench import plugins

    before, comma, begun = prefix.rpartition(",")
    chosen = before.split(",")
    return [
        f"{before}{comma}{name}"
        for name in plugins.names("backend")
        if name.startswith(begun) and name not in chosen
    ]


COMPLETERS: dict[str, Callable[..., list[str]]] = {"scenario": _scenarios, "backends": _backends}

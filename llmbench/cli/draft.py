"""Scenarios from flags, for commands that need no scenario file."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.errors import InputError, ScenarioError, printable

if TYPE_CHECKING:
    from llmbench.scenario.file import Origins, Source
    from llmbench.scenario.yaml_text import KeyPath

FLAGS = ("model", "backends", "url", "rate", "concurrency", "requests")
DEFAULT_BACKENDS, DEFAULT_CONCURRENCY, DEFAULT_REQUESTS = "eager", "8", "100"
FIRST_LISTED = "served:"  # the first model that the server lists
EXISTS = "{}: exists; choose another name, or replace it with --force"
MAX_SHOWN = 120  # characters of a flag
COMMENTS = {
    "load": "kinds: llmbench list loads",
    "requests": "measured in each run; a p99 needs 662",
    "warmup": "sent first, in no metric",
    "repeats": "runs per backend; most claims need 5",
    "backends": "llmbench list backends",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that stand for a scenario."""
    group = parser.add_argument_group("a scenario from flags, instead of a file")
    group.add_argument(
        "--model", metavar="MODEL", help="hub id, folder, GGUF file, random:SHAPE or builtin:tiny"
    )
    target = group.add_mutually_exclusive_group()
    text = f"names, separated by commas (default: {DEFAULT_BACKENDS})"
    target.add_argument("--backends", metavar="NAMES", help=text)
    target.add_argument("--url", help="OpenAI-compatible server; --model is its model's name")
    load = group.add_mutually_exclusive_group()
    load.add_argument("--rate", help="requests per second, at random times (Poisson)")
    text = f"users who each wait for their answer (default: {DEFAULT_CONCURRENCY})"
    load.add_argument("--concurrency", metavar="N", help=text)
    text = f"measured requests per run (default: {DEFAULT_REQUESTS})"
    group.add_argument("--requests", metavar="N", help=text)


def flags(arguments: argparse.Namespace) -> list[str]:
    """Return the given flags of a scenario, as they were typed."""
    return [_typed(name, value) for name in FLAGS if (value := getattr(arguments, name))]


def source(arguments: argparse.Namespace, name: str) -> Source:
    """Return the scenario that flags stand for, with --set applied.

    Raises ScenarioError, with the flag at fault, if they make no valid scenario.
    """
    from llmbench.scenario import file as scenario_file

    spec = {"name": name, **_spec(arguments)}
    return scenario_file.of_spec(spec, _origins(arguments), arguments.set, COMMENTS)


def show(scenario: Source, title: str) -> None:
    """Print on stderr the scenario that flags stand for."""
    indented = "".join(f"  {line}" for line in scenario.text.splitlines(keepends=True))
    print(f"{title}:\n{indented}", file=sys.stderr, flush=True)


def name_of(arguments: argparse.Namespace, path: Path | None) -> str:
    """Return a scenario's name: that of its file, else of its model, else of the server's host."""
    from urllib.parse import urlsplit

    text = arguments.model or urlsplit(arguments.url).hostname or ""
    text = path.stem if path else re.split(r"[/:]", text.rstrip("/:"))[-1]
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "scenario"


def write(text: str, path: Path, *, force: bool) -> None:
    """Write a scenario to a file; raises InputError if it exists, unless forced."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(EXISTS.format(path)) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _spec(arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.model
    if arguments.url:
        is_served = model and not model.startswith(FIRST_LISTED)
        model = f"{FIRST_LISTED}{model}" if is_served else model or FIRST_LISTED
    return {
        "model": model,
        "workload": {
            "kind": "prompts",
            "task": "question-answering",
            "output_tokens": {"uniform": [16, 64]},
        },
        "load": _load(arguments),
        "requests": _value("requests", arguments.requests or DEFAULT_REQUESTS),
        "warmup": 10,
        "repeats": 5,
        "backends": _backends(arguments),
    }


def _load(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.rate:
        return {"kind": "poisson", "rate": _value("rate", arguments.rate)}
    users = arguments.concurrency or DEFAULT_CONCURRENCY
    return {"kind": "closed", "concurrency": _value("concurrency", users)}


def _backends(arguments: argparse.Namespace) -> Any:
    if arguments.url:
        return [{"kind": "endpoint", "url": arguments.url}]
    names = arguments.backends or DEFAULT_BACKENDS
    return _read(f"[{names}]", _typed("backends", names))


def _value(flag: str, text: str) -> Any:
    """Return the value of a flag, read as YAML, as the value of --set is."""
    return _read(text, _typed(flag, text))


def _read(text: str, typed: str) -> Any:
    from llmbench.scenario.yaml_text import YamlTextError, compose

    try:
        return compose(text).plain()
    except YamlTextError as error:
        raise ScenarioError(f"{typed}: the value is not valid YAML: {error}") from None


def _origins(arguments: argparse.Namespace) -> Origins:
    """Return where each key of the scenario was set: the flag, as it was typed."""
    keys: dict[str, KeyPath] = {
        "model": ("model",), "backends": ("backends",), "url": ("backends",),
        "rate": ("load", "rate"), "concurrency": ("load", "concurrency"), "requests": ("requests",),
    }  # fmt: skip
    given = {
        at: _typed(flag, value) for flag, at in keys.items() if (value := getattr(arguments, flag))
    }
    return {(): "scenario of flags", **given}


def _typed(flag: str, value: str) -> str:
    return printable(f"--{flag} {value}", MAX_SHOWN)

"""``llmbench init``: write a scenario file to start from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llmbench.cli import draft
from llmbench.errors import InputError

HELP = "write a scenario file to start from"
DESCRIPTION = "Write a commented scenario file from flags, or from the answers to three questions."
EPILOG = """\
examples:
  llmbench init                                    asks, then writes scenario.yaml
  llmbench init chat.yaml --model builtin:tiny --backends eager,compiled --rate 8
  llmbench init chat.yaml --url http://localhost:8000 --set 'slo.ttft_p99=500 ms'

Questions are asked on a terminal only, and only if no flag is given.
"""
QUESTIONS = {
    "model": ("Model (hub id, folder, GGUF file, random:SHAPE) or URL of a server", "builtin:tiny"),
    "backends": ("Backends", "eager,compiled"),
    "rate": ("Requests per second", "4"),
}
MORE = {
    "slo: {ttft_p99: 500 ms, tpot_p99: 50 ms}": "objectives: goodput meets all of them",
    "engine: {slots: 8}": "most sequences in a batch of a local backend",
    "collect: [cpu, gpu, energy]": "see: llmbench list collectors",
    "quality: {reference: eager}": "compare outputs with those of a backend",
}
SWEEPS = {
    "poisson": {"sweep: {load.rate: [2, 4, 8]}": "one case per rate and backend"},
    "closed": {"sweep: {load.concurrency: [1, 4, 16]}": "one case per value and backend"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    path, text = Path("scenario.yaml"), "file to write (default: scenario.yaml)"
    parser.add_argument("path", nargs="?", type=Path, default=path, metavar="FILE", help=text)
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    draft.add_arguments(parser)
    text = "set a scenario key; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Write the scenario, and print how to run it."""
    path: Path = arguments.path
    if path.exists() and not arguments.force:  # before the questions
        raise InputError(draft.EXISTS.format(path))
    if not draft.flags(arguments):
        _ask(arguments)
    if not (arguments.model or arguments.url):
        raise InputError("specify --model or --url")
    source = draft.source(arguments, draft.name_of(arguments, path))
    draft.write(f"{source.text}{_more(source.scenario.load.kind)}", path, force=arguments.force)
    print(f"{path} written; measure it with\n  llmbench run {path}")
    return 0


def _ask(arguments: argparse.Namespace) -> None:
    """Ask for the flags, and set them."""
    if not sys.stdin.isatty():
        raise InputError("stdin is not a terminal; specify --model or --url (see --help)")
    for flag, (question, default) in QUESTIONS.items():
        if flag == "backends" and arguments.url:
            continue
        answer = _answer(f"{question} [{default}]: ") or default
        is_url = flag == "model" and answer.startswith(("http://", "https://"))
        setattr(arguments, "url" if is_url else flag, answer)


def _answer(question: str) -> str:
    """Return the answer to a question on the terminal; its end is that of the command."""
    try:
        return input(question).strip()
    except EOFError:
        raise InputError("no answer; nothing was written") from None


def _more(load: str) -> str:
    """Return comments with the keys that may be added to a scenario."""
    lines = (f"# {key:<42}# {comment}" for key, comment in {**MORE, **SWEEPS.get(load, {})}.items())
    return "\n".join(["", "# More keys; all of them: llmbench schema", *lines, ""])

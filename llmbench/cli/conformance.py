"""``llmbench conformance``: test clients and servers with faulty and unusual responses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from llmbench.cli import options
from llmbench.errors import InputError
from llmbench.runs.redaction import redact, redacted

if TYPE_CHECKING:
    from llmbench.backends.endpoint.conformance.suite import CheckResult

HELP = "test clients and servers with faulty and unusual responses"
DESCRIPTION = "Check that every server behavior, correct or faulty, leads to the expected outcome."
EPILOG = """\
examples:
  llmbench conformance                                   llmbench's own client, every behavior
  llmbench conformance --serve --port 8900               an adversarial server, for any client
  llmbench conformance --url http://localhost:8000/v1    your own server
  llmbench conformance --json | jq '.[] | select(.passed | not)'

The adversarial server answers POST /v1/chat/completions; `model` selects the behavior, and
GET /v1/models lists them. The exit code is 1 if any behavior differs from the expected one.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--serve", action="store_true", help="serve all behaviors until Ctrl-C")
    what.add_argument("--url", help="check this server instead of llmbench's client")
    parser.add_argument("--port", type=int, default=0, help="port for --serve (default: any free)")
    parser.add_argument("--model", help="model to request (default: the server's first)")
    options.add_json(parser, "the results of all checks")


def run(arguments: argparse.Namespace) -> int:
    """Serve all behaviors to other clients, or check a client or server and print the results."""
    if arguments.serve:
        return _serve(arguments.port)
    findings = _check(arguments.url, arguments.model)
    return _print_json(findings) if arguments.json else _print(findings)


def _check(url: str | None, model: str | None) -> Iterator[CheckResult]:
    from llmbench.backends.endpoint.conformance import suite
    from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background

    if url:
        yield from suite.check_server(url, model)
        return
    with in_background(AdversarialServer()) as server:
        yield from suite.check_client(server.url)


def _serve(port: int) -> int:
    import asyncio

    from llmbench.backends.endpoint.conformance.server import AdversarialServer

    async def serve() -> None:
        async with AdversarialServer().listening(port) as server:
            print(f"{server.url}/v1  (Ctrl-C to stop)", flush=True)
            await asyncio.Event().wait()

    try:
        asyncio.run(serve())
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; choose another") from None
    return 0


def _print_json(findings: Iterable[CheckResult]) -> int:
    rows = [{**redacted(asdict(finding)), "passed": finding.passed} for finding in findings]
    print(json.dumps(rows, indent=1))
    return int(not all(row["passed"] for row in rows))


def _print(findings: Iterable[CheckResult]) -> int:
    from rich.console import Console
    from rich.markup import escape

    console, passed = Console(highlight=False, soft_wrap=True), []
    for finding in findings:
        passed.append(finding.passed)
        mark = "[green]✓[/]" if finding.passed else "[red]✗[/]"
        console.print(f"{mark} {escape(finding.name):20} [dim]{escape(finding.about)}[/]")
        if not finding.passed:
            answer = escape(redact(finding.found))
            console.print(f"  expected {escape(finding.expected)}, got {answer}")
    console.print(f"{sum(passed)} of {len(passed)} as expected")
    return int(not all(passed))

"""``llmbench conformance``: try our client, any client or any server against bad manners."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench.backends.endpoint.conformance.suite import CheckResult

EXAMPLES = """\
examples:
  llmbench conformance                                   llmbench's own client, every behavior
  llmbench conformance --serve --port 8900               an adversarial server, for any client
  llmbench conformance --url http://localhost:8000/v1    what a server does that clients rely on
  llmbench conformance --json | jq '.[] | select(.passed | not)'

The adversarial server answers POST /v1/chat/completions; `model` names the behavior, and
GET /v1/models lists them. Exit codes: 0 all as expected, 1 something is not, 2 bad input.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "conformance",
        help="try clients and servers against what goes wrong between them",
        description="Check that every way of answering, good or bad, leads to its right outcome.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--serve", action="store_true", help="serve the behaviors until Ctrl-C")
    what.add_argument("--url", help="check this server instead")
    parser.add_argument("--port", type=int, default=0, help="to serve on; any free one if unset")
    parser.add_argument("--model", help="as the server calls it; its first if unset")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve, or check and print what was found."""
    if arguments.serve:
        return _serve(arguments.port)
    found = _checked(arguments.url, arguments.model)
    return _print_json(found) if arguments.json else _print(found)


def _checked(url: str | None, model: str | None) -> Iterator[CheckResult]:
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
    from llmbench.errors import InputError

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
    told = [{**asdict(finding), "passed": finding.passed} for finding in findings]
    print(json.dumps(told, indent=1))
    return int(not all(each["passed"] for each in told))


def _print(findings: Iterable[CheckResult]) -> int:
    from rich.console import Console
    from rich.markup import escape

    console, passed = Console(highlight=False, soft_wrap=True), []
    for finding in findings:
        passed.append(finding.passed)
        mark = "[green]✓[/]" if finding.passed else "[red]✗[/]"
        console.print(f"{mark} {escape(finding.name):20} [dim]{escape(finding.about)}[/]")
        if not finding.passed:
            console.print(f"  expected {escape(finding.expected)}, got {escape(finding.found)}")
    console.print(f"{sum(passed)} of {len(passed)} as expected")
    return int(not all(passed))

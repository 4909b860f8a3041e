"""``llmbench serve``: reports and comparisons of a results folder, to be looked at in a browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
examples:
  llmbench serve                            the run sets below results/, at http://127.0.0.1:8000/
  llmbench serve results/nightly --port 0   any free port, which is printed
  ssh -L 8000:localhost:8000 gpu-machine    then `llmbench serve` there: look at it from here

The first page lists all run sets: filter them, open their reports, or pick a baseline and
candidates and compare them. Pages are made of what is stored when they are asked for; nothing is
written. Only this machine can read them, unless --host says otherwise. Ctrl-C ends it.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="look at the reports of a results folder in a browser",
        description="Serve an index of run sets, their reports, and comparisons; read-only.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("results"), metavar="DIR", help="(results)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (8000)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from llmbench.errors import InputError
    from llmbench.report.serve.server import started
    from llmbench.report.serve.site import Site

    folder: Path = arguments.folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds results")
    site = Site(folder.resolve())
    with started(site, arguments.host, arguments.port) as server:
        if not server.is_private:
            _warn(arguments.host, folder)
        found = len(site.folders())
        print(f"{found} run set{'s' * (found != 1)} of {folder} at {server.url}", flush=True)
        server.serve_forever()
    return 0


def _warn(host: str, folder: Path) -> None:
    print(
        f"llmbench: --host {host}: whoever can reach this machine can read all results in {folder}",
        file=sys.stderr,
        flush=True,
    )

"""``llmbench serve``: browse reports and comparisons of a results folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llmbench.errors import InputError

HELP = "serve reports and comparisons of a results folder"
DESCRIPTION = "Serve a read-only index of run sets, with reports and comparisons."
EPILOG = """\
examples:
  llmbench serve                            the run sets below results/, at http://127.0.0.1:8000/
  llmbench serve results/nightly --port 0   any free port, which is printed
  ssh -L 8000:localhost:8000 gpu-machine    then run `llmbench serve` there and browse locally

The first page lists all run sets: filter them, open their reports, or select a baseline and
candidates to compare. Pages are rendered from stored results on request; nothing is written. Only
this machine can connect unless --host is set. Stop with Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder to search for run sets (results)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port, or 0 for a free one (8000)")


def run(arguments: argparse.Namespace) -> int:
    """Serve reports and comparisons until interrupted."""
    from llmbench.report.serve.server import started
    from llmbench.report.serve.site import Site

    folder: Path = arguments.folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; specify a results folder")
    site = Site(folder.resolve())
    with started(site, arguments.host, arguments.port) as server:
        if not server.is_private:
            _warn(arguments.host, folder)
        count = len(site.folders())
        print(f"{count} run set{'s' * (count != 1)} of {folder} at {server.url}", flush=True)
        server.serve_forever()
    return 0


def _warn(host: str, folder: Path) -> None:
    print(
        f"llmbench: --host {host}: anyone on the network can read all results in {folder}",
        file=sys.stderr,
        flush=True,
    )

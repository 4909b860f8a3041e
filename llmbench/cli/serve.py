"""``llmbench serve``: browse reports and comparisons of a results folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from llmbench.cli import options
from llmbench.errors import InputError

HELP = "serve reports and comparisons of a results folder"
DESCRIPTION = "Serve a read-only index of run sets, with reports and comparisons."
EPILOG = """\
examples:
  llmbench serve                            the run sets in results/, at http://127.0.0.1:8000/
  llmbench serve results/nightly --port 0   any free port, which is printed
  llmbench serve s3://bucket/nightly        those below a prefix, read again as they change
  ssh -L 8000:localhost:8000 gpu-machine    then run `llmbench serve` there and browse locally

The first page lists all run sets: filter them, open their reports, or select a baseline and
candidates to compare. Pages are rendered from stored results on request; nothing is written. Only
this machine can connect unless --host is set. Stop with Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    folder, text = Path("results"), "folder to search for run sets (default: results)"
    parser.add_argument(
        "folder", nargs="?", type=options.results, default=folder, metavar="DIR", help=text
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any (default: 8000)")


def run(arguments: argparse.Namespace) -> int:
    """Serve reports and comparisons until interrupted."""
    from llmbench.report.serve.server import started
    from llmbench.report.serve.site import Site
    from llmbench.runs.remote import address

    folder: Path = arguments.folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; specify a results folder")
    site = Site(folder.resolve())
    with started(site, arguments.host, arguments.port) as server:
        if not server.is_private:
            warning = f"anyone on the network can read all results in {address(folder)}"
            print(f"llmbench: --host {arguments.host}: {warning}", file=sys.stderr, flush=True)
        count = len(site.folders())
        print(
            f"{count} run set{'s' * (count != 1)} of {address(folder)} at {server.url}", flush=True
        )
        server.serve_forever()
    return 0

"""``llmbench peak``: find the highest load that meets a scenario's objectives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import interrupts, options, output

if TYPE_CHECKING:
    from llmbench.campaign.capacity import Capacity, Probe
    from llmbench.scenario.file import Source

HELP = "find the highest load that meets the objectives"
DESCRIPTION = "Find the highest rate or concurrency that meets every objective."
EPILOG = """\
examples:
  llmbench peak scenario.yaml                       from 1/s up to 4,096/s
  llmbench peak scenario.yaml --from 8 --to 64 --tolerance 0.05
  llmbench peak scenario.yaml --out results/peak --resume      resume an interrupted search

The load's rate (or concurrency) is doubled until a run misses an objective of `slo`, and bisected.
Then pairs of runs around the estimate are fitted: 16 to 48 runs, each with a new draw of the load.
The result is the lower end of the 95 % interval. Exit codes: 0 found, 1 no load can be claimed or a
run failed, 2 bad input, 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "scenario", type=Path, help=f"{options.SCENARIO}; with `slo` and one backend"
    )
    options.add_campaign(parser, "the result", "results/NAME-peak-DATE")
    parser.add_argument(
        "--from",
        dest="start",
        type=float,
        default=1.0,
        help="lowest rate in requests/s, or concurrency, to try (1)",
    )
    parser.add_argument(
        "--to",
        dest="most",
        type=float,
        default=4096.0,
        help="highest rate in requests/s, or concurrency, to try (4096)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        help="distance from the estimate to the result, relative, that ends the search (0.1)",
    )
    parser.add_argument("--resume", action="store_true", help="resume: reuse the runs in --out")


def run(arguments: argparse.Namespace) -> int:
    """Find the highest load that meets the objectives, write the report and print the result."""
    from llmbench.campaign import plan
    from llmbench.campaign.capacity import LoadTester, only_case, search, searched_key
    from llmbench.cli.progress import choose_observer
    from llmbench.errors import MeasurementError
    from llmbench.runs import store
    from llmbench.scenario import file as scenario_file

    _check(arguments)
    source = scenario_file.load(arguments.scenario, arguments.set)
    case = only_case(source)
    key = searched_key(case)
    folder = _begun(arguments, source)
    with (
        output.locked(folder),
        interrupts.explained(lambda: interrupts.how_to_repeat(folder, "--resume")),
    ):
        run_set = store.resume(folder)
        if arguments.resume:
            plan.probe(source.cases, source.places)
        with choose_observer(quiet=arguments.quiet) as observer:
            tester = LoadTester(run_set, case, key, observer, _printer(arguments, key))
            try:
                capacity = search(
                    tester,
                    arguments.start,
                    arguments.most,
                    arguments.tolerance,
                    integer=key == "load.concurrency",
                )
            except MeasurementError as error:
                print(f"llmbench: {error}", file=sys.stderr)
                return 1
        page = output.write_report(store.read(folder))
        _print(arguments, key, capacity, page)
    return int(capacity.outcome != "found")


def _check(arguments: argparse.Namespace) -> None:
    from llmbench.errors import InputError

    if not 0 < arguments.start <= arguments.most:
        raise InputError(f"--from {arguments.start:g}: must be greater than 0 and at most --to")
    if arguments.tolerance <= 0:
        raise InputError(f"--tolerance {arguments.tolerance:g}: must be greater than 0")
    if arguments.resume and not arguments.out:
        raise InputError("--resume needs --out, the folder of the interrupted search")


def _begun(arguments: argparse.Namespace, source: Source) -> Path:
    """Return the folder of the search, which is created unless resumed."""
    from llmbench.campaign import plan
    from llmbench.runs import store

    if arguments.resume:
        return store.read_plan(arguments.out).folder
    folder = arguments.out or options.default_folder(f"{source.scenario.name}-peak")
    return plan.begin(source, folder, planned=()).folder


def _printer(arguments: argparse.Namespace, key: str) -> Callable[[Probe], None]:
    def show(probe: Probe) -> None:
        if not (arguments.quiet or arguments.json):
            print(f"{key}={probe.at:g}  {_describe(probe)}", flush=True)

    return show


def _describe(probe: Probe) -> str:
    if probe.limited:
        return f"llmbench itself did not keep up: {'; '.join(probe.limited)}"
    return "; ".join(map(str, probe.exceedances))


def _print(arguments: argparse.Namespace, key: str, capacity: Capacity, page: Path) -> None:
    from llmbench.runs.remote import address

    if arguments.json:
        print(json.dumps({"key": key, **asdict(capacity), "report": address(page)}, indent=1))
        return
    first = [probe.exceedances[0] for probe in capacity.probes]
    number, things = sum(exceedance.requests for exceedance in first), first[0].things
    print(f"\n{_conclusion(key, capacity)}")
    print(f"runs  {len(capacity.probes)} with {number:,} {things}")
    print(f"report  {address(page)}")


def _conclusion(key: str, capacity: Capacity) -> str:
    """Return the result as a sentence; a statement from a single run says so."""
    last = capacity.probes[-1]
    in_one_run = f"{key}={last.at:g}, in one run: {_describe(last)}"
    if capacity.outcome == "below":
        return f"no load found; {in_one_run}; try a lower --from"
    if capacity.outcome == "above":
        return f"the highest load allowed meets the objectives; {in_one_run}; raise --to"
    if capacity.outcome == "harness":
        return f"no load found; {in_one_run}; use more `clients` or cores"
    if capacity.estimate is None:
        return "no load found: the share of slow requests does not rise with the load"
    limit = f"estimate {capacity.estimate:.4g}, first limit: {capacity.objective}"
    if capacity.low is None:
        return f"{key} is not bounded from below at 95 % confidence ({limit}); raise `requests`"
    high = "no upper end" if capacity.high is None else f"{capacity.high:.4g}"
    interval = f"95 % interval {capacity.low:.4g} to {high}"
    return f"peak  {key}={capacity.low:.4g} meets the objectives ({limit}; {interval})"

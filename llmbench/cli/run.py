"""``llmbench run``: measure a scenario."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli.folders import usual_folder

if TYPE_CHECKING:
    from llmbench.runs.store import RunSet
    from llmbench.scenario.file import Source

EXAMPLES = """\
examples:
  llmbench run scenarios/default.yaml
  llmbench run scenarios/default.yaml --set load.rate=8 --set repeats=5
  llmbench run scenarios/default.yaml --out results/tonight --json > tonight.json
  llmbench run --resume results/tonight            go on after Ctrl-C, a crash or a failed run
  llmbench run scenarios/default.yaml --require energy     fail where joules are not known

exit codes:
  0 every run was measured   1 some run failed, or lacks what is required   2 bad input
  130 interrupted, finished runs kept
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="measure a scenario",
        description="Measure every case of a scenario, print a table and write report.html.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", type=Path, help="a scenario file (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, repeatable"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new results folder (results/NAME-DATE)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="do what a folder still lacks")
    parser.add_argument(
        "--require",
        choices=["energy"],
        action="append",
        default=[],
        help="fail, with all results written, where a run could not be measured in this",
    )
    parser.add_argument("--dry-run", action="store_true", help="only check and list the runs")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, no table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, report, and say by the exit code how it went."""
    from llmbench.campaign import execute
    from llmbench.cli.progress import shown
    from llmbench.runs import store

    if arguments.dry_run:
        return _show_plan(arguments)
    run_set = _begin(arguments)
    try:
        with shown(quiet=arguments.quiet) as observer:
            run_set = execute.run_all(run_set, observer)
    except KeyboardInterrupt:
        _say_interrupted(store.read(run_set.folder))
        raise
    _show(run_set, arguments)
    return _exit_code(run_set, arguments.require)


def _begin(arguments: argparse.Namespace) -> RunSet:
    from llmbench.campaign import plan
    from llmbench.errors import InputError
    from llmbench.runs import store

    if arguments.resume and (arguments.scenario or arguments.out or arguments.set):
        raise InputError("--resume takes the scenario from its folder; leave the rest out")
    if arguments.resume:
        return store.read(arguments.resume)
    source = _source(arguments)
    folder = arguments.out or usual_folder(source.scenario.name)
    return plan.begin(source, folder)


def _source(arguments: argparse.Namespace) -> Source:
    from llmbench.errors import InputError
    from llmbench.scenario import file as scenario_file

    if arguments.scenario is None:
        raise InputError("give a scenario file, e.g. llmbench run scenarios/default.yaml")
    return scenario_file.load(arguments.scenario, arguments.set)


def _show_plan(arguments: argparse.Namespace) -> int:
    from llmbench.campaign import plan

    for planned in plan.planned_runs(_source(arguments)):
        print(planned.name)
    return 0


def _show(run_set: RunSet, arguments: argparse.Namespace) -> None:
    from llmbench import report
    from llmbench.report.frames import summary

    page = run_set.folder / "report.html"
    report.write(run_set, page)
    if arguments.json:
        told = {"folder": str(run_set.folder), "report": str(page), "failed": _failures(run_set)}
        print(json.dumps({**told, **summary(run_set)}, indent=1))
    elif not arguments.quiet:
        report.show(run_set)
        print(f"\nresults  {run_set.folder}\nreport   {page}")


def _say_interrupted(run_set: RunSet) -> None:
    done = len(run_set.plan) - len(run_set.missing)
    print(
        f"\ninterrupted: {done} of {len(run_set.plan)} runs are kept; go on with\n"
        f"  llmbench run --resume {run_set.folder}",
        file=sys.stderr,
    )


def _exit_code(run_set: RunSet, required: list[str]) -> int:
    failures = _failures(run_set)
    told = [f"{failure['run']} failed: {failure['message']}" for failure in failures]
    told += _breaches(run_set)
    told += _without_energy(run_set) if "energy" in required else []
    for each in told:
        print(f"llmbench: {each}", file=sys.stderr)
    return 2 if any(f["kind"] == "bad-input" for f in failures) else int(bool(told))


def _without_energy(run_set: RunSet) -> list[str]:
    """Name the runs whose joules are not known, with the reasons."""
    from llmbench.analysis.metrics import summarize

    measured = [run for run in run_set.runs if not run.failure]
    found = {run.name: summarize(run)["energy_joules_per_output_token"] for run in measured}
    return [
        f"{name}: --require energy: {value.reason}"
        for name, value in found.items()
        if value.value is None
    ]


def _breaches(run_set: RunSet) -> list[str]:
    """Name the missed bounds of quality that are to fail the command."""
    from llmbench.runs.caveats import QUALITY_BREACHED

    return [
        f"{run.name}: {caveat.message}"
        for run in run_set.runs
        for caveat in run.caveats
        if caveat.kind == QUALITY_BREACHED and run.case.spec["quality"].get("on_breach") == "fail"
    ]


def _failures(run_set: RunSet) -> list[dict[str, str]]:
    return [
        {"run": run.name, "kind": run.failure.kind, "message": run.failure.message}
        for run in run_set.runs
        if run.failure
    ]

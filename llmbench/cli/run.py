"""``llmbench run``: measure a scenario."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import draft, interrupts, options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.campaign.plan import CheckCases
    from llmbench.campaign.process import Relay
    from llmbench.runs.run import Run
    from llmbench.runs.run_set import RunSet
    from llmbench.scenario.file import Source

HELP = "measure a scenario"
DESCRIPTION = "Measure every case of a scenario, print a table and write report.html."
EPILOG = """\
examples:
  llmbench run default                             a scenario that ships with llmbench
  llmbench run chat.yaml --set load.rate=8 --set repeats=5
  llmbench run --model builtin:tiny --backends eager,compiled --rate 8 --requests 200
  llmbench run --url http://localhost:8000 --concurrency 16 --save chat.yaml
  llmbench run default --out results/tonight --json > tonight.json
  llmbench run --resume results/tonight            resume after Ctrl-C, a crash or a failed run
  llmbench run default --out s3://bucket/tonight   results in object storage
  llmbench run default --require energy            fail if energy is unavailable
  llmbench run chat.yaml --ray auto                on the nodes of a Ray cluster, or --ray HOST:PORT

exit codes:
  0 every run was measured
  1 a run failed or lacks a required quantity, or too many of its requests failed: all of them, or a
    larger share than --max-error-rate
  2 bad input, or another process is measuring into the folder
  130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (finished runs are kept)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scenario", nargs="?", type=Path, help=options.SCENARIO)
    options.add_campaign(parser, "the summary", "results/NAME-DATE", "hide progress and table")
    options.add_results(parser, "--resume", "measure the missing runs of this results folder")
    text = "fail if this quantity is unavailable in any run; results are still written"
    parser.add_argument("--require", choices=["energy"], action="append", default=[], help=text)
    parser.add_argument(
        "--max-error-rate",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="exit with 1 if more than this share of a run's measured requests failed (0.5)",
    )
    options.add_ray(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the runs without measuring; with --ray, of the cluster's nodes",
    )
    draft.add_arguments(parser)
    options.add_path(parser, "--save", "FILE", "write the scenario of these flags to a new file")
    parser.add_argument("--force", action="store_true", help="let --save replace a file")


def run(arguments: argparse.Namespace) -> int:
    """Measure every run, write the report, and return the exit code."""
    from llmbench.campaign.process import Relay

    if not 0 <= arguments.max_error_rate <= 1:
        raise InputError(f"--max-error-rate {arguments.max_error_rate:g}: must be from 0 to 1")
    if arguments.ray:
        return _run_on_fleet(arguments)
    if arguments.dry_run:
        return _show_plan(_source(arguments))
    with Relay() as relay:
        relay.start()  # the worker imports its modules while this process does
        from llmbench.campaign import plan
        from llmbench.runs.arrow import leave_out_pandas

        leave_out_pandas()
        folder = _begin(arguments, _source_here, plan.check_here)
        return _measure(
            folder, arguments, plan.probe, lambda begun: _run_here(begun, arguments, relay)
        )


def _source_here(arguments: argparse.Namespace) -> Source:
    """Return the scenario of a command without a fleet, with a remark if it asks for nodes."""
    source = _source(arguments)
    if any(case.scenario.resources for case in source.cases) and not arguments.quiet:
        print("llmbench: `resources` are for --ray; this machine is used as it is", file=sys.stderr)
    return source


def _run_on_fleet(arguments: argparse.Namespace) -> int:
    """Measure every run on the nodes of a Ray cluster, and return the exit code."""
    from llmbench.fleet import placement
    from llmbench.fleet.connect import connected

    with connected(arguments.ray, verbose=arguments.verbose) as cluster:

        def placed(arguments: argparse.Namespace) -> Source:
            return placement.placed(_source(arguments), cluster.nodes())

        if arguments.dry_run:
            return _show_plan(placed(arguments))
        from llmbench.cli.fleet_progress import choose_fleet_observer
        from llmbench.fleet.checks import check_cases
        from llmbench.fleet.execute import ClusterLostError, run_all

        def measure(run_set: RunSet) -> RunSet:
            with choose_fleet_observer(quiet=arguments.quiet) as observer:
                return run_all(run_set, cluster, observer)

        check_on_nodes = partial(check_cases, cluster)
        folder = _begin(arguments, placed, check_on_nodes)
        try:
            return _measure(folder, arguments, check_on_nodes, measure)
        except ClusterLostError as error:
            how = _how_to_resume(folder, arguments.ray)
            print(f"llmbench: {error}: {how}", file=sys.stderr)
            return 1


def _run_here(begun: RunSet, arguments: argparse.Namespace, relay: Relay) -> RunSet:
    from llmbench.campaign import execute
    from llmbench.cli.progress import choose_observer

    with choose_observer(quiet=arguments.quiet) as observer:
        return execute.run_all(begun, observer, relay)


def _measure(
    folder: Path,
    arguments: argparse.Namespace,
    check_cases: CheckCases,
    measure: Callable[[RunSet], RunSet],
) -> int:
    """Measure the missing runs of a folder, write the report, and return the exit code."""
    with output.locked(folder), interrupts.explained(lambda: _how_to_resume(folder, arguments.ray)):
        run_set = measure(_begun(folder, arguments, check_cases))
        page = output.write_report(run_set)
        output.print_result(run_set, page, arguments, failed=_failures(run_set))
    return _exit_code(run_set, arguments.require, arguments.max_error_rate)


def _begun(folder: Path, arguments: argparse.Namespace, check_cases: CheckCases) -> RunSet:
    """Return the run set of a locked folder; resumed, after ``check_cases`` of what is missing."""
    from llmbench.runs import store

    run_set = store.resume(folder)
    if not arguments.ray and any("node" in planned.case.point for planned in run_set.missing):
        raise InputError(f"{folder}: its runs are for kinds of nodes; add --ray ADDRESS")
    if arguments.resume:
        missing = {planned.case.name: planned.case for planned in run_set.missing}
        check_cases([*missing.values()], run_set.origins)
    return run_set


def _begin(
    arguments: argparse.Namespace,
    source_of: Callable[[argparse.Namespace], Source],
    check_cases: CheckCases,
) -> Path:
    """Return the folder of the run set to measure, which is created unless resumed."""
    from llmbench.campaign import plan
    from llmbench.runs import store

    flags = _scenario_flags(arguments)
    if arguments.resume and (arguments.scenario or arguments.out or arguments.set or flags):
        raise InputError("--resume reads the scenario from its folder; remove the other arguments")
    if arguments.resume:
        return store.read_plan(arguments.resume).folder
    source = source_of(arguments)
    folder = arguments.out or options.default_folder(source.scenario.name)
    return plan.begin(source, folder, check_cases=check_cases).folder


def _source(arguments: argparse.Namespace) -> Source:
    from llmbench.scenario import file as scenario_file

    flags = _scenario_flags(arguments)
    if arguments.scenario and flags:
        raise InputError(
            f"{flags[0]}: the scenario is in {arguments.scenario}; change its keys with --set, such"
            " as --set load.rate=8, or name no file"
        )
    if arguments.scenario:
        return scenario_file.load(arguments.scenario, arguments.set)
    if arguments.model or arguments.url:
        return _drafted(arguments)
    raise InputError(
        "specify a scenario, e.g. llmbench run default or llmbench run chat.yaml, --model or --url"
    )


def _scenario_flags(arguments: argparse.Namespace) -> list[str]:
    """Return the given flags that go only with a scenario from flags."""
    save = [f"--save {arguments.save}"] if arguments.save else []
    return draft.flags(arguments) + save


def _drafted(arguments: argparse.Namespace) -> Source:
    """Return the scenario that flags stand for, which is printed and, on request, written."""
    path: Path | None = arguments.save
    source = draft.source(arguments, draft.name_of(arguments, path))
    if path:
        draft.write(source.text, path, force=arguments.force)
    if not arguments.quiet:
        draft.show(source, f"scenario, written to {path}" if path else "scenario (to keep: --save)")
    return source


def _show_plan(source: Source) -> int:
    from llmbench.campaign import plan

    for planned in plan.planned_runs(source):
        print(planned.name)
    return 0


def _how_to_resume(folder: Path, ray: str | None) -> str:
    from llmbench.runs import remote, store

    run_set = store.read(folder)
    done = len(run_set.plan) - len(run_set.missing)
    fleet = f" --ray {shlex.quote(ray)}" if ray else ""
    command = f"llmbench run --resume {shlex.quote(remote.address(folder))}{fleet}"
    return f"{done} of {len(run_set.plan)} runs are kept; resume with\n  {command}"


def _exit_code(run_set: RunSet, required: list[str], max_error_rate: float) -> int:
    from llmbench.runs.remote import with_addresses

    failures = _failures(run_set)
    messages = [f"{failure['run']} failed: {failure['message']}" for failure in failures]
    messages += _with_errors(run_set, max_error_rate)
    messages += _breaches(run_set)
    messages += _without_energy(run_set) if "energy" in required else []
    for message in messages:
        print(f"llmbench: {with_addresses(message)}", file=sys.stderr)
    return 2 if any(f["kind"] == "bad-input" for f in failures) else int(bool(messages))


def _with_errors(run_set: RunSet, most: float) -> list[str]:
    """Return a message for each run without a success, or with a larger share of failures."""
    measured = (run for run in run_set.runs if not run.failure)
    return [f"{run.name}: {errors}" for run in measured if (errors := _too_many_errors(run, most))]


def _too_many_errors(run: Run, most: float) -> str:
    """Return how many of a run's requests failed if they are too many, else nothing."""
    from llmbench.analysis.metrics import RecordArrays, commonest_error

    arrays = RecordArrays(run.records)
    failed, total = arrays.failed, arrays.judged
    if not arrays.measured.num_rows:
        return "no request was measured; raise `requests` or `duration`, or lower `warmup`"
    if failed <= most * total and (failed < total or not total):
        return ""
    limit = f" (--max-error-rate {most:g})" if failed < total else ""
    errors = f"{failed} of {total} measured requests failed{limit}"
    return f"{errors}; most common: {commonest_error(run)}"


def _without_energy(run_set: RunSet) -> list[str]:
    """Return a message for each run without an energy measurement, with the reason."""
    from llmbench.analysis.metrics import summarize

    measured = [run for run in run_set.runs if not run.failure]
    energies = {run.name: summarize(run)["energy_joules_per_output_token"] for run in measured}
    return [
        f"{name}: --require energy: {value.reason}"
        for name, value in energies.items()
        if value.value is None
    ]


def _breaches(run_set: RunSet) -> list[str]:
    """Return a message for each missed quality bound that makes the command fail."""
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

"""``llmbench check``: the regression gate of a nightly build."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import interrupts, options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.analysis.compare.comparison import Comparison
    from llmbench.campaign.gate import Side
    from llmbench.campaign.plan import CheckCases
    from llmbench.campaign.process import Launcher
    from llmbench.scenario.file import Source

HELP = "fail on a regression against a baseline, confirmed by repeated measurement"
DESCRIPTION = "Screen every metric against a baseline, then confirm suspected regressions."
EPILOG = """\
baselines:
  results/monday     a stored run set, or a file that `llmbench baseline` wrote, or an s3:// URL
  ../main            a checkout of llmbench, measured now, interleaved with the candidate
  git:v1.2           a commit of this repository, measured the same way
  ../venv/bin/python another installation (of torch, for example), measured the same way

examples:
  llmbench check default --baseline git:main
  llmbench check default --baseline results/baselines/cpu --strict
  llmbench check default --baseline ../main --junit check.xml --json > check.json
  llmbench check chat.yaml --baseline results/fleet --ray auto    on nodes of a Ray cluster

exit codes:
  0 no regression   1 a confirmed regression   2 bad input
  3 undecided: a suspected regression that new processes neither confirm nor rule out, nothing was
    measured, or a case or metric listed in `gate` is missing; with --strict also an inconclusive
    metric
  130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP: repeat the command with the same --out
    to resume it

On GitHub, check also writes a step summary and annotations.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    text = f"{options.SCENARIO}; `gate` in it configures check"
    parser.add_argument("scenario", type=Path, help=text)
    parser.add_argument("--baseline", required=True, metavar="REF", help="baseline; see below")
    options.add_campaign(parser, "the verdicts", "results/NAME-check-DATE", in_store=False)
    options.add_path(parser, "--noise", "FILE", "minimum tolerances, written by `llmbench aa`")
    options.add_ray(parser)
    parser.add_argument("--strict", action="store_true", help="also fail on inconclusive metrics")
    options.add_path(parser, "--junit", "FILE", "write the verdicts as JUnit XML")


def run(arguments: argparse.Namespace) -> int:
    """Measure the candidate and, unless stored, the baseline; write and print the verdicts."""
    from llmbench.campaign import gate, plan
    from llmbench.campaign.process import THIS
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(arguments.scenario, arguments.set)
    for case in source.cases:
        gate.tolerances_of(case)
    if arguments.ray:
        return _check_on_fleet(arguments, source)
    return _check(arguments, source, THIS, plan.check_here)


def _check_on_fleet(arguments: argparse.Namespace, source: Source) -> int:
    """Check against a stored baseline, with a candidate that nodes of a Ray cluster measure."""
    from llmbench.fleet import placement
    from llmbench.fleet.connect import connected
    from llmbench.runs import remote

    if arguments.noise:
        raise InputError("--noise: was measured on this machine; remove it, or --ray")
    if not _is_stored(remote.opened(arguments.baseline)):
        raise InputError(
            f"--baseline {arguments.baseline}: --ray needs stored results; measure them with "
            f"llmbench run {arguments.scenario} --ray {arguments.ray} --out FOLDER"
        )
    with connected(arguments.ray) as cluster:
        from llmbench.fleet.checks import check_cases
        from llmbench.fleet.execute import FleetLauncher

        source = placement.placed(source, cluster.nodes())
        check_on_nodes = partial(check_cases, cluster)
        return _check(arguments, source, FleetLauncher(cluster), check_on_nodes)


def _check(
    arguments: argparse.Namespace, source: Source, launcher: Launcher, check_cases: CheckCases
) -> int:
    """Measure what is to be measured, write and print the verdicts, and return the exit code."""
    from llmbench.campaign import gate
    from llmbench.cli.progress import choose_observer

    floors = _floors(arguments.noise) if arguments.noise else gate.NO_FLOORS
    out = arguments.out or options.default_folder(f"{source.scenario.name}-check")
    with output.locked(out), interrupts.explained(lambda: interrupts.how_to_repeat(out)):
        baseline = _baseline(arguments.baseline, source, out)
        candidate = gate.live_side(source, out / "candidate", launcher, check_cases)
        with choose_observer(quiet=arguments.quiet) as observer:
            comparison = gate.check(source, baseline, candidate, observer, floors)
    _write(arguments, comparison, out)
    return _exit_code(comparison, strict=arguments.strict)


def _floors(path: Path) -> dict[str, dict[str, float]]:
    """Return a noise file's minimum relative tolerances by case and metric.

    Raise InputError if they were measured on other hardware.
    """
    from llmbench import environment
    from llmbench.analysis.compare.differences import hardware_of
    from llmbench.campaign.aa_test import read_floors

    measured_on, floors = read_floors(path)
    hardware = hardware_of(environment.capture(Path.cwd()))
    before = {what: measured_on.get(what) for what in hardware}
    if differing := [what for what in hardware if before[what] != hardware[what]]:
        changes = "; ".join(f"{what}: {before[what]} → {hardware[what]}" for what in differing)
        message = f"--noise {path}: measured on different hardware ({changes})"
        raise InputError(f"{message}; run `llmbench aa` here")
    return floors


# -- baselines -------------------------------------------------------------------------------------


def _is_stored(path: Path) -> bool:
    """Return whether a path is that of a results folder or a baseline file."""
    return (path / "runset.json").is_file() or path.suffix == ".json"


def _baseline(reference: str, source: Source, out: Path) -> Side:
    from llmbench.analysis import baseline_file
    from llmbench.campaign.checkout import check_out, installation_of, is_checkout
    from llmbench.campaign.gate import live_side, stored_side
    from llmbench.campaign.process import Installation
    from llmbench.runs import remote

    path = remote.opened(reference)
    if reference.startswith("git:"):
        path = check_out(reference.removeprefix("git:"), out / "checkout")
    if _is_stored(path):
        return stored_side(baseline_file.read_set(path))
    if is_checkout(path):
        return live_side(source, out / "baseline", installation_of(path, out / "entry-points"))
    if path.is_file() and os.access(path, os.X_OK):
        return live_side(source, out / "baseline", Installation(python=str(path.absolute())))
    raise InputError(
        f"--baseline {reference}: expected a results folder, a checkout of llmbench, "
        "git:REF, a Python interpreter or a file from `llmbench baseline`"
    )


# -- output ----------------------------------------------------------------------------------------


def _write(arguments: argparse.Namespace, comparison: Comparison, out: Path) -> None:
    from llmbench import report
    from llmbench.report.comparison.answer import as_json
    from llmbench.runs.files import atomic_write

    page, verdicts = out / "comparison.html", json.dumps(as_json(comparison), indent=1)
    report.write([comparison], page)
    atomic_write(out / "verdicts.json", verdicts)
    if arguments.junit:
        arguments.junit.write_text(report.render([comparison], "junit"), "utf-8")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report.render([comparison], "markdown"))
    if arguments.json:
        print(verdicts)
        return
    report.show([comparison])
    print(f"\nverdicts  {out / 'verdicts.json'}\nreport    {page}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _annotate(comparison)


def _annotate(comparison: Comparison) -> None:
    """Print GitHub workflow commands, which annotate the workflow run."""
    levels = {"regression": "error", "undecided": "warning", "inconclusive": "notice"}
    for case in comparison.cases:
        for key, verdict in case.verdicts.items():
            if level := levels.get(verdict.outcome):
                message = f"{case.case}, {key}: {verdict.change or verdict.reason}"
                print(f"::{level} title=llmbench {verdict.outcome}::{message.replace('%', '%25')}")


def _exit_code(comparison: Comparison, *, strict: bool) -> int:
    verdicts = [verdict for case in comparison.cases for verdict in case.verdicts.values()]
    if any(verdict.outcome == "regression" for verdict in verdicts):
        return 1
    undecided = _undecided(comparison, strict=strict)
    for message in undecided:
        print(f"llmbench: undecided: {message}", file=sys.stderr)
    return 3 if undecided else 0


def _undecided(comparison: Comparison, *, strict: bool) -> list[str]:
    """Return what could not be decided, one message for each case or metric."""
    failing = ["undecided", *["inconclusive"] * strict]
    verdicts = [
        (f"{case.case}, {key}", verdict)
        for case in comparison.cases
        if case.case not in comparison.missing
        for key, verdict in case.verdicts.items()
    ]
    messages = [f"{case}: a side has no measured run" for case in comparison.missing]
    messages += [f"{name}: {v.reason or v.outcome}" for name, v in verdicts if v.outcome in failing]
    if all(verdict.outcome == "not comparable" for _, verdict in verdicts):
        messages.append("no metric could be compared")
    return messages

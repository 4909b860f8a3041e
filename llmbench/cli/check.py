"""``llmbench check``: the gate of a nightly build."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options

if TYPE_CHECKING:
    from llmbench.analysis.compare.comparison import Comparison
    from llmbench.campaign.gate import Side
    from llmbench.scenario.file import Source

HELP = "fail on a regression against a baseline, confirmed by new processes"
DESCRIPTION = "Compare a scenario with a baseline: screen every metric, then confirm suspects."
EPILOG = """\
baselines:
  results/monday     a stored run set, or a file that `llmbench baseline` wrote
  ../main            a checkout of llmbench, measured now, interleaved with this one
  git:v1.2           a commit of the repository here, the same
  ../venv/bin/python another installation (of torch, of a model server's client), the same

examples:
  llmbench check scenarios/default.yaml --baseline git:main
  llmbench check scenarios/default.yaml --baseline results/baselines/cpu --strict
  llmbench check scenarios/default.yaml --baseline ../main --junit check.xml --json > check.json

Exit codes: 0 no regression, 1 a confirmed regression, 2 bad input, 3 could not decide: nothing was
measured, or a case or a metric that `gate` lists is missing; with --strict, also where a metric is
inconclusive or the machine was not steady. An interrupted check goes on with the same --out.
On GitHub a step summary and annotations are written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scenario", type=Path, help="a scenario file; see `gate` in it")
    parser.add_argument("--baseline", required=True, metavar="REF", help="see below")
    options.add_campaign(parser, "the verdicts", "results/NAME-check-DATE")
    parser.add_argument(
        "--noise", type=Path, metavar="FILE", help="least tolerances, as `llmbench aa` found them"
    )
    parser.add_argument("--strict", action="store_true", help="also fail where nothing is decided")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write verdicts as JUnit XML")


def run(arguments: argparse.Namespace) -> int:
    """Measure what is to be measured, say what came of it, and choose the exit code."""
    from llmbench.campaign import gate
    from llmbench.campaign.process import THIS
    from llmbench.cli.progress import shown
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(arguments.scenario, arguments.set)
    for case in source.cases:
        gate.tolerances_of(case)
    floors = _floors(arguments.noise) if arguments.noise else gate.NO_FLOORS
    out = arguments.out or options.default_folder(f"{source.scenario.name}-check")
    baseline = _baseline(arguments.baseline, source, out)
    candidate = gate.live(source, out / "candidate", THIS)
    with shown(quiet=arguments.quiet) as observer:
        found = gate.check(source, baseline, candidate, observer, floors)
    _tell(arguments, found, out)
    return _code(found, source, strict=arguments.strict)


def _floors(path: Path) -> dict[str, dict[str, float]]:
    """Read floors; raises InputError where they are of another machine."""
    from llmbench import environment
    from llmbench.analysis.compare.differences import hardware_of
    from llmbench.campaign.aa_test import read_floors
    from llmbench.errors import InputError

    theirs, floors = read_floors(path)
    ours = hardware_of(environment.capture(Path.cwd()))
    if other := [
        f"{what}: {theirs.get(what)} → {ours[what]}"
        for what in ours
        if theirs.get(what) != ours[what]
    ]:
        raise InputError(
            f"--noise {path}: measured on another machine ({'; '.join(other)}); "
            "run `llmbench aa` here"
        )
    return floors


# -- baselines -------------------------------------------------------------------------------------


def _baseline(reference: str, source: Source, out: Path) -> Side:
    from llmbench.analysis import baseline_file
    from llmbench.campaign.checkout import check_out, installation_of, is_checkout
    from llmbench.campaign.gate import Stored, live
    from llmbench.campaign.process import Installation
    from llmbench.errors import InputError

    path = Path(reference)
    if reference.startswith("git:"):
        path = check_out(reference.removeprefix("git:"), out / "checkout")
    if (path / "runset.json").is_file() or path.suffix == ".json":
        return Stored(baseline_file.read_set(path))
    if is_checkout(path):
        return live(source, out / "baseline", installation_of(path, out / "entry-points"))
    if path.is_file() and os.access(path, os.X_OK):
        return live(source, out / "baseline", Installation(python=str(path.absolute())))
    raise InputError(
        f"--baseline {reference}: expected a results folder, a checkout of llmbench, "
        "git:REF, a Python interpreter or a file of `llmbench baseline`"
    )


# -- what came of it -------------------------------------------------------------------------------


def _tell(arguments: argparse.Namespace, found: Comparison, out: Path) -> None:
    from llmbench import report
    from llmbench.runs.files import atomic_write

    page = out / "comparison.html"
    report.write([found], page)
    atomic_write(out / "verdicts.json", json.dumps(found.as_json(), indent=1))
    if arguments.junit:
        arguments.junit.write_text(report.render([found], "junit"), "utf-8")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report.render([found], "markdown"))
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1))
        return
    report.show([found])
    print(f"\nverdicts  {out / 'verdicts.json'}\nreport    {page}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _annotate(found)


def _annotate(found: Comparison) -> None:
    """Write workflow commands that GitHub shows beside the build."""
    levels = {"regression": "error", "environment": "warning", "inconclusive": "notice"}
    for case in found.cases:
        for key, verdict in case.verdicts.items():
            if level := levels.get(verdict.outcome):
                told = f"{case.case}, {key}: {verdict.change or verdict.reason}"
                print(f"::{level} title=llmbench {verdict.outcome}::{told.replace('%', '%25')}")


def _code(found: Comparison, source: Source, *, strict: bool) -> int:
    verdicts = [verdict for case in found.cases for verdict in case.verdicts.values()]
    outcomes = {verdict.outcome for verdict in verdicts}
    if "regression" in outcomes:
        return 1
    decided = [v for v in verdicts if v.outcome != "not comparable"]
    listed = source.scenario.gate.metrics
    if not decided or found.missing or (listed and len(decided) < len(verdicts)):
        print("llmbench: the gate could not measure all that it is to hold", file=sys.stderr)
        return 3
    return 3 if strict and outcomes & {"inconclusive", "environment"} else 0

"""``llmbench tune``: find the best of several settings by one metric."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.cli import interrupts, options, output

if TYPE_CHECKING:
    from llmbench.analysis.front import Better
    from llmbench.analysis.halving import Trial
    from llmbench.report.tuning import Settings
    from llmbench.scenario.file import Source

HELP = "find the best of several settings"
DESCRIPTION = "Find the settings with the highest or lowest value of a metric."
EPILOG = """\
examples:
  llmbench tune scenario.yaml --maximize throughput --over engine.slots=4,8,16
  llmbench tune scenario.yaml --maximize goodput --over server.arguments.max-num-seqs=16,64,256 \\
      --over server.arguments.max-num-batched-tokens=2048,8192 --budget 60
  llmbench tune scenario.yaml --minimize ttft_p95 --over server.preset=vllm,sglang --budget '2 h'
  llmbench tune scenario.yaml --minimize ttft_p95 --out results/tune --resume

Every combination of values is a setting, and so is every combination of a `sweep` in the scenario.
Each is first measured 3 times (or `repeats`, if more). After each rung the number of runs of the
remaining settings is doubled, up to 24. A setting is dropped when its interval lies entirely on the
worse side of the best one's. Exit codes: 0 one setting is left, or those left are equal; 1
undecided, the budget is spent, other programs disturbed runs or llmbench itself did not keep up; 2
bad input, 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scenario", type=Path, help=options.SCENARIO)
    metric = parser.add_mutually_exclusive_group(required=True)
    metric.add_argument(
        "--maximize", metavar="METRIC", help="key of a metric, such as goodput or throughput"
    )
    metric.add_argument(
        "--minimize", metavar="METRIC", help="key of a metric, such as ttft_p95 or tpot_p50"
    )
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=VALUE,...",
        help="values of a scenario key, or of server.arguments.NAME; repeatable",
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="METRIC",
        help="second metric of a Pareto front; repeatable (default: E2E p50 and energy per token)",
    )
    parser.add_argument(
        "--budget",
        metavar="N|TIME",
        help="end after N runs, or with the first run that ends after a time such as '30 min'",
    )
    options.add_campaign(parser, "the result", "results/NAME-tune-DATE")
    parser.add_argument("--resume", action="store_true", help="resume: reuse the runs in --out")


def run(arguments: argparse.Namespace) -> int:
    """Search the settings, write the report and print the result."""
    from llmbench.analysis.halving import FIRST
    from llmbench.campaign import plan
    from llmbench.campaign.tuning import Tuner, tune
    from llmbench.cli.progress import choose_observer
    from llmbench.report.tuning import settings_of
    from llmbench.runs import store
    from llmbench.runs.search import Search
    from llmbench.scenario import file as scenario_file

    metric, better = _objective(arguments)
    against = tuple(map(_metric, arguments.against))
    budget = Budget.of(arguments.budget)
    _check(arguments)
    swept = map(scenario_file.Override.swept, arguments.over)
    source = scenario_file.load(arguments.scenario, [*arguments.set, *swept])
    _check_settings(source, metric)
    folder = _begun(arguments, source)
    with (
        output.locked(folder),
        interrupts.explained(lambda: interrupts.how_to_repeat(folder, "--resume")),
    ):
        run_set = store.resume(folder)
        if arguments.resume:
            plan.probe(source.cases, source.places)
        cases = {case.name: case for case in source.cases}
        asked = Search(
            metric=metric,
            better=better,
            settings=tuple(cases),
            against=against,
            seed=source.scenario.seed,
            first=max(FIRST, source.scenario.repeats),
            budget=arguments.budget,
            seconds=run_set.search.seconds if run_set.search else 0.0,
        )
        with choose_observer(quiet=arguments.quiet) as observer:
            tuner = Tuner(run_set, cases, metric, observer, budget.allows)
            ended = tune(tuner, asked, _printer(arguments))
        stored = store.read(folder)
        page = output.write_report(stored)
        settings = settings_of(stored, ended)
        _print(arguments, settings, Cost(tuner.runs, tuner.new, budget.spent), page)
    return int(not settings.is_decided)


@dataclass(frozen=True, slots=True)
class Cost:
    """The runs of a search, how many of them this command measured, and its seconds."""

    runs: int
    measured: int
    seconds: float

    def __str__(self) -> str:
        from llmbench.units import format_duration

        before = self.runs - self.measured
        stored = f" ({before:,} of them stored before)" if before else ""
        return f"{self.runs:,} runs{stored}, {format_duration(self.seconds)}"


class Budget:
    """A number of runs or a time since now, in seconds, within which runs may begin."""

    def __init__(self, runs: float = math.inf, seconds: float = math.inf) -> None:
        self.runs, self.seconds = runs, seconds
        self._began = time.monotonic()

    @classmethod
    def of(cls, text: str | None) -> Budget:
        """Return the budget that was typed: a whole number, or a time with its unit."""
        from llmbench.errors import InputError
        from llmbench.units import parse_seconds

        if text is None:
            return cls()
        expected = f"--budget {text}: expected a number of runs, or a time such as '30 min'"
        try:
            amount = parse_seconds(text)
        except ValueError:
            raise InputError(expected) from None
        if amount <= 0 or (text.strip().isdecimal() and amount < 1):
            raise InputError(expected)
        return cls(runs=int(amount)) if text.strip().isdecimal() else cls(seconds=amount)

    def allows(self, runs: int) -> bool:
        """Return whether another run may follow a number of runs."""
        return runs < self.runs and self.spent < self.seconds

    @property
    def spent(self) -> float:
        """The seconds since the command began."""
        return time.monotonic() - self._began


# -- arguments -------------------------------------------------------------------------------------

ALIASES = {"goodput": "goodput_requests_per_second", "throughput": "output_tokens_per_second"}
NEED_SLO = ("goodput_requests_per_second", "slo_attainment")


def _metric(name: str) -> str:
    from difflib import get_close_matches

    from llmbench.analysis.metrics import METRICS
    from llmbench.errors import InputError

    key = ALIASES.get(name, name)
    if key not in METRICS:
        near = get_close_matches(name, [*METRICS, *ALIASES], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"no metric named {name!r}; {hint}docs/metrics.md has all")
    return key


def _objective(arguments: argparse.Namespace) -> tuple[str, Better]:
    """Return the metric and its better direction, which must be the one that was asked for."""
    from llmbench.analysis.metrics import METRICS
    from llmbench.errors import InputError

    metric = _metric(arguments.maximize or arguments.minimize)
    better = METRICS[metric].better
    if arguments.maximize and better == "lower":
        raise InputError(f"--maximize {arguments.maximize}: lower is better; use --minimize")
    if arguments.minimize and better == "higher":
        raise InputError(f"--minimize {arguments.minimize}: higher is better; use --maximize")
    return metric, "higher" if arguments.maximize else "lower"


def _check(arguments: argparse.Namespace) -> None:
    from llmbench.errors import InputError

    if arguments.resume and not arguments.out:
        raise InputError("--resume needs --out, the folder of the interrupted search")


def _check_settings(source: Source, metric: str) -> None:
    from llmbench.errors import InputError

    if len(source.cases) < 2:  # noqa: PLR2004 (to choose from)
        raise InputError(
            "tune: the scenario has one setting; add values to choose from, such as "
            "--over engine.slots=4,8,16"
        )
    if metric in NEED_SLO and not source.scenario.slo:
        raise InputError(
            "tune: the scenario has no `slo`, which goodput needs; set an objective, for example "
            "--set slo.ttft_p99='500 ms'"
        )


def _begun(arguments: argparse.Namespace, source: Source) -> Path:
    """Return the folder of the search, which is created unless resumed."""
    from llmbench.campaign import plan
    from llmbench.runs import store

    if arguments.resume:
        return store.read_plan(arguments.out).folder
    folder = arguments.out or options.default_folder(f"{source.scenario.name}-tune")
    return plan.begin(source, folder, planned=()).folder


# -- output ----------------------------------------------------------------------------------------


def _printer(arguments: argparse.Namespace) -> Callable[[int, Sequence[Trial]], None]:
    def show(rung: int, trials: Sequence[Trial]) -> None:
        if not (arguments.quiet or arguments.json):
            left = sum(trial.status == "left" for trial in trials)
            runs = sum(len(trial.runs) for trial in trials)
            dropped = [trial.setting for trial in trials if trial.rung == rung]
            names = f"; dropped: {'; '.join(dropped)}" if dropped else ""
            print(f"rung {rung}, {runs} runs: {left} of {len(trials)} settings left{names}")

    return show


def _print(arguments: argparse.Namespace, settings: Settings, cost: Cost, page: Path) -> None:
    if arguments.json:
        print(json.dumps(_as_dict(settings, cost, page), indent=1))
        return
    from rich.text import Text

    from llmbench.report.console import on_stdout
    from llmbench.report.terminal import Fitting
    from llmbench.runs.remote import address

    console = on_stdout(highlight=False)
    console.print(Text(f"\n{settings.conclusion}"))
    table = settings.table
    console.print(Fitting(table), Text(table.note, "dim"))
    for setting, reason in settings.failures.items():
        console.print(Text.assemble(("failed", "bold red"), f"  {setting}  {reason}"))
    for setting, messages in settings.doubts.items():
        console.print(
            Text.assemble(("in doubt", "bold yellow"), f"  {setting}  {' '.join(messages)}")
        )
    for sentence in settings.fronts:
        console.print(Text(sentence))
    console.print(Text(f"cost  {cost}\nreport  {address(page)}"))


def _as_dict(settings: Settings, cost: Cost, page: Path) -> dict[str, Any]:
    from llmbench.runs.remote import address

    spent = {"runs": cost.runs, "measured": cost.measured, "seconds": cost.seconds}
    places = {"folder": address(page.parent), "report": address(page)}
    return {**settings.as_dict(), "cost": spent, **places}

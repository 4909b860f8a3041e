"""``llmbench aa``: the error rates of ``llmbench check`` on this machine (an A/A test)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import interrupts, options, output

if TYPE_CHECKING:
    from llmbench.campaign.aa_test import Findings
    from llmbench.report.table import Cell, Table
    from llmbench.scenario.cases import Case

HELP = "measure the false-alarm rate of check on this machine"
DESCRIPTION = "Check an installation against itself repeatedly, and count false alarms."
EPILOG = """\
examples:
  llmbench aa gate                  30 checks without any change
  llmbench aa gate --delays 5,10    30 more with 5 % and 30 with 10 % slower steps
  llmbench aa gate --out checks     resume an interrupted campaign
  llmbench check gate --baseline git:main --noise results/aa/noise.json

Each repetition (night) is a whole `llmbench check` of this installation against itself, with at
least 8 processes per case. Every regression without a delay is a false alarm. Keep the machine
otherwise idle. To resume an interrupted campaign, repeat the command with the same --out.
Exit codes: 0 done, 2 bad input, 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "scenario", type=Path, help=f"{options.SCENARIO}; `gate` in it configures check"
    )
    parser.add_argument(
        "--nights",
        type=int,
        default=30,
        metavar="N",
        help="number of repetitions without a delay, and with each delay (30)",
    )
    parser.add_argument(
        "--delays",
        default="",
        metavar="PERCENT,...",
        help="also repeat with every step slowed down by each of these percentages",
    )
    options.add_campaign(parser, "the error rates", "results/NAME-aa-DATE", in_store=False)


def run(arguments: argparse.Namespace) -> int:
    """Measure all repetitions of the check, and write its error rates."""
    from llmbench.campaign import aa_test
    from llmbench.cli.progress import choose_observer
    from llmbench.errors import InputError
    from llmbench.runs.files import atomic_write
    from llmbench.scenario import file as scenario_file

    if arguments.nights < 1:
        raise InputError(f"--nights {arguments.nights}: expected at least 1")
    delays = _delays(arguments.delays)
    source = scenario_file.load(arguments.scenario, arguments.set)
    _refuse_endpoints(source.cases, delays)
    out = arguments.out or options.default_folder(f"{source.scenario.name}-aa")
    with output.locked(out), interrupts.explained(lambda: interrupts.how_to_repeat(out)):
        with choose_observer(quiet=arguments.quiet) as observer:
            measured = list(aa_test.repetitions(source, out, arguments.nights, delays, observer))
        findings = aa_test.findings(source, measured)
        text = json.dumps(findings.as_json(), indent=1)
        atomic_write(out / "noise.json", text)
    if arguments.json:
        print(text)
    else:
        _print(findings)
        print(f"\nnoise  {out / 'noise.json'}")
    return 0


def _delays(text: str) -> list[float]:
    from llmbench.errors import InputError

    try:
        shares = [float(part) / 100 for part in text.split(",") if part.strip()]
    except ValueError:
        shares = [-1.0]
    if not all(0 < share < 10 for share in shares):  # noqa: PLR2004 (an upper bound for typing errors)
        raise InputError(f"--delays {text}: expected percentages such as 5,10")
    return shares


def _refuse_endpoints(cases: Sequence[Case], delays: list[float]) -> None:
    from llmbench.errors import InputError

    if delays and (remote := [case.name for case in cases if case.backend == "endpoint"]):
        raise InputError(f"--delays: {remote[0]} is an endpoint, whose steps cannot be slowed down")


def _print(findings: Findings) -> None:
    from rich.text import Text

    from llmbench.report.console import on_stdout
    from llmbench.report.terminal import Fitting

    console = on_stdout()
    for delay, rate in findings.nights.items():
        kind = f"Steps {100 * delay:g} % slower" if delay else "Nothing changed"
        comparisons = findings.comparisons[delay]
        summary = (
            f"{kind}: a regression in {rate} checks, in {comparisons} comparisons; "
            f"undecided {findings.undecided[delay]} checks."
        )
        console.print(Text(summary))
    table = _table(findings)
    console.print(Fitting(table), Text(table.note, "dim"))


def _table(findings: Findings) -> Table:
    from llmbench.analysis.metrics import METRICS
    from llmbench.report.table import Cell, Column, Table

    columns = (
        Column("case", numeric=False),
        Column("metric", numeric=False),
        *map(Column, ("tolerance", "noise", "floor", "detectable")),
        *(Column(f"called at {100 * delay:g} %") for delay in findings.nights),
    )
    rows = tuple(
        (
            Cell(case),
            Cell(METRICS[key].label),
            *(Cell(_percent(share)) for share in (noise.tolerance, noise.noise, noise.floor)),
            _detectable(noise.detectable),
            *(Cell(f"{rate.hits}/{rate.trials}") for rate in noise.called.values()),
        )
        for case, metrics in findings.cases.items()
        for key, noise in metrics.items()
    )
    note = (
        "Noise: robust standard deviation between adjacent processes. Floor: the lowest suitable "
        "tolerance. Detectable: the smallest change found 19 times in 20 at a tolerance of at "
        "least the floor, with the confirmation of the scenario and with twice its processes."
    )
    return Table("Noise", columns, rows, note)


def _detectable(least: dict[int, float | None]) -> Cell:
    from llmbench.report.table import Cell

    shown = [_percent(effect) if effect else "> 50 %" for effect in least.values()]
    return Cell(shown[0], detail=f"then {shown[1]}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

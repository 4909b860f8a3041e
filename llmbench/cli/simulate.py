"""``llmbench simulate``: how many replicas a load needs, from step times of measured runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import interrupts, options

if TYPE_CHECKING:
    from llmbench.runs.run import Run
    from llmbench.scenario.cases import Case
    from llmbench.scenario.file import Override, Source
    from llmbench.simulation.answer import CapacityAnswer
    from llmbench.simulation.step_times import StepModel

HELP = "find how many replicas a load needs, from measured step times"
DESCRIPTION = (
    "Find the smallest number of replicas that meets the objectives at each load, by simulation "
    "with step times of measured runs."
)
EPILOG = """\
examples:
  llmbench simulate capacity --from results/capacity --replicas 1..8 --load.rate 10..400
  llmbench simulate chat.yaml --from results/a --from results/b --replicas 1..64 --load.rate 50
  llmbench simulate trace.yaml --from results/a --replicas 1,2,4,8 --balance two-choices
  llmbench simulate chat.yaml --from results/a --replicas 8 --over engine.slots=4,8,16
  llmbench simulate chat.yaml --from results/a --replicas 1..8 --out results/a-capacity --json

Ranges: 1..8 are whole numbers of replicas; 10..1000 are 10 geometrically
spaced rates, 10..1000/5 are 5. The step times are fitted to the runs of --from,
which were measured with a local backend at several loads, and checked on each
load in turn, held out from the fit. The interval of an answer is the range over
--repeats simulations with other seeds and with the error of the step times: 39
give a 95 % interval.
Exit codes: 0 an answer at every load, 1 none at some load, 2 bad input, also if
answers are only outside of what was measured, 130 interrupted by Ctrl-C, 143 by
SIGTERM, 129 by SIGHUP.
"""
MAX_REPEATS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "scenario", type=Path, help=f"{options.SCENARIO}; with `slo` and a local backend"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        required=True,
        type=options.results,
        metavar="DIR",
        help="a results folder with measured runs; repeatable",
    )
    parser.add_argument(
        "--replicas", required=True, metavar="RANGE", help="numbers of replicas, 1..8 or 1,2,4"
    )
    parser.add_argument(
        "--load.rate",
        dest="rate",
        metavar="RANGE",
        help="requests per second, 10..1000, 10..1000/5 or 10,50",
    )
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="values of another scenario key, a range or a list; repeatable",
    )
    parser.add_argument(
        "--case", metavar="TEXT", help="use only measured cases whose names contain this"
    )
    balance = "policy that divides the requests: round-robin, least-loaded, two-choices, affinity"
    parser.add_argument("--balance", metavar="POLICY", help=balance)
    parser.add_argument("--seed", type=int, help="seed of all random streams")
    parser.add_argument(
        "--repeats", type=int, default=39, help="simulations behind each interval (39)"
    )
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow, and mark, answers outside of what was measured",
    )
    text = "override a scenario key; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    options.add_path(
        parser, "--out", "DIR", "also write report.html and answer.json to this folder"
    )
    options.add_json(parser, "the answer")
    options.add_quiet(parser, "hide progress")


def run(arguments: argparse.Namespace) -> int:
    """Simulate the load and print (with --out, also write) how many replicas it needs."""
    from llmbench import report
    from llmbench.simulation import grid

    counts = grid.replica_counts(arguments.replicas)
    _check(arguments)
    source = _source(arguments)
    with interrupts.explained(lambda: "nothing was written"):
        answer = _answer(arguments, source, counts)
    if arguments.out:
        _write(answer, arguments.out)
    if arguments.json:
        from llmbench.report.capacity import as_dict

        print(json.dumps(as_dict(answer), indent=1))
    else:
        report.show(answer)
        if arguments.out:
            print(f"\nreport  {arguments.out / 'report.html'}")
    return int(not answer.is_complete)


def _check(arguments: argparse.Namespace) -> None:
    from llmbench.errors import InputError

    if not 2 <= arguments.repeats <= MAX_REPEATS:  # noqa: PLR2004 (a range needs two)
        raise InputError(f"--repeats {arguments.repeats}: expected 2 to {MAX_REPEATS:,}")
    if arguments.seed is not None and arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed}: expected 0 or more")


def _source(arguments: argparse.Namespace) -> Source:
    """Return the scenario with the ranges of the command line as its sweep."""
    from llmbench.errors import InputError
    from llmbench.scenario import file as scenario_file

    overrides = [*arguments.set, *_overrides(arguments)]
    source = scenario_file.load(arguments.scenario, overrides)
    if arguments.balance:
        balance = _balance(arguments.balance, has_replicas=source.scenario.replicas is not None)
        source = scenario_file.load(arguments.scenario, [*overrides, balance])
    if not source.scenario.slo:
        raise InputError(
            "simulate: the scenario has no `slo`; set an objective, for example "
            "--set slo.ttft_p99='500 ms'"
        )
    return source


def _overrides(arguments: argparse.Namespace) -> Iterator[Override]:
    from llmbench.errors import InputError
    from llmbench.scenario.file import Override
    from llmbench.simulation import grid

    yield Override("seed_per_repeat=true", "a simulation")
    if arguments.seed is not None:
        yield Override(f"seed={arguments.seed}", f"--seed {arguments.seed}")
    if arguments.rate is not None:
        yield grid.swept("load.rate", arguments.rate, f"--load.rate {arguments.rate}")
    for text in arguments.over:
        key, equals, values = text.partition("=")
        if not equals or not key.strip() or not values.strip():
            raise InputError(f"--over {text}: expected KEY=RANGE such as engine.slots=4,8,16")
        yield grid.swept(key.strip(), values, f"--over {text}")


def _balance(policy: str, *, has_replicas: bool) -> Override:
    from llmbench.scenario.file import Override

    flag = f"--balance {policy}"
    if has_replicas:
        return Override(f"replicas.balance={policy}", flag)
    return Override(f"replicas={{count: 1, balance: {policy}}}", flag)


def _answer(arguments: argparse.Namespace, source: Source, counts: Sequence[int]) -> CapacityAnswer:
    from llmbench.simulation import sources
    from llmbench.simulation.answer import Options, answer

    runs, cases = sources.alike(sources.read(arguments.sources, arguments.case), source.cases)
    asked = Options(tuple(counts), arguments.repeats, arguments.extrapolate)
    with _progress(quiet=arguments.quiet) as simulate:
        return answer(source.scenario, cases, runs, asked, simulate)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Case, StepModel, int, int], Run]]:
    """Yield a simulation that shows on stderr what is simulated."""
    from rich.console import Console

    from llmbench.report.capacity import load_of
    from llmbench.simulation.simulate import simulate

    console = Console(stderr=True, quiet=quiet)
    is_live = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
    simulated, loads = 0, set[str]()
    with console.status("simulating") as status:

        def shown(case: Case, model: StepModel, replicas: int, repeat: int) -> Run:
            nonlocal simulated
            load, simulated = load_of(case), simulated + 1
            if is_live:
                status.update(f"{load}, replicas: {replicas:,} ({simulated:,} runs simulated)")
            elif load not in loads and not quiet:
                loads.add(load)
                print(f"simulating {load}", file=sys.stderr, flush=True)
            return simulate(case, model, replicas=replicas, repeat=repeat)

        yield shown


def _write(answer: CapacityAnswer, folder: Path) -> None:
    from llmbench import report
    from llmbench.report.capacity import as_dict
    from llmbench.runs.files import write_text

    write_text(folder / "answer.json", json.dumps(as_dict(answer), indent=1) + "\n")
    report.write(answer, folder / "report.html")

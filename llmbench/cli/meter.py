"""``llmbench meter``: what a wall meter read while stored runs were measured."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.analysis.meters import ENERGY_UNITS, TIME_FORMATS, Layout
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.analysis.meters.joining import Joined

EXAMPLES = """\
examples:
  llmbench meter results/tonight meter.csv         columns `time` and `watts`
  llmbench meter results/tonight plug.csv --time-column Timestamp --watts-column "Power (W)"
  llmbench meter results/tonight pdu.csv --energy-column total --energy-unit kWh
  llmbench meter results/tonight plug.csv --utc-offset=-05:00 --offset 1.5

A log is CSV with a line of names. Times are ISO 8601 or seconds since 1970; those that name no
zone need --utc-offset. Each run that the log covers gets the series wall_power_watts,
wall_energy_joules, or both, in place of any attached before, and report.html is made again.
Exit codes: 0 attached, 2 bad input or no run covered.
"""
OFFSET = re.compile(r"[+-]\d{2}:\d{2}")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "meter",
        help="attach the log of a wall meter, smart plug or PDU to stored runs",
        description="Join a wall meter's log to the runs it covers, by the time of day.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="a results folder")
    parser.add_argument("log", type=Path, metavar="CSV", help="the log")
    _add_columns(parser)
    _add_times(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(run=run)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--time-column", default="time", metavar="NAME", help="(time)")
    parser.add_argument(
        "--watts-column",
        metavar="NAME",
        help="with power (watts, where there is no --energy-column)",
    )
    parser.add_argument("--energy-column", metavar="NAME", help="with a running total of energy")
    parser.add_argument("--energy-unit", choices=ENERGY_UNITS, help="of that column")


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--time-format",
        choices=TIME_FORMATS,
        default="auto",
        help="default: auto, seconds since 1970 where the first is a number, else ISO 8601",
    )
    parser.add_argument(
        "--utc-offset", metavar="±HH:MM", help="zone of times that name none, e.g. =-05:00"
    )
    parser.add_argument(
        "--offset", type=float, default=0.0, metavar="SECONDS", help="added to the meter's times"
    )
    parser.add_argument(
        "--max-gap", type=float, metavar="SECONDS",
        help="between readings in a run (three times the log's median interval, at least 1)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Attach, report, and say which runs got readings and which not."""
    from llmbench import report
    from llmbench.analysis.meters import joining, log
    from llmbench.runs import store

    if arguments.max_gap is not None and not arguments.max_gap > 0:
        raise InputError(f"--max-gap {arguments.max_gap:g}: expected more than 0 seconds")
    run_set = store.read(arguments.folder)
    readings = log.read_log(arguments.log, _layout(arguments))
    joined = joining.join(run_set, arguments.log, readings, arguments.max_gap)
    page = arguments.folder / "report.html"
    report.write(store.read(arguments.folder), page)
    names = [series.name for series in readings]
    if arguments.json:
        _print_json(arguments.folder, page, names, joined)
    else:
        _print_lines(arguments.folder, page, names, joined)
    return 0


def _layout(arguments: argparse.Namespace) -> Layout:
    energy, unit, zone = arguments.energy_column, arguments.energy_unit, arguments.utc_offset
    if bool(energy) != bool(unit):
        raise InputError("--energy-column and --energy-unit go together; give both or neither")
    if zone is not None and not OFFSET.fullmatch(zone):
        raise InputError(f"--utc-offset {zone}: expected hours and minutes, for example +02:00")
    return Layout(
        time=arguments.time_column,
        watts=arguments.watts_column or (None if energy else "watts"),
        energy=energy,
        energy_unit=unit or "J",
        time_format=arguments.time_format,
        utc_offset=zone,
        offset_seconds=arguments.offset,
    )


def _print_json(folder: Path, page: Path, names: list[str], joined: Joined) -> None:
    told = {
        "folder": str(folder),
        "report": str(page),
        "series": names,
        "attached": joined.runs,
        "left_out": joined.left_out,
    }
    print(json.dumps(told, indent=1))


def _print_lines(folder: Path, page: Path, names: list[str], joined: Joined) -> None:
    total = len(joined.runs) + len(joined.left_out)
    print(f"attached {' and '.join(names)} to {len(joined.runs)} of {total} runs")
    for name, why in joined.left_out.items():
        print(f"left out {name}: {why}")
    print(f"\nresults  {folder}\nreport   {page}")

"""``llmbench meter``: attach a wall meter's readings to stored runs."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.analysis.meters import ENERGY_UNITS, TIME_FORMATS, Layout
from llmbench.cli import options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.analysis.meters.joining import Joined

HELP = "attach the log of a wall meter, smart plug or PDU to stored runs"
DESCRIPTION = "Attach a wall meter's readings to the runs they cover, by wall-clock time."
EPILOG = """\
examples:
  llmbench meter results/tonight meter.csv         columns `time` and `watts`
  llmbench meter results/tonight plug.csv --time-column Timestamp --watts-column "Power (W)"
  llmbench meter results/tonight pdu.csv --energy-column total --energy-unit kWh
  llmbench meter results/tonight plug.csv --utc-offset=-05:00 --offset 1.5

A log is a CSV file with a header. Times are ISO 8601 or Unix seconds; times without a zone need
--utc-offset. Each run that the log covers gets the series wall_power_watts, wall_energy_joules, or
both, replacing previously attached ones, and report.html is rewritten. A log that covers no run is
an error (exit code 2).
"""
COLUMNS = {
    "--time-column": "column of times (default: time)",
    "--watts-column": "column of power in watts (default: watts, unless --energy-column is given)",
    "--energy-column": "column of cumulative energy, in --energy-unit",
}
TIME_FORMAT = "format of times (auto: Unix seconds if the first is a number, else ISO 8601)"
UTC_OFFSET = "UTC offset of times without a zone, e.g. =-05:00"
CORRECTION = "seconds to add to the meter's times, to correct its clock"
MAX_GAP = "longest accepted gap between readings (default: 3 median intervals, at least 1 s)"
OFFSET = re.compile(r"[+-]\d{2}:\d{2}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=options.results, metavar="DIR", help="a results folder")
    parser.add_argument("log", type=Path, metavar="CSV", help="the meter's log")
    for flag, text in COLUMNS.items():
        parser.add_argument(flag, metavar="NAME", help=text)
    parser.add_argument("--energy-unit", choices=ENERGY_UNITS, help="unit of the energy column")
    parser.add_argument("--time-format", choices=TIME_FORMATS, default="auto", help=TIME_FORMAT)
    parser.add_argument("--utc-offset", metavar="±HH:MM", help=UTC_OFFSET)
    parser.add_argument("--offset", type=float, default=0.0, metavar="SECONDS", help=CORRECTION)
    parser.add_argument("--max-gap", type=float, metavar="SECONDS", help=MAX_GAP)
    options.add_json(parser, "the names of runs with and without readings")


def run(arguments: argparse.Namespace) -> int:
    """Attach the meter's readings, rewrite the report, and print which runs received readings."""
    from llmbench.analysis.meters import joining, log
    from llmbench.runs import remote, store

    if arguments.max_gap is not None and not arguments.max_gap > 0:
        raise InputError(f"--max-gap {arguments.max_gap:g}: must be greater than 0 seconds")
    run_set = store.read(arguments.folder)
    readings = log.read_log(arguments.log, _layout(arguments))
    with output.locked(arguments.folder):
        joined = joining.join(run_set, arguments.log, readings, arguments.max_gap)
        page = output.write_report(store.read(arguments.folder))
    names = [series.name for series in readings]
    if arguments.json:
        paths = {"folder": remote.address(arguments.folder), "report": remote.address(page)}
        attached = {"series": names, "attached": joined.runs, "left_out": joined.left_out}
        print(json.dumps({**paths, **attached}, indent=1))
    else:
        _print(names, joined)
        output.print_paths(arguments.folder, page)
    return 0


def _layout(arguments: argparse.Namespace) -> Layout:
    energy, unit, zone = arguments.energy_column, arguments.energy_unit, arguments.utc_offset
    if bool(energy) != bool(unit):
        raise InputError("specify both --energy-column and --energy-unit, or neither")
    if zone is not None and not OFFSET.fullmatch(zone):
        raise InputError(f"--utc-offset {zone}: expected an offset such as +02:00")
    return Layout(
        time=arguments.time_column or "time",
        watts=arguments.watts_column or (None if energy else "watts"),
        energy=energy,
        energy_unit=unit or "J",
        time_format=arguments.time_format,
        utc_offset=zone,
        offset_seconds=arguments.offset,
    )


def _print(names: list[str], joined: Joined) -> None:
    runs = output.count_of(len(joined.runs), len(joined.runs) + len(joined.left_out), "run")
    print(f"attached {' and '.join(names)} to {runs}")
    for name, reason in joined.left_out.items():
        print(f"left out {name}: {reason}")

"""``llmbench compare``: run sets side by side, with a verdict for every metric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from llmbench.analysis.compare.comparison import Comparison
    from llmbench.report.table import Table

EXAMPLES = """\
examples:
  llmbench compare results/monday results/tuesday
  llmbench compare results/a10 results/h100 --out hardware.html     the machines are in a table
  llmbench compare results/eager results/compiled results/onnx --out comparison.html
  llmbench compare results/a results/b --tolerance tpot_p50=0.02 --json
  llmbench compare results/a results/b --markdown >> "$GITHUB_STEP_SUMMARY"

The first is the baseline. A process is one observation: changes are ratios between processes,
intervals and tests go by ranks, so set `repeats` to 6 or more where small changes matter.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="run sets side by side, with a verdict for every metric",
        description="Compare stored run sets with a baseline: what differs, and what changed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "baseline",
        type=Path,
        metavar="BASELINE",
        help="a results folder, or a file of `llmbench baseline`",
    )
    parser.add_argument("candidates", nargs="+", type=Path, metavar="CANDIDATE")
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="METRIC=SHARE",
        help="compare this metric as well, or with another tolerance",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a page of HTML")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print the comparison as JSON")
    shown.add_argument("--markdown", action="store_true", help="print it as Markdown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare each candidate with the baseline."""
    from llmbench.analysis.baseline_file import read_set
    from llmbench.analysis.compare.comparison import TOLERANCES, compare

    tolerances = {**TOLERANCES, **dict(map(_tolerance, arguments.tolerance))}
    baseline = read_set(arguments.baseline)
    found = [compare(baseline, read_set(c), tolerances) for c in arguments.candidates]
    if arguments.out:
        from llmbench.report.comparison.page import write_comparison

        write_comparison(found, arguments.out)
    if arguments.json:
        print(json.dumps([comparison.as_json() for comparison in found], indent=1))
    elif arguments.markdown:
        print_markdown(found)
        _print_markdown_beside(found)
    else:
        print_tables(found)
        _print_beside(found)
    if arguments.out and not (arguments.json or arguments.markdown):
        print(f"\nreport   {arguments.out}")
    return 0


def _beside(found: list[Comparison]) -> tuple[Table, Table]:
    """Lay all sides out side by side: their figures, and their machines."""
    from llmbench.report.comparison.machines import machines
    from llmbench.report.comparison.side_by_side import figures, sides

    compared = sides([found[0].baseline, *(comparison.candidate for comparison in found)])
    return figures(compared), machines(compared)


def _print_markdown_beside(found: list[Comparison]) -> None:
    from llmbench.report.text import as_markdown

    for table in _beside(found):
        print(f"\n## {table.title}\n\n{as_markdown(table)}", end="")


def _print_beside(found: list[Comparison]) -> None:
    from rich.console import Console
    from rich.text import Text

    from llmbench.report.terminal import as_rich

    console = Console()
    for table in _beside(found):
        console.print(Text(f"\n{table.title}", "bold"))
        if table.rows:
            console.print(as_rich(table))
        console.print(Text(table.note, "dim"))


def _tolerance(text: str) -> tuple[str, float]:
    from llmbench.analysis.metrics import METRICS, metric_key
    from llmbench.errors import InputError

    written, _, share = text.partition("=")
    key = metric_key(written)
    try:
        metric = METRICS[key]
        value = float(share)
    except KeyError:
        raise InputError(f"--tolerance {text}: no metric {key!r}; for example ttft_p50") from None
    except ValueError:
        raise InputError(f"--tolerance {text}: expected a share such as ttft_p50=0.03") from None
    if metric.better == "neither":
        raise InputError(f"--tolerance {text}: {key} is neither better nor worse")
    if not 0 < value < 1:
        raise InputError(f"--tolerance {text}: expected a share between 0 and 1")
    return key, value


def print_markdown(found: list[Comparison], file: TextIO | None = None) -> None:
    """Print comparisons as Markdown."""
    from llmbench.report.comparison import tables as compared
    from llmbench.report.text import as_markdown

    for comparison in found:
        names = comparison.candidate.folder.name, comparison.baseline.folder.name
        told = [f"## {names[0]} against {names[1]}", compared.headline(comparison)]
        told.append(as_markdown(compared.verdicts(comparison)))
        for besides in (compared.causes(comparison), compared.differences(comparison)):
            if besides.rows:
                told += [f"### {besides.title}", as_markdown(besides)]
            elif besides.note:
                told.append(besides.note)
        print("\n\n".join(told), file=file)


def print_tables(found: list[Comparison]) -> None:
    """Print comparisons as tables for the terminal."""
    from rich.console import Console
    from rich.text import Text

    from llmbench.report.comparison import tables as compared
    from llmbench.report.terminal import as_rich

    console = Console()
    for comparison in found:
        names = comparison.candidate.folder.name, comparison.baseline.folder.name
        console.print(Text.assemble("\n", (names[0], "bold"), " against ", (names[1], "bold")))
        console.print(Text(compared.headline(comparison)))
        table = compared.verdicts(comparison)
        console.print(as_rich(table), Text(table.note, "dim"))
        for besides in (compared.causes(comparison), compared.differences(comparison)):
            if besides.rows:
                console.print(Text(f"\n{besides.title}", "bold"))
                console.print(as_rich(besides))
            if besides.note:
                console.print(Text(besides.note, "dim"))

"""``llmbench compare``: compare run sets, with a verdict for every metric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from llmbench.cli import options

HELP = "compare run sets, with a verdict for every metric"
DESCRIPTION = (
    "Compare stored run sets with a baseline: differences in setup and changes in metrics."
)
EPILOG = """\
examples:
  llmbench compare results/monday results/tuesday
  llmbench compare results/a10 results/h100 --out hardware.html     includes a hardware table
  llmbench compare results/eager results/compiled results/onnx --out comparison.html
  llmbench compare results/a results/b --tolerance tpot_p50=0.02 --json
  llmbench compare results/a results/b --markdown >> "$GITHUB_STEP_SUMMARY"

The first run set is the baseline. A process is one observation: changes are ratios between
processes, with rank-based intervals and tests. Set `repeats` to 6 or more to detect small changes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "baseline",
        type=Path,
        metavar="BASELINE",
        help="a results folder, or a file written by `llmbench baseline`",
    )
    parser.add_argument(
        "candidates",
        nargs="+",
        type=Path,
        metavar="CANDIDATE",
        help="a results folder or file to compare with BASELINE",
    )
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="METRIC=FRACTION",
        help="relative tolerance of a metric, e.g. tpot_p50=0.02; also adds a metric",
    )
    options.add_out(parser, "write the comparison as an HTML page", "FILE")
    shown = parser.add_mutually_exclusive_group()
    options.add_json(shown, "the comparison")
    shown.add_argument("--markdown", action="store_true", help="print the comparison as Markdown")


def run(arguments: argparse.Namespace) -> int:
    """Compare each candidate with the baseline, print the verdicts; with --out, also write them."""
    from llmbench import report
    from llmbench.analysis.baseline_file import read_set
    from llmbench.analysis.compare.comparison import TOLERANCES, compare

    tolerances = {**TOLERANCES, **dict(map(_tolerance, arguments.tolerance))}
    baseline = read_set(arguments.baseline)
    comparisons = [compare(baseline, read_set(c), tolerances) for c in arguments.candidates]
    if arguments.out:
        report.write(comparisons, arguments.out)
    if arguments.json:
        print(json.dumps([comparison.as_json() for comparison in comparisons], indent=1))
    elif arguments.markdown:
        print(report.render(comparisons, "markdown", side_by_side=True), end="")
    else:
        report.show(comparisons, side_by_side=True)
    if arguments.out and not (arguments.json or arguments.markdown):
        print(f"\nreport   {arguments.out}")
    return 0


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
        raise InputError(f"--tolerance {text}: expected a fraction such as ttft_p50=0.03") from None
    if metric.better == "neither":
        raise InputError(
            f"--tolerance {text}: {key} has no better direction; choose another metric"
        )
    if not 0 < value < 1:
        raise InputError(f"--tolerance {text}: expected a fraction between 0 and 1")
    return key, value

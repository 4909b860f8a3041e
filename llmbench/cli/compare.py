"""``llmbench compare``: compare run sets, with a verdict for every metric."""

from __future__ import annotations

import argparse
import json

from llmbench.cli import options
from llmbench.errors import InputError

HELP = "compare run sets, with a verdict for every metric"
DESCRIPTION = "Compare stored run sets with a baseline: their setups and every metric."
EPILOG = """\
examples:
  llmbench compare results/monday results/tuesday
  llmbench compare results/a10 results/h100 --out hardware.html     includes a hardware table
  llmbench compare results/eager results/compiled results/onnx --out comparison.html
  llmbench compare s3://bucket/monday results/tuesday
  llmbench compare results/a results/b --tolerance tpot_p50=0.02 --json
  llmbench compare results/a results/b --markdown >> "$GITHUB_STEP_SUMMARY"

The first run set is the baseline. A process is one observation: changes are ratios between
processes, with rank-based intervals and tests. Set `repeats` to 6 or more to detect small changes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    baseline = "a results folder, or a file written by `llmbench baseline`, or the URL of one"
    candidate = "a results folder or file to compare with BASELINE"
    tolerance = "compare METRIC, with this relative tolerance, e.g. tpot_p50=0.02; repeatable"
    parser.add_argument("baseline", type=options.results, metavar="BASELINE", help=baseline)
    parser.add_argument(
        "candidates", nargs="+", type=options.results, metavar="CANDIDATE", help=candidate
    )
    parser.add_argument(
        "--tolerance", action="append", default=[], metavar="METRIC=FRACTION", help=tolerance
    )
    options.add_path(parser, "--out", "FILE", "also write the comparison as an HTML page")
    shown = parser.add_mutually_exclusive_group()
    options.add_json(shown, "the comparison")
    shown.add_argument("--markdown", action="store_true", help="print the comparison as Markdown")


def run(arguments: argparse.Namespace) -> int:
    """Compare each candidate with the baseline, and print (with --out, also write) the verdicts."""
    from llmbench import report
    from llmbench.analysis.baseline_file import read_set
    from llmbench.analysis.compare.comparison import TOLERANCES, compare
    from llmbench.report.comparison.answer import as_json

    tolerances = {**TOLERANCES, **dict(map(_tolerance, arguments.tolerance))}
    baseline = read_set(arguments.baseline)
    comparisons = [compare(baseline, read_set(c), tolerances) for c in arguments.candidates]
    if arguments.out:
        report.write(comparisons, arguments.out)
    if arguments.json:
        print(json.dumps(list(map(as_json, comparisons)), indent=1))
    elif arguments.markdown:
        print(report.render(comparisons, "markdown", side_by_side=True), end="")
    else:
        report.show(comparisons, side_by_side=True)
    if arguments.out and not (arguments.json or arguments.markdown):
        print(f"\nreport   {arguments.out}")
    return 0


def _tolerance(text: str) -> tuple[str, float]:
    from llmbench.analysis.metrics import METRICS, metric_key

    written, _, share = text.partition("=")
    key = metric_key(written)
    try:
        metric = METRICS[key]
        value = float(share)
    except KeyError:
        raise InputError(
            f"--tolerance {text}: no metric {key!r}; use one such as ttft_p50"
        ) from None
    except ValueError:
        raise InputError(f"--tolerance {text}: expected a fraction such as ttft_p50=0.03") from None
    if metric.better == "neither":
        raise InputError(f"--tolerance {text}: {key} has no better direction; remove it")
    if not 0 < value < 1:
        raise InputError(f"--tolerance {text}: expected a fraction between 0 and 1")
    return key, value

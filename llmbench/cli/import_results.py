"""``llmbench import``: store results of other load tools as runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from llmbench.cli import options, output

HELP = "import results of vllm bench, guidellm, aiperf, llama-bench and others"
DESCRIPTION = "Store results of other load tools as runs, print a table and write a report."
EPILOG = """\
examples:
  llmbench import guidellm.json                    writes results/imported-DATE
  llmbench import vllm.json guidellm.json artifacts/profile_export.jsonl --out results/old
  llmbench import vllm.json --name before --out results/before --json

Formats with requests: vllm bench serve --save-result --save-detailed, guidellm's JSON report, and
aiperf's profile_export.jsonl. Values without intervals: vllm bench serve --save-result, llama-bench
-o json, llama-benchy, inference-perf's stage_N_lifecycle_metrics.json, genai-bench, and llm-d's
Benchmark Report 0.2. The format is detected from the file's content.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="another tool's results"
    )
    text = "new results folder (default: results/imported-DATE)"
    options.add_results(parser, "--out", text)
    parser.add_argument("--name", help="case name, for a single file (default: tool and file name)")
    options.add_json(parser, "the summary")
    options.add_quiet(parser, "hide the table")


def run(arguments: argparse.Namespace) -> int:
    """Store the files' results as a run set, write its report and print its table."""
    from llmbench.runs import remote
    from llmbench.runs.imports.run_set import import_results

    folder = arguments.out or options.default_folder("imported")
    run_set = import_results(arguments.files, folder, arguments.name)
    page = output.write_report(run_set)
    remote.push(folder)
    output.print_result(run_set, page, arguments)
    return 0

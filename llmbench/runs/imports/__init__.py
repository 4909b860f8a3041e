"""Import of results of other load tools: one module per tool, recognized by content.

Values that a tool does not report are None or NaN; of a tool that stores no requests, only its
statistics are read. Every imported run has a caveat that names the
tool and the moment from which its latencies count.
"""

from __future__ import annotations

from pathlib import Path

from llmbench.errors import FileError, printable
from llmbench.runs.imports import (
    aiperf,
    benchmark_report,
    documents,
    genai_bench,
    guidellm,
    inference_perf,
    llama_bench,
    llama_benchy,
    vllm,
)
from llmbench.runs.imports.measured import Measured

__all__ = ["Measured", "read_results"]

TOOLS = (
    vllm, guidellm, aiperf, llama_bench, llama_benchy, inference_perf, genai_bench,
    benchmark_report,
)  # fmt: skip
NAMES = [tool.TOOL for tool in TOOLS]
MAX_KEYS = 300  # characters


def read_results(path: Path) -> list[Measured]:
    """Read the measured loads in a result file of another load tool.

    Raises FileError when the file cannot be read, its tool is unknown, or data is missing.
    """
    document = documents.read_document(path)
    for tool in TOOLS:
        if tool.recognizes(document):
            loads: list[Measured] = tool.measured_in(document)
            return loads
    keys = printable(", ".join(sorted(document.keys)[:8]) or "none", MAX_KEYS)
    raise FileError(
        path,
        f"unknown tool (keys: {keys})",
        f"a result file of {', '.join(NAMES[:-1])} or {NAMES[-1]}",
        "see docs/imports.md",
    )

"""Import of results of other load tools: one module per tool, recognized by content.

Values that a tool does not report are None or NaN. Every imported run has a caveat that names the
tool and the moment from which its latencies count.
"""

from __future__ import annotations

from pathlib import Path

from llmbench.errors import FileError, printable
from llmbench.runs.imports import aiperf, documents, guidellm, vllm
from llmbench.runs.imports.measured import Measured

__all__ = ["Measured", "read_results"]

TOOLS = (vllm, guidellm, aiperf)
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
        "the JSON of vllm bench serve --save-result --save-detailed, guidellm's JSON report, or "
        "aiperf's profile_export.jsonl",
        "see docs/imports.md",
    )

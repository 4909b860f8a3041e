"""Results of other load tools, read as runs of ours: one module a tool, told by a file's content.

What a tool does not tell is not known here either: it is None or NaN, and never made up. Every run
bears a caveat that names the tool and says from when its latencies count.
"""

from __future__ import annotations

from pathlib import Path

from llmbench.errors import InputError
from llmbench.runs.imports import aiperf, documents, guidellm, vllm
from llmbench.runs.imports.measured import Measured

__all__ = ["Measured", "read"]

READERS = (
    (vllm.recognizes, vllm.read),
    (guidellm.recognizes, guidellm.read),
    (aiperf.recognizes, aiperf.read),
)


def read(path: Path) -> list[Measured]:
    """Read what a file of another tool holds, one entry a load that was measured.

    Raises InputError when it cannot be read, is of no known tool, or lacks what is needed.
    """
    document = documents.read(path)
    for recognizes, read_document in READERS:
        if recognizes(document):
            return read_document(document)
    found = ", ".join(sorted(document.keys)[:8]) or "none"
    raise InputError(
        f"{path}: is of no tool that llmbench reads (keys: {found}); expected the JSON of vllm "
        "bench serve --save-result --save-detailed, guidellm's JSON report, or aiperf's "
        "profile_export.jsonl; see docs/imports.md"
    )

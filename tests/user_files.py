"""Every kind of file that users bring: small valid samples, and a reader of content and suffix.

A reader does with a file what a command does before it measures or stores anything. It raises an
InputError for content that it refuses, and no other exception.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import foreign_results
import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.analysis.meters import Layout
from llmbench.analysis.meters.log import parse_log
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs import imports
from llmbench.runs.files import unpacked
from llmbench.runs.run import records_table
from llmbench.runs.tables import Table, parse_table
from llmbench.workloads.dataset import Dataset, read_prompts
from llmbench.workloads.sessions import read_conversations
from llmbench.workloads.trace_files import parse_trace

TOKENIZER = ByteTokenizer(256)
ROWS: list[dict[str, Any]] = [
    {"prompt": "Why is the sky blue?", "said": "Light.", "kind": "chat", "tokens": 12},
    {"prompt": 'two,\nlines "quoted" \u2028 ä', "said": "Yes.", "kind": "batch", "tokens": 7},
]
CHATS: list[dict[str, Any]] = [
    {
        "id": "a",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Why?"},
            {"from": "gpt", "value": "So."},
        ],
    },
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]},
]
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens\n5,GPT,472,18\n45,GPT,1087,0\n"
MOONCAKE = '{"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}\n' * 3
METER = "time,watts,total\n1700000000,90.5,1\n1700000001,unavailable,2\n1700000002,91,3\n"
ISO_METER = "time,watts,total\n2026-01-31T12:00:00Z,90,1\n2026-01-31T12:00:01Z,91,2\n"


def _lines(values: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()


def _parquet(values: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), file)
    return file.getvalue()


def _csv(values: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    cells = [list(values[0]), *(list(value.values()) for value in values)]
    quoted = [['"' + str(cell).replace('"', '""') + '"' for cell in row] for row in cells]
    return "\n".join(delimiter.join(row) for row in quoted).encode()


# -- readers ---------------------------------------------------------------------------------------


def _table(data: bytes, suffix: str) -> Table:
    path = Path(f"file{suffix}")
    return parse_table(unpacked(data, path), path)


def read_dataset(data: bytes, suffix: str) -> None:
    """Read prompts with their outputs and classes, and tokenize them."""
    columns = {"output_column": "said", "class_column": "kind"}
    options = Dataset.Options.model_validate({"path": f"file{suffix}", **columns})
    for prompt in read_prompts(_table(data, suffix), options).values:
        prompt.tokenized(TOKENIZER)
        prompt.output_tokens(TOKENIZER)


def read_sessions(data: bytes, suffix: str) -> None:
    """Read conversations and tokenize their turns."""
    for turns in read_conversations(_table(data, suffix)).values:
        for turn in turns:
            TOKENIZER.encode(turn.text)


def read_trace(data: bytes, suffix: str) -> None:
    """Read a trace, and the blocks of its first requests."""
    path = Path(f"trace{suffix}")
    for row in islice(parse_trace(unpacked(data, path), path).rows, 2):
        assert row.prompt_tokens > 0
        assert row.time >= 0


def read_results(data: bytes, suffix: str) -> None:
    """Read results of another tool into records."""
    path = Path(f"results{suffix}")
    for measured in imports.parse_results(unpacked(data, path), path):
        records_table(list(measured.records))


def read_meter(data: bytes, suffix: str) -> None:
    """Read the log of a wall meter."""
    path = Path(f"meter{suffix}")
    parse_log(unpacked(data, path), path, Layout(energy="total"))


@dataclass(frozen=True)
class Kind:
    """A kind of file: its reader, and samples with their suffixes."""

    read: Callable[[bytes, str], None]
    samples: tuple[tuple[bytes, str], ...]


KINDS = {
    "dataset": Kind(
        read_dataset,
        (
            (_lines(ROWS), ".jsonl"),
            (json.dumps(ROWS, indent=1).encode(), ".json"),
            (_csv(ROWS), ".csv"),
            (_csv(ROWS, "\t"), ".TSV"),
            (_parquet(ROWS), ".parquet"),
            (gzip.compress(_lines(ROWS)), ".jsonl.gz"),
            (_lines(ROWS).decode().encode("utf-16"), ".jsonl"),
        ),
    ),
    "sessions": Kind(
        read_sessions, ((_lines(CHATS), ".jsonl"), (json.dumps(CHATS).encode(), ".json"))
    ),
    "trace": Kind(
        read_trace,
        (
            (AZURE.encode(), ".csv"),
            (BURSTGPT.encode(), ".csv"),
            (MOONCAKE.encode(), ".jsonl"),
            (MOONCAKE.replace('"input', '"turn": 1, "chat_id": 1, "input').encode(), ".jsonl"),
            (_parquet([{"time": 0.5, "prompt_tokens": 3, "output_tokens": 4}] * 2), ".parquet"),
        ),
    ),
    "results": Kind(
        read_results,
        tuple(
            (path.read_bytes(), path.suffix)
            for path in (
                foreign_results.VLLM,
                foreign_results.GUIDELLM,
                foreign_results.AIPERF,
                foreign_results.AIPERF_SUMMARY,
            )
        ),
    ),
    "meter": Kind(read_meter, ((METER.encode(), ".csv"), (ISO_METER.encode(), ".csv"))),
}


# -- mutations -------------------------------------------------------------------------------------

PIECES = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n", b"\r\n", b'"', b",", b"\t"),
    *(b"{", b"}", b"[", b"]", b"[" * 5000, b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"inf"),
    *(b"9" * 400, b"9" * 5000, b"\\ud83d", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b\x0c", b"\x1b[31m"),
    *(
        b'""',
        b"{}",
        b"[]",
        b'"a"',
        b" ",
        b"'",
        b"PAR1",
        b"\x1f\x8b",
        b"2026-01-31",
        b"1_0",
        b"x" * 999,
    ),
)


def mutated(data: bytes, random: Random) -> bytes:
    """Return content with one to four changes: pieces inserted, replaced, doubled, cut or moved."""
    for _ in range(random.randint(1, 4)):
        begin = random.randint(0, len(data))
        end = min(len(data), begin + random.choice((0, 1, 2, 8, 40)))
        other = random.randint(0, len(data))
        piece = random.choice(
            (random.choice(PIECES), random.choice(PIECES), data[other : other + 40], b"")
        )
        data = data[:begin] + piece + data[end:]
        if random.random() < 0.05:
            data = data[:begin]
    return data

"""Traces of real services, read into one form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmbench.errors import InputError
from llmbench.workloads.trace_files import TraceRow, read_trace

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335Z,2399,6
"""
MOONCAKE = """{"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 3500, "input_length": 600, "output_length": 7, "hash_ids": [0, 2]}
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
OWN = """{"time": 0.25, "prompt_tokens": 12, "output_tokens": 3}

{"time": 0.5, "prompt_tokens": 13, "output_tokens": 4, "blocks": [7]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.mark.parametrize(
    ("text", "gap"), [(AZURE_2023, 4.314579), (AZURE_2024, 0.007405)], ids=["2023", "2024"]
)
def test_timestamps_of_azure_become_seconds(file: Path, text: str, gap: float) -> None:
    file.write_text(text)
    first, second = read_trace(file)
    assert second.time - first.time == pytest.approx(gap, abs=2e-6)
    assert first.blocks == ()


def test_lengths_of_azure_are_read(file: Path) -> None:
    file.write_text(AZURE_2023)
    assert [(row.prompt_tokens, row.output_tokens) for row in read_trace(file)] == [
        (374, 44),
        (396, 109),
    ]


def test_milliseconds_and_blocks_of_mooncake_are_read(file: Path) -> None:
    file.write_text(MOONCAKE)
    assert read_trace(file) == [TraceRow(0.0, 700, 5, (0, 1)), TraceRow(3.5, 600, 7, (0, 2))]


def test_failed_requests_of_burstgpt_are_omitted(file: Path) -> None:
    file.write_text(BURSTGPT)
    assert read_trace(file) == [TraceRow(0.0, 472, 18), TraceRow(113.0, 417, 276)]


def test_the_own_format_is_read(file: Path) -> None:
    file.write_text(OWN)
    assert read_trace(file) == [TraceRow(0.0, 12, 3), TraceRow(0.25, 13, 4, (7,))]


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_text("\ufeff" + AZURE_2023, encoding="utf-8")
    assert len(read_trace(file)) == 2


def test_rows_are_ordered_by_time(file: Path) -> None:
    lines = [{"time": t, "prompt_tokens": 1, "output_tokens": 1} for t in (2, 0, 1)]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert [row.time for row in read_trace(file)] == [0, 1, 2]


def test_malformed_lines_are_listed_by_number_up_to_five(file: Path) -> None:
    good = '{"time": 0, "prompt_tokens": 1, "output_tokens": 1}\n'
    file.write_text(good + "oops\n" + good + good.replace("1,", "-4,") + "oops\n" * 5)
    with pytest.raises(InputError) as raised:
        read_trace(file)
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{file}:2: not a JSON object: 'oops'"
    assert lines[1].startswith(f"{file}:4: prompt_tokens: input should be greater than 0, found -4")
    assert lines[-1] == "and 2 more"


def test_a_malformed_line_of_a_csv_is_reported_by_number(file: Path) -> None:
    file.write_text(AZURE_2023 + "2023-11-16 18:15:52,many,3\n")
    with pytest.raises(InputError, match=r"trace:4: ContextTokens: .*found 'many'"):
        read_trace(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "unknown trace format"),
        ("", "unknown trace format"),
        ('{"x": 1}', "unknown trace format"),
        (
            BURSTGPT.splitlines()[0] + "\n5,GPT-4,472,0,472,API log\n",
            "expected requests with output",
        ),
    ],
)
def test_a_file_that_is_not_a_trace_is_rejected(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trace(file)


def test_a_missing_file_is_an_input_error(file: Path) -> None:
    with pytest.raises(InputError, match=r"trace: cannot be read: No such file"):
        read_trace(file)


REAL = Path(__file__).parents[3] / "shared" / "data" / "traces"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real traces are not here")
@pytest.mark.parametrize(
    ("name", "rows", "seconds"),
    [
        ("AzureLLMInferenceTrace_conv.csv", 19366, 3501.721937),
        ("mooncake_conversation_trace.jsonl", 3000, 987.0),
    ],
)
def test_real_traces_are_read_completely(name: str, rows: int, seconds: float) -> None:
    trace = read_trace(REAL / name)
    assert len(trace) == rows
    assert trace[-1].time - trace[0].time == pytest.approx(seconds, abs=1e-5)

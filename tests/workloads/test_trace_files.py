"""Traces of real services, read into one form."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmbench.errors import FileError
from llmbench.workloads.trace_files import (
    FORMATS,
    Columns,
    TimeUnit,
    TraceRow,
    parse_trace,
    read_trace,
)

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
BAILIAN = (
    '{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 33,'
    ' "output_length": 132, "type": "text", "turn": 1, "hash_ids": [1089, 1090, 1091]}\n'
    '{"chat_id": 160, "parent_chat_id": 159, "timestamp": 62.5, "input_length": 20,'
    ' "output_length": 80, "type": "text", "turn": 2, "hash_ids": [1089, 7]}\n'
)
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
46,ChatGPT,0,20,20,Conversation log
inf,ChatGPT,47,18,65,Conversation log
118,GPT-4,417,276,693,API log
"""
SPLITWISE = """request_id,application_id,arrival_timestamp,batch_size,prompt_size,token_size
0,0,0.5,1,374,44
1,0,2.0,1,39,4
"""
VIDUR = """arrived_at,num_prefill_tokens,num_decode_tokens
0.5,374,44
2.0,39,4
"""
OWN = """{"time": 0.25, "prompt_tokens": 12, "output_tokens": 3}

{"time": 0.5, "prompt_tokens": 13, "output_tokens": 4, "blocks": [7], "request_class": "chat"}
"""
TWO = [TraceRow(0.0, 374, 44), TraceRow(1.5, 39, 4)]


def rows(text: str, name: str = "trace", **options: Any) -> list[TraceRow]:
    return parse_trace(text.encode(), Path(name), **options).rows


def reasons(text: str) -> list[str]:
    return parse_trace(text.encode(), Path("trace")).left_out.reasons


def refusal(text: str, name: str = "trace", **options: Any) -> str:
    with pytest.raises(FileError) as raised:
        parse_trace(text.encode(), Path(name), **options)
    return str(raised.value)


# -- known formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gap"), [(AZURE_2023, 4.314579), (AZURE_2024, 0.007405)], ids=["2023", "2024"]
)
def test_timestamps_of_azure_become_seconds(text: str, gap: float) -> None:
    first, second = rows(text)
    assert second.time - first.time == pytest.approx(gap, abs=2e-6)
    assert first.blocks == ()


def test_lengths_of_azure_are_read() -> None:
    lengths = [(row.prompt_tokens, row.output_tokens) for row in rows(AZURE_2023)]
    assert lengths == [(374, 44), (396, 109)]


def test_milliseconds_and_blocks_of_mooncake_are_read() -> None:
    trace = parse_trace(MOONCAKE.encode(), Path("trace"))
    assert trace.rows == [TraceRow(0.0, 700, 5, (0, 1)), TraceRow(3.5, 600, 7, (0, 2))]
    assert trace.block_tokens == 512


def test_seconds_and_small_blocks_of_bailian_are_read() -> None:
    trace = parse_trace(BAILIAN.encode(), Path("trace.jsonl"))
    assert [row.time for row in trace.rows] == pytest.approx([0.0, 1.386])
    assert [row.blocks for row in trace.rows] == [(1089, 1090, 1091), (1089, 7)]
    assert trace.block_tokens == 16


@pytest.mark.parametrize("missing", sorted(FORMATS["bailian"].marks))
def test_bailian_is_recognized_without_one_of_its_fields(missing: str) -> None:
    lines = [json.loads(line) for line in BAILIAN.splitlines()]
    text = "\n".join(json.dumps({k: v for k, v in line.items() if k != missing}) for line in lines)
    assert parse_trace(text.encode(), Path("trace")).block_tokens == 16


def test_a_type_alone_does_not_make_it_bailian() -> None:
    assert rows(MOONCAKE.replace('"input', '"type": "text", "input'))[1].time == 3.5


def test_unusable_requests_of_burstgpt_are_left_out_and_counted() -> None:
    assert rows(BURSTGPT) == [TraceRow(0.0, 472, 18), TraceRow(113.0, 417, 276)]
    assert sorted(reasons(BURSTGPT)) == [
        "1 with 0 output tokens",
        "1 with 0 prompt tokens",
        "1 with an infinite or impossible time",
    ]


@pytest.mark.parametrize("text", [SPLITWISE, VIDUR], ids=["splitwise", "vidur"])
def test_traces_of_simulators_are_read(text: str) -> None:
    assert rows(text) == TWO


def test_the_own_format_is_read() -> None:
    assert rows(OWN) == [TraceRow(0.0, 12, 3), TraceRow(0.25, 13, 4, (7,), "chat")]


def test_an_unknown_field_of_the_own_format_is_an_error() -> None:
    assert refusal(OWN.replace("blocks", "block")) == "trace:3: unknown field 'block'"


def test_times_in_parquet_may_be_dates() -> None:
    file = io.BytesIO()
    moments = [datetime(2024, 5, 10, tzinfo=UTC), datetime(2024, 5, 10, 0, 0, 2, tzinfo=UTC), None]
    lengths = [5, 6, 7]
    columns = {"TIMESTAMP": moments, "ContextTokens": lengths, "GeneratedTokens": lengths}
    pq.write_table(pa.table(columns), file)
    trace = parse_trace(file.getvalue(), Path("a.parquet"))
    assert trace.rows == [TraceRow(0.0, 5, 5), TraceRow(2.0, 6, 6)]
    assert trace.left_out.reasons == ["1 without a time"]


# -- other formats ---------------------------------------------------------------------------------

OTHER = "started,in,out\n1500,374,44\n3000,39,4\n"
COLUMNS = Columns(arrival="started", prompt_tokens="in", output_tokens="out")


@pytest.mark.parametrize(("unit", "gap"), [(None, 1500.0), ("ms", 1.5), ("us", 0.0015)])
def test_other_formats_are_read_by_their_columns(unit: TimeUnit | None, gap: float) -> None:
    first, second = rows(OTHER, columns=COLUMNS, time_unit=unit)
    assert (first.time, second.time) == pytest.approx((0.0, gap))
    assert (second.prompt_tokens, second.output_tokens) == (39, 4)


def test_other_formats_may_have_blocks_and_classes() -> None:
    text = 'started,in,out,hash,kind\n0,374,44,"[1, 2]",chat\n1,39,4,,\n'
    columns = COLUMNS.model_copy(update={"blocks": "hash", "request_class": "kind"})
    assert rows(text, columns=columns) == [
        TraceRow(0.0, 374, 44, (1, 2), "chat"),
        TraceRow(1.0, 39, 4),
    ]


def test_the_unit_of_a_known_format_can_be_overridden() -> None:
    assert rows(MOONCAKE, time_unit="s")[1].time == 3500


def test_a_column_that_is_missing_is_an_error() -> None:
    columns = COLUMNS.model_copy(update={"arrival": "start"})
    message = refusal(OTHER, columns=columns)
    assert "expected a column 'start'; did you mean 'started'? set `columns.arrival`" in message
    assert "expected a column 'TIMESTAMP'" in refusal(OTHER, format="azure")


def test_an_unknown_format_is_an_error_with_the_known_ones() -> None:
    message = refusal(OTHER)
    assert message.startswith("trace:2: unknown trace format (fields: started, in, out); expected")
    assert message.endswith("azure, bailian, mooncake, burstgpt, splitwise, vidur, llmbench; "
                            "describe other formats by `columns`")  # fmt: skip


# -- rows ------------------------------------------------------------------------------------------


def own(**fields: Any) -> str:
    return json.dumps({"time": 0, "prompt_tokens": 1, "output_tokens": 1, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"time": float("nan")}, "with an infinite or impossible time"),
        ({"time": float("-inf")}, "with an infinite or impossible time"),
        ({"time": 1e300}, "with an infinite or impossible time"),
        ({"time": 10**400}, "with an infinite or impossible time"),
        ({"time": None}, "without a time"),
        ({"time": " "}, "without a time"),
        ({"prompt_tokens": 0}, "with 0 prompt tokens"),
        ({"prompt_tokens": None}, "without prompt tokens"),
        ({"output_tokens": 0.0}, "with 0 output tokens"),
        ({"output_tokens": ""}, "without output tokens"),
    ],
)
def test_a_row_that_is_no_request_is_left_out_and_counted(
    fields: dict[str, Any], reason: str
) -> None:
    text = f"{own(time=2)}\n{own(**fields)}"
    assert rows(text) == [TraceRow(0.0, 1, 1)]
    assert reasons(text) == [f"1 {reason}"]


def test_a_turn_that_follows_an_answer_is_left_out_and_counted() -> None:
    later = '{"session_id": "a", "delay": 1000, "input_length": 10, "output_length": 2}'
    assert reasons(MOONCAKE + later) == ["1 with a delay instead of a time"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"time": -1}, "time: found -1; expected a time of at least 0"),
        ({"time": True}, "time: found True; expected a number or an ISO 8601 time"),
        ({"time": "soon"}, "time: found 'soon'; expected a number or an ISO 8601 time"),
        ({"time": [1]}, "time: found [1]; expected a number or an ISO 8601 time"),
        (
            {"prompt_tokens": -4},
            "prompt_tokens: found -4; expected a whole number from 0 to 10,000,000",
        ),
        (
            {"prompt_tokens": 1.5},
            "prompt_tokens: found 1.5; expected a whole number from 0 to 10,000,000",
        ),
        (
            {"output_tokens": 10**30},
            f"output_tokens: found {10**30}; expected a whole number from 0 to 10,000,000",
        ),
        ({"output_tokens": "many"}, "output_tokens: found 'many'; expected a number"),
        ({"blocks": 5}, "blocks: found 5; expected a list of whole numbers"),
        ({"blocks": ["x"]}, "blocks: found ['x']; expected a list of whole numbers"),
    ],
)
def test_a_malformed_row_is_an_error(fields: dict[str, Any], problem: str) -> None:
    assert refusal(f"{own()}\n{own(**fields)}") == f"trace:2: {problem}"


def test_malformed_rows_are_listed_by_line_up_to_five() -> None:
    lines = refusal("\n".join([own(), *[own(prompt_tokens=-4)] * 7])).splitlines()
    assert lines[0].startswith("trace:2: prompt_tokens: found -4")
    assert lines[4].startswith("trace:6: prompt_tokens: found -4")
    assert lines[5:] == ["and 2 more"]


def test_a_malformed_line_of_a_csv_is_reported_by_number() -> None:
    text = f"{AZURE_2023}2023-11-16 18:15:52,many,3\n"
    assert refusal(text).startswith("trace:4: ContextTokens: found 'many'")


def test_other_json_values_are_malformed() -> None:
    assert refusal(f"{own()}\n5") == "trace:2: found 5; expected an object"
    assert refusal(f"{own()}\noops").startswith("trace:2: not valid JSON")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"x": 1}', "trace:1: unknown trace format (fields: x)"),
        ("[1]", "trace[0]: unknown trace format (fields: 1)"),
        ("", "trace: has no rows; expected requests"),
        (
            BURSTGPT.splitlines()[0] + "\n5,GPT-4,472,0,472,API log\n",
            "trace: no row can be used: 1 with 0 output tokens; expected requests",
        ),
    ],
)
def test_a_file_that_is_not_a_trace_is_rejected(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_header_in_the_middle_is_left_out_and_counted() -> None:
    assert len(rows(VIDUR + VIDUR)) == 4
    assert reasons(VIDUR + VIDUR) == ["1 with the header repeated"]


def test_other_separators_in_a_string_end_no_line() -> None:
    text = MOONCAKE.replace('"hash_ids"', '"note": "a\u2028b\x85c", "hash_ids"')
    assert rows(text) == rows(MOONCAKE)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert rows("arrived_at,num_prefill_tokens,num_decode_tokens\n0,374.0,44.0\n") == TWO[:1]


def test_rows_are_ordered_by_time() -> None:
    assert [row.time for row in rows("\n".join(own(time=time) for time in (2, 0, 1)))] == [0, 1, 2]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"trace: cannot be read: No such file"):
        read_trace(tmp_path / "trace")


REAL = Path(__file__).parents[3] / "shared" / "data" / "traces"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real traces are not here")
@pytest.mark.parametrize(
    ("name", "count", "seconds"),
    [
        ("AzureLLMInferenceTrace_conv.csv", 19366, 3501.721937),
        ("mooncake_conversation_trace.jsonl", 3000, 987.0),
    ],
)
def test_real_traces_are_read_completely(name: str, count: int, seconds: float) -> None:
    trace = read_trace(REAL / name)
    assert len(trace.rows) == count
    assert trace.rows[-1].time - trace.rows[0].time == pytest.approx(seconds, abs=1e-5)
    assert trace.left_out.caveats() == ()

"""What is read of a Chrome trace."""

from __future__ import annotations

import pytest
from chrome_traces import BASE, document, event, launch, node, operator, step, violations

from llmbench.analysis.trace.events import events_of, merged, step_name, steps_of
from llmbench.errors import MeasurementError


def test_times_are_seconds_since_the_base() -> None:
    (event,) = events_of(document(operator("aten::mm", 10, 2.5)))
    assert (event.begin, event.end) == pytest.approx((10e-6, 12.5e-6))
    assert (event.kind, event.name, event.lane) == ("cpu_op", "aten::mm", "42/42")


def test_only_what_has_a_duration_is_an_event() -> None:
    others = [{"ph": "M", "name": "process_name", "pid": 1}, {"ph": "s", "id": 3, "ts": 1.0}]
    assert events_of(document(*others)) == []


def test_a_node_of_a_graph_has_its_operators_name_and_fences_are_left_out() -> None:
    fence = event("Node", "/mlp/MatMul_fence_before", 4, 0, args={"op_name": "MatMul"})
    assert [event.name for event in events_of(document(fence, node("MatMul", 4, 9)))] == ["MatMul"]


def test_a_launch_keeps_its_correlation() -> None:
    assert events_of(document(launch(11, 5)))[0].correlation == 11


def test_steps_are_in_order_from_the_first_that_counts() -> None:
    events = events_of(document(step(2, 30, 5), step(0, 10, 5), step(1, 20, 5)))
    assert [event.name for event in steps_of(events, 1, 2)] == [
        step_name("decode", 1),
        step_name("decode", 2),
    ]


def test_a_step_missing_from_the_trace_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="lacks 1 of 2 steps"):
        steps_of(events_of(document(step(0, 10, 5))), 0, 2)


def test_the_gpus_copy_of_a_range_is_not_a_step() -> None:
    echo = event("gpu_user_annotation", step_name("decode", 0), 12, 3, pid=0)
    (one,) = steps_of(events_of(document(step(0, 10, 5), echo)), 0, 1)
    assert one.kind == "user_annotation"


def test_another_trace_is_shifted_onto_the_time_axis_and_cut_to_its_range() -> None:
    later = document(node("MatMul", 3, 2), node("Gemm", 900, 2), base=BASE + 10_000)
    events = merged(document(step(0, 10, 20)), [later])["traceEvents"]
    assert [(e["name"], e["ts"]) for e in events[1:]] == [("/layers.0/MatMul_kernel_time", 13)]


def test_without_another_trace_nothing_changes() -> None:
    alone = document(step(0, 10, 20))
    assert merged(alone, []) == alone


def test_a_merged_trace_is_valid() -> None:
    other = document(node("MatMul", 3, 2), base=BASE - 7)
    assert violations(merged(document(step(0, 0, 20)), [other])) == []
    assert violations(document({"ph": "X", "name": "no times", "pid": 1, "tid": 1})) != []

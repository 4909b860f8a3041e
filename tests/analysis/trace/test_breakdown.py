"""The breakdown of step time, exact, on small traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from chrome_traces import document, event, kernel, launch, node, operator, step
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.trace.breakdown import break_down
from llmbench.analysis.trace.events import events_of
from llmbench.errors import MeasurementError
from llmbench.runs.profile import Breakdown

ARGMAX = "void at::native::reduce_kernel<at::native::ArgMaxOps<float>>"


def on_cpu(*events: dict[str, Any], steps: int = 1, first: int = 0) -> Breakdown:
    return break_down(events_of(document(*events)), "cpu", first, steps)


def on_gpu(*events: dict[str, Any], steps: int = 1, first: int = 0) -> Breakdown:
    return break_down(events_of(document(*events)), "cuda", first, steps)


def shares(breakdown: Breakdown) -> dict[str, float]:
    """Shares in hundredths, those that are not 0."""
    return {k: round(100 * share, 6) for k, share in breakdown.shares.items() if share}


# -- on the host -----------------------------------------------------------------------------------


def test_time_without_an_operator_is_idle() -> None:
    breakdown = on_cpu(step(0, 0, 100), operator("aten::mm", 10, 60), operator("aten::add", 80, 5))
    assert shares(breakdown) == {"gemm": 60, "elementwise": 5, "idle": 35}
    assert breakdown.busy_seconds == pytest.approx(65e-6)
    assert breakdown.step_seconds == pytest.approx((100e-6,))


def test_time_belongs_to_the_innermost_operator() -> None:
    breakdown = on_cpu(
        step(0, 0, 100),
        operator("aten::linear", 0, 50),
        operator("aten::addmm", 10, 30),
        operator("aten::copy_", 20, 10),
    )
    assert shares(breakdown) == {"gemm": 40, "copies": 10, "idle": 50}
    assert {use.name: round(use.seconds * 1e6) for use in breakdown.uses} == {
        "aten::linear": 20,
        "aten::addmm": 20,
        "aten::copy_": 10,
    }


def test_calls_of_operators_are_counted_and_the_outermost_are_launches() -> None:
    breakdown = on_cpu(
        step(0, 0, 100),
        operator("aten::linear", 0, 50),
        operator("aten::t", 1, 2),
        operator("aten::addmm", 10, 30),
        operator("aten::add", 60, 5),
    )
    assert (breakdown.kernels, breakdown.launches) == ((4,), (2,))


def test_what_runs_inside_attention_is_attention() -> None:
    breakdown = on_cpu(
        step(0, 0, 100),
        operator("aten::scaled_dot_product_attention", 0, 60),
        operator("aten::bmm", 10, 20),
        operator("aten::_softmax", 40, 10),
        operator("aten::mm", 70, 10),
    )
    assert shares(breakdown) == {"attention": 60, "gemm": 10, "idle": 30}


def test_wrappers_of_compiled_code_are_transparent() -> None:
    breakdown = on_cpu(
        step(0, 0, 100),
        operator("Torch-Compiled Region: 0/0", 0, 90),
        operator("graph_0_cpp_fused_add_mul_0", 20, 30),
    )
    assert shares(breakdown) == {"elementwise": 30, "idle": 70}


def test_nodes_of_a_graph_count_in_addition_to_operators_of_torch() -> None:
    breakdown = on_cpu(
        step(0, 0, 100),
        operator("aten::fill_", 0, 9.7),
        node("GroupQueryAttention", 9, 20),  # whole microseconds: it seems to begin too early
        node("MatMul", 29, 0),
        node("MatMul", 29, 40),
        operator("aten::argmax", 80, 10),
    )
    assert breakdown.kernels == breakdown.launches == (5,)
    assert shares(breakdown) == {
        "copies": 9,
        "attention": 20,
        "gemm": 40,
        "sampling": 10,
        "idle": 21,
    }


def test_other_threads_and_time_outside_steps_do_not_count() -> None:
    breakdown = on_cpu(
        operator("aten::mm", 0, 5),
        step(0, 10, 100),
        operator("aten::mm", 20, 10),
        operator("aten::mm", 20, 50, tid=43),
        operator("aten::mm", 120, 10),
    )
    assert shares(breakdown) == {"gemm": 10, "idle": 90}


def test_an_operator_that_outlasts_its_step_is_cut() -> None:
    breakdown = on_cpu(step(0, 0, 100), operator("aten::mm", 90, 50))
    assert shares(breakdown) == {"gemm": 10, "idle": 90}


def test_discarded_steps_do_not_count() -> None:
    breakdown = on_cpu(
        step(0, 0, 100), operator("aten::mm", 0, 100),
        step(1, 200, 100), operator("aten::mm", 210, 10),
        step(2, 400, 300), operator("aten::mm", 410, 50), operator("aten::add", 500, 40),
        first=1, steps=2,
    )  # fmt: skip
    assert shares(breakdown) == {"gemm": 15, "elementwise": 10, "idle": 75}
    assert breakdown.kernels == (1, 2)
    mm, add = breakdown.uses
    assert (mm.name, mm.calls) == ("aten::mm", 1)
    assert (mm.seconds, mm.share) == pytest.approx((30e-6, 0.15))
    assert (add.name, add.calls) == ("aten::add", 0.5)
    assert add.seconds == pytest.approx(20e-6)


# -- on a GPU --------------------------------------------------------------------------------------


def test_a_gpu_is_idle_while_no_kernel_runs() -> None:
    breakdown = on_gpu(
        step(0, 0, 100),
        operator("aten::mm", 0, 90),
        launch(1, 5), kernel("nvjet_tst_64x8_TNT", 20, 30, 1),
        launch(2, 9), kernel(ARGMAX, 50, 10, 2),
        event("cuda_runtime", "cudaMemcpyAsync", 15, 2, args={"correlation": 3}),
        kernel("Memcpy DtoH (Device -> Pinned)", 62, 3, 3, cat="gpu_memcpy"),
        event("cuda_runtime", "cudaStreamSynchronize", 18, 70, args={"correlation": 4}),
    )  # fmt: skip
    assert shares(breakdown) == {"gemm": 30, "sampling": 10, "copies": 3, "idle": 57}
    assert (breakdown.kernels, breakdown.launches) == ((3,), (2,))


def test_concurrent_kernels_share_their_time() -> None:
    breakdown = on_gpu(
        step(0, 0, 100),
        launch(1, 1), kernel("nvjet", 10, 40, 1),
        launch(2, 2), kernel("triton_poi_fused_add_0", 30, 40, 2, stream=13),
    )  # fmt: skip
    assert shares(breakdown) == {"gemm": 30, "elementwise": 30, "idle": 40}
    assert breakdown.busy_seconds == pytest.approx(60e-6)


def test_the_replay_of_a_graph_is_one_launch() -> None:
    replayed = [kernel("nvjet", 10 + 10 * number, 5, 1) for number in range(6)]
    breakdown = on_gpu(step(0, 0, 100), launch(1, 5, "cudaGraphLaunch"), *replayed)
    assert (breakdown.kernels, breakdown.launches) == ((6,), (1,))
    assert shares(breakdown) == {"gemm": 30, "idle": 70}


def test_a_kernel_belongs_to_the_step_that_launched_it() -> None:
    breakdown = on_gpu(
        step(0, 0, 100), launch(1, 10), kernel("nvjet", 20, 20, 1),
        launch(2, 90), kernel("nvjet", 95, 15, 2),
        step(1, 100, 100), launch(3, 110), kernel("nvjet", 150, 10, 3),
        steps=2,
    )  # fmt: skip
    assert breakdown.kernels == (2, 1)
    assert shares(breakdown) == {"gemm": 17.5, "idle": 82.5}  # what ran in its own step


def test_a_kernel_without_a_recorded_launch_belongs_to_the_step_in_which_it_ran() -> None:
    breakdown = on_gpu(step(0, 0, 100), kernel("nvjet", 10, 20, 77))
    assert shares(breakdown) == {"gemm": 20, "idle": 80}


def test_a_kernel_that_attention_launched_is_attention() -> None:
    breakdown = on_gpu(
        step(0, 0, 100),
        operator("aten::_scaled_dot_product_attention_math", 0, 20),
        operator("aten::bmm", 2, 10),
        launch(1, 5), kernel("ampere_bf16_s16816gemm_bf16_64x64", 30, 10, 1),
        launch(2, 25), kernel("ampere_bf16_s16816gemm_bf16_64x64", 40, 10, 2),
    )  # fmt: skip
    assert shares(breakdown) == {"attention": 10, "gemm": 10, "idle": 80}


@pytest.mark.parametrize("take_apart", [on_cpu, on_gpu])
def test_steps_without_any_event_are_an_error(take_apart: Callable[..., Breakdown]) -> None:
    with pytest.raises(MeasurementError, match="recorded nothing"):
        take_apart(step(0, 0, 100))


# -- any trace -------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(-20, 320), st.integers(0, 90)), min_size=1, max_size=30)
NAMES = ("aten::mm", "aten::add", "aten::view", "aten::argmax", "aten::_softmax", "MatMul")


def sums_to_the_step(breakdown: Breakdown) -> bool:
    """Shares are none below 0 and make 1 together; busy and idle time make the step."""
    total = sum(breakdown.step_seconds) / len(breakdown.step_seconds)
    idle = breakdown.shares["idle"] * total
    return (
        all(share >= 0 for share in breakdown.shares.values())
        and sum(breakdown.shares.values()) == pytest.approx(1)
        and breakdown.busy_seconds + idle == pytest.approx(total)
        and sum(use.share for use in breakdown.uses) + breakdown.shares["idle"] == pytest.approx(1)
    )


STEPS = (step(0, 0, 100), step(1, 100, 120), step(2, 250, 60))


@given(SPANS)
def test_the_shares_of_any_operators_sum_to_the_step(spans: list[tuple[int, int]]) -> None:
    named = [operator(NAMES[at % 6], at, length) for at, length in spans]
    breakdown = on_cpu(*STEPS, *named, operator("aten::mm", 10, 5), steps=3)
    assert sums_to_the_step(breakdown)


@given(SPANS, st.integers(1, 3))
def test_the_shares_of_any_kernels_sum_to_the_step(
    spans: list[tuple[int, int]], streams: int
) -> None:
    launched = [
        launched_event
        for number, (at, length) in enumerate(spans)
        for launched_event in (
            launch(number, at - 3),
            kernel(NAMES[at % 6], at, length, number, stream=number % streams),
        )
    ]
    breakdown = on_gpu(*STEPS, *launched, launch(99, 5), kernel("nvjet", 10, 5, 99), steps=3)
    assert sums_to_the_step(breakdown)


@given(SPANS)
def test_a_gpu_is_busy_while_any_kernel_runs(spans: list[tuple[int, int]]) -> None:
    kernels = [kernel("nvjet", at, length, -1 - n) for n, (at, length) in enumerate(spans)]
    always = kernel("nvjet", 0, 1, -100)
    breakdown = on_gpu(step(0, 0, 400), always, *kernels)
    within = [(at, at + length) for at, length in (*spans, (0, 1)) if at >= 0]
    moments = sum(any(low <= moment < high for low, high in within) for moment in range(400))
    assert breakdown.busy_seconds == pytest.approx(moments * 1e-6)

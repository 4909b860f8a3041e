"""Rules of the backends that run a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llmbench.backends.base import LoadShape
from llmbench.backends.local import cache_length, prefill_tokens_of, shared_totals, threads_of
from llmbench.scenario.schema import EngineOptions

AUTO = EngineOptions()


@pytest.fixture(autouse=True)
def _no_number_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 5), (64, 64)])
def test_of_two_to_four_cores_one_stays_free(cores: int, threads: int) -> None:
    assert threads_of(AUTO, default=64, cores=cores) == threads


def test_of_more_cores_torchs_default_uses_one_thread_per_physical_core() -> None:
    assert threads_of(AUTO, default=16, cores=32) == 16


def test_a_number_in_the_scenario_is_used_as_it_is() -> None:
    assert threads_of(EngineOptions(threads=6), default=2, cores=2) == 6


def test_a_number_in_the_environment_has_precedence_over_auto(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # which is torch's default then
    assert threads_of(AUTO, default=2, cores=2) == 2


def test_the_ranks_of_a_divided_model_divide_the_cores() -> None:
    assert threads_of(AUTO, default=8, cores=16, ranks=4) == 4
    assert threads_of(AUTO, default=2, cores=2, ranks=4) == 1


def test_unset_threads_of_older_scenarios_are_auto() -> None:
    assert EngineOptions.model_validate({"threads": None}).threads == "auto"


class OneAtATime:
    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        return slot + len(prompt)

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        return [[slot] for slot in slots]


class Together(OneAtATime):
    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        return [self.prefill(*pair) for pair in zip(slots, prompts, strict=True)]

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        return sum(prompts)


CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_by_default_a_prefill_step_has_more_tokens_on_a_gpu() -> None:
    assert prefill_tokens_of(AUTO, Together(), CPU) == 64
    assert prefill_tokens_of(AUTO, Together(), GPU) == 512
    assert prefill_tokens_of(EngineOptions(prefill_tokens=100), Together(), CPU) == 100


def test_a_runner_without_batched_prefill_prefills_one_by_one_whatever_is_asked() -> None:
    assert prefill_tokens_of(EngineOptions(prefill_tokens=100), OneAtATime(), CPU) == 1


@pytest.mark.parametrize(
    ("slots", "budget", "totals"),
    [
        (4, 100, range(8, 37)),  # from two of the shortest to four of the longest
        (4, 20, range(8, 21)),
        (4, 1, range(0)),
        (1, 100, range(0)),
    ],
)
def test_prompts_that_share_a_step_are_as_long_as_slots_and_budget_allow(
    slots: int, budget: int, totals: range
) -> None:
    assert shared_totals(LoadShape((4, 7, 9), 12), slots, budget) == totals


@pytest.mark.parametrize(("longest", "context", "length"), [(65, 100, 100), (65, None, 128)])
def test_a_slot_holds_the_longest_sequence_within_a_known_context(
    longest: int, context: int | None, length: int
) -> None:
    model: Any = SimpleNamespace(context_length=context)
    assert cache_length(LoadShape((4,), longest), model) == length

"""Rules of the backends that run a model in this process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmbench.backends.base import LoadShape
from llmbench.backends.local import cache_length, threads_of
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


def test_unset_threads_of_older_scenarios_are_auto() -> None:
    assert EngineOptions.model_validate({"threads": None}).threads == "auto"


@pytest.mark.parametrize(("longest", "context", "length"), [(65, 100, 100), (65, None, 128)])
def test_a_slot_holds_the_longest_sequence_within_a_known_context(
    longest: int, context: int | None, length: int
) -> None:
    model: Any = SimpleNamespace(context_length=context)
    assert cache_length(LoadShape((4,), longest), model) == length

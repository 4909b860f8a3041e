"""The state of a server's prompt cache, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_servers import REQUESTS, SYNTHETIC, cache_server, measured

from llmbench.analysis.compare.judge import CasePair, Processes
from llmbench.report.conclusions import answer
from llmbench.report.results import Results
from llmbench.runs.run import Run

PROBES, BLOCK = 2, 16


@pytest.fixture
def server() -> Iterator[Any]:
    with cache_server() as serving:
        yield serving


def cached(run: Run) -> list[int | None]:
    return run.records["cached_tokens"].to_pylist()  # type: ignore[no-any-return]


def kinds(run: Run) -> set[str]:
    return {caveat.kind for caveat in run.caveats}


def test_two_names_of_one_server_have_equally_cold_caches(server: Any, tmp_path: Path) -> None:
    run_set = measured(server, tmp_path, {}, "ab", repeats=2)
    assert len(run_set.runs) == 4
    for run in run_set.runs:
        assert set(cached(run)) == {0}
        assert "unasked-cache-hits" not in kinds(run)


def test_cases_of_a_repeat_send_different_prompts_of_the_same_lengths(
    server: Any, tmp_path: Path
) -> None:
    lengths = {"kind": "synthetic", "prompt_tokens": {"uniform": [40, 160]}, "output_tokens": 3}
    run_set = measured(server, tmp_path, {}, "ab", workload=lengths)
    one, other = run_set.runs
    assert one.facts["schedule_sha256"] == other.facts["schedule_sha256"]
    first_requests = 2  # one to each case's server before the runs
    sent = [messages[0]["content"] for messages in server.log][first_requests:]
    texts = sent[PROBES : PROBES + REQUESTS] + sent[-REQUESTS:]
    assert len(sent) == 2 * (PROBES + REQUESTS)
    assert len({text[9:] for text in texts}) == 2 * REQUESTS  # beyond the salt


def test_a_run_that_is_repeated_finds_nothing_in_the_cache(server: Any, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (run,) = measured(server, tmp_path / folder, {}).runs
        assert set(cached(run)) == {0}


def test_the_same_prompts_under_two_names_are_cached_and_support_no_claim(
    server: Any, tmp_path: Path
) -> None:
    run_set = measured(server, tmp_path, {"prompts": "same"}, "ab", repeats=2)
    doubted = [run for run in run_set.runs if "unasked-cache-hits" in kinds(run)]
    assert {run.repeat for run in doubted} == {1, 2}
    for run in doubted:
        assert min(count or 0 for count in cached(run)) >= 160 - BLOCK
    text = " ".join(answer(Results(run_set)))
    assert "in doubt: " in text
    assert "of the prompt tokens came from the server's prompt cache" in text


def test_an_emptied_cache_is_cold_for_the_same_prompts(server: Any, tmp_path: Path) -> None:
    cache = {"prompts": "same", "before": "reset", "reset": "/reset_prefix_cache"}
    for run in measured(server, tmp_path, cache, "ab").runs:
        assert set(cached(run)) == {0}
        assert not kinds(run) & {"unasked-cache-hits", "cache-unknown"}


def test_a_refused_reset_fails_the_run(tmp_path: Path) -> None:
    with cache_server(no_reset=True) as server:
        (run,) = measured(server, tmp_path, {"before": "reset", "reset": "vllm"}).runs
    assert run.failure
    assert "/reset_prefix_cache: HTTP 404" in run.failure.message
    assert "the prompt cache was not emptied" in run.failure.message


@pytest.mark.parametrize(("share", "warm"), [(0.5, 3), (1.0, 6)])
def test_a_share_of_the_prompts_is_in_the_cache_on_purpose(
    server: Any, tmp_path: Path, share: float, warm: int
) -> None:
    (run,) = measured(server, tmp_path, {"prime": share}).runs
    assert sum(bool(count) for count in cached(run)) == warm
    assert len(run.records) == REQUESTS
    assert not kinds(run) & {"unasked-cache-hits", "cache-unknown"}


def test_a_shared_prefix_is_still_shared_within_a_run_and_not_between_runs(
    server: Any, tmp_path: Path
) -> None:
    workload = {**SYNTHETIC, "shared_prefix": 0.5}
    load = {"kind": "closed", "concurrency": 1}
    for run in measured(server, tmp_path, {}, "ab", workload=workload, load=load).runs:
        first, *others = cached(run)
        assert first == 0
        assert min(count or 0 for count in others) >= 80 - BLOCK
        assert "unasked-cache-hits" not in kinds(run)


def test_repeated_texts_are_not_in_the_cache(server: Any, tmp_path: Path) -> None:
    workload = {"kind": "prompts", "task": "question-answering", "output_tokens": 2}
    (run,) = measured(server, tmp_path, {}, workload=workload, requests=80).runs
    assert len({*run.records["prompt_id"].to_pylist()}) < 80
    assert set(cached(run)) == {0}


def test_a_server_that_reports_no_cached_tokens_has_none(tmp_path: Path) -> None:
    with cache_server(silent=True) as server:
        unique = measured(server, tmp_path / "unique", {}).runs[0]
        same = measured(server, tmp_path / "same", {"prompts": "same"}).runs[0]
    assert set(cached(unique)) == {None}
    assert "cache-unknown" not in kinds(unique)
    assert "cache-unknown" in kinds(same)


def test_different_states_of_the_cache_are_not_comparable(server: Any, tmp_path: Path) -> None:
    one, other = (
        Processes.of(measured(server, tmp_path / str(prime), {"prime": prime}).runs)
        for prime in (0.0, 1.0)
    )
    reason = "prompt cache: unique prompts → unique prompts, 100 % primed"
    assert reason in CasePair(one, other).incomparable
    assert CasePair(one, one).incomparable == ""

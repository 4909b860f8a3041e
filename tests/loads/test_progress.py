"""Progress of a running load."""

from __future__ import annotations

import json

import pytest

from llmbench.loads.progress import NOTHING_YET, Progress, ProgressSample


def test_an_event_is_read_back() -> None:
    progress = Progress(3, 10, 1, 25, 2.5, [0.1], [0.01, 0.02])
    assert Progress.from_event(json.loads(json.dumps(progress.to_event()))) == progress


def test_an_event_of_another_version_may_have_fewer_or_more_fields() -> None:
    assert Progress.from_event({"completed": 3, "total": None, "new": 1}) == Progress(3, None)


def test_answers_are_counted_with_their_tokens() -> None:
    sample = ProgressSample()
    sample.add(1.0, 5, failed=False)
    sample.add(2.0, 0, failed=True)
    assert (sample.at, sample.output_tokens, sample.failed) == (2.0, 5, 1)


def test_a_latency_is_reported_once() -> None:
    sample = ProgressSample()
    sample.add_times(1.0, [1.25, 1.5])
    assert sample.take() == ([0.25], [0.25])
    assert sample.take() == ([], [])


def test_a_request_without_a_token_has_no_latency() -> None:
    sample = ProgressSample()
    sample.add_times(1.0, [])
    assert sample.take() == ([], [])


def test_only_the_latest_requests_are_sampled() -> None:
    sample = ProgressSample()
    for due in range(20):
        sample.add_times(due, [due + due / 100])
    assert sample.take()[0] == pytest.approx([due / 100 for due in range(12, 20)])


@pytest.mark.parametrize(
    ("chunks", "gaps"), [(1, []), (2, [1]), (5, [4, 3, 2, 1]), (21, [20, 15, 10, 5])]
)
def test_a_request_is_represented_by_a_few_gaps(chunks: int, gaps: list[int]) -> None:
    """The n-th gap of this request takes n seconds."""
    sample = ProgressSample()
    sample.add_times(0.0, [float(sum(range(n + 1))) for n in range(chunks)])
    assert sample.take()[1] == gaps


def test_reports_of_shards_are_added_up() -> None:
    sample = ProgressSample()
    first = Progress(2, None, 0, 10, 1.0, [0.1], [0.01])
    sample.merge(NOTHING_YET, first)
    sample.merge(NOTHING_YET, Progress(1, None, 1, 5, 1.5, [0.2], []))
    sample.merge(first, Progress(4, None, 1, 30, 2.0, [0.3], [0.02]))
    assert (sample.failed, sample.output_tokens, sample.at) == (2, 35, 2.0)
    assert sample.take() == ([0.1, 0.2, 0.3], [0.01, 0.02])

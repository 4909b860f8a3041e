"""Results without requests are values without intervals: stored, shown and compared as such."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from foreign_results import DATA, SUMMARIES, VLLM, VLLM_SUMMARY, changed, values
from hypothesis import given
from hypothesis import strategies as st

from llmbench import report
from llmbench.analysis import harness_validity
from llmbench.analysis.baseline_file import read_set, write
from llmbench.analysis.compare.comparison import compare
from llmbench.analysis.metrics import METRICS, across, summarize
from llmbench.errors import InputError
from llmbench.report.frames import RunSet as Frames
from llmbench.report.results import Results
from llmbench.report.sections import findings, overview
from llmbench.runs import imports, store
from llmbench.runs.imports.measured import latency, statistics, varying
from llmbench.runs.imports.run_set import import_results
from llmbench.runs.run_set import RunSet


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """One file of every tool that has no requests."""
    return import_results(SUMMARIES, tmp_path_factory.mktemp("kept") / "old")


@pytest.mark.parametrize("path", SUMMARIES, ids=lambda path: path.name)
def test_every_value_is_a_metric(path: Path) -> None:
    for load in imports.read_results(path):
        assert values(load).keys() <= METRICS.keys()
        assert load.records == ()


def test_values_are_read_again_as_they_were_stored(kept: RunSet) -> None:
    expected = [load.summary for path in SUMMARIES for load in imports.read_results(path)]
    assert [run.summary for run in kept.runs] == [one and one.values for one in expected]
    assert store.read(kept.folder) == kept


def test_no_value_has_an_interval(kept: RunSet) -> None:
    for run in kept.runs:
        for estimate in across([run]).values():
            assert estimate.low is None
            assert estimate.value is None or estimate.reason


def test_a_missing_value_names_the_tool(kept: RunSet) -> None:
    value = summarize(kept.runs[0])["ttft_p90"]
    assert (value.value, value.reason) == (None, "missing in the summary of vllm bench serve")


def test_every_run_has_a_caveat_with_how_to_store_requests(kept: RunSet) -> None:
    for run in kept.runs:
        (caveat,) = (caveat for caveat in run.caveats if caveat.kind == "imported-summary")
        assert "stored no requests: its values have no intervals" in caveat.message
        assert caveat.remedy.endswith(".")
    kinds = [finding.caveat.kind for finding in findings.find(Results(kept))]
    assert "few-repeats" not in kinds


def test_the_table_has_the_values_and_marks_what_is_unknown(kept: RunSet) -> None:
    table = overview.headline(Results(kept))
    labels = [column.label for column in table.columns]
    rows = {row[0].text: dict(zip(labels, row, strict=True)) for row in table.rows}
    vllm = rows["vllm vllm-summary"]
    assert (vllm["requests"].text, vllm["failed"].text) == ("9", "2")
    assert vllm["TTFT p99"].text == "54.1 ms †"
    assert vllm["TTFT p99"].detail == ""
    benchy = rows["llama-benchy llama-benchy, load.concurrency=1"]
    assert benchy["requests"].is_missing
    assert benchy["failed"].is_missing


def test_the_samples_of_percentiles_are_those_of_the_summary(kept: RunSet) -> None:
    ladder = overview.ladder(Results(kept), "ttft")
    samples = {row[0].text: row[1] for row in ladder.rows}
    assert samples["vllm vllm-summary"].text == "7"
    assert "No samples: the requests are not stored." in overview.ladder(Results(kept), "itl").note


def test_report_terminal_and_exports_are_written(kept: RunSet, tmp_path: Path) -> None:
    report.write(kept, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "stored no requests" in page
    report.show(kept)
    frames = Frames(kept)
    assert frames.records.empty
    ttft = frames.summary.query("metric == 'ttft_p50' and case == 'vllm vllm-summary'").iloc[0]
    assert ttft["value"] > 0
    assert "an interval needs" in ttft["reason"]


def test_the_harness_is_unknown_or_judged_by_the_reported_lag(kept: RunSet) -> None:
    verdicts = {
        name: judged.verdict for name, judged in harness_validity.validity_by_case(kept).items()
    }
    assert set(verdicts.values()) == {"unknown"}


def test_a_load_that_was_sent_late_is_invalid(tmp_path: Path) -> None:
    def late(document: dict[str, dict[str, dict[str, float]]]) -> None:
        document["load_summary"]["schedule_delay"]["p99"] = 41.5

    path = changed(DATA / "inference-perf" / "stage_0_lifecycle_metrics.json", tmp_path, late)
    run_set = import_results([path], tmp_path / "old", "late")
    judged = harness_validity.validity_by_case(run_set)["late"]
    assert judged.verdict == "invalid"
    assert "it sent requests up to 41.5 s late (p99)" in judged.reasons


# -- comparisons -----------------------------------------------------------------------------------


def test_two_summaries_are_compared_without_a_verdict(tmp_path: Path) -> None:
    slower = changed(VLLM_SUMMARY, tmp_path, lambda it: it.update(median_ttft_ms=90.0))
    before = import_results([VLLM_SUMMARY], tmp_path / "before", "chat")
    after = import_results([slower], tmp_path / "after", "chat")
    (case,) = compare(before, after).cases
    verdict = case.verdicts["ttft_p50"]
    assert verdict.outcome == "inconclusive"
    assert verdict.change is not None
    assert verdict.change.ratio == pytest.approx(90.0 / 43.009371, rel=1e-3)
    assert verdict.repeats is None
    assert verdict.reason == (
        "the baseline is a summary by vllm bench serve and the candidate is a summary by vllm "
        "bench serve, whose values have no intervals"
    )
    report.show([compare(before, after)], side_by_side=True)


def test_a_summary_is_comparable_with_an_import_that_has_requests(tmp_path: Path) -> None:
    before = import_results([VLLM], tmp_path / "before", "chat")
    after = import_results([VLLM_SUMMARY], tmp_path / "after", "chat")
    (case,) = compare(before, after, {"itl_p50": 0.03}).cases
    verdict = case.verdicts["itl_p50"]
    assert verdict.change is not None
    assert verdict.change.ratio == pytest.approx(1.0, rel=1e-3)
    assert verdict.reason.startswith("the candidate is a summary by vllm bench serve")


def test_a_summary_stays_one_in_a_baseline_file(tmp_path: Path) -> None:
    before = import_results([VLLM_SUMMARY], tmp_path / "before", "chat")
    write(before, tmp_path / "chat.json")
    (run,) = read_set(tmp_path / "chat.json").runs
    assert run.is_imported_summary
    assert run.imported_from == "vllm bench serve"


# -- what a tool may write -------------------------------------------------------------------------

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.data())
def test_a_changed_value_anywhere_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from([path for path in SUMMARIES if path.suffix == ".json"]))
    document = json.loads(path.read_text("utf-8"))
    node = document
    while True:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(Json)
    copy = tmp_path_factory.mktemp("changed") / path.name
    copy.write_text(json.dumps(document), "utf-8")
    with suppress(InputError):
        for load in imports.read_results(copy):
            assert load.summary is None or all(n >= 0 for _, n in load.summary.values.values())


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_statistics_lie_within_their_sample(sample: list[float]) -> None:
    for value in statistics(sample).values():
        assert value is not None
        assert min(sample) <= value <= max(sample) or value == pytest.approx(sample[0])


def test_no_sample_has_no_statistics() -> None:
    assert statistics([]) == {}
    assert latency(("ttft",), {"p50": None, "p99": 0.0}, 3) == {}


def test_a_sweep_point_has_only_what_varies() -> None:
    settings = [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}]
    assert varying(settings) == [{"b": 2}, {"b": 3, "c": 4}]
    assert varying(settings[:1]) == [{}]

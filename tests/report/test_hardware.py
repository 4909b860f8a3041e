"""One scenario on several kinds of node: rows, verdicts, sentences, and the devices measured."""

from __future__ import annotations

import math

import pytest
from node_sets import COST, ENERGY, THROUGHPUT, Nodes, of

from llmbench.report import hardware
from llmbench.report.frames import RunSet, summary
from llmbench.report.hardware import Row
from llmbench.report.results import Results

SIX = (100.0, 101.0, 102.0, 99.5, 100.5, 101.5)
TWICE = tuple(2 * value for value in SIX)


def rows(*nodes: Nodes, **more: object) -> dict[tuple[str, str], Row]:
    found = hardware.rows(hardware.groups(Results(of(*nodes, **more))))  # type: ignore[arg-type]
    return {(row.metric, row.of.kind): row for row in found}


def sentences(*nodes: Nodes) -> list[str]:
    return hardware.sentences(Results(of(*nodes)))


def test_the_second_kind_is_a_ratio_to_the_first_with_its_interval() -> None:
    found = rows(Nodes("L4", {THROUGHPUT: SIX}), Nodes("H100", {THROUGHPUT: TWICE}))
    reference, other = found[THROUGHPUT, "L4"], found[THROUGHPUT, "H100"]
    assert reference.verdict is None
    assert other.estimate.value == pytest.approx(2 * (reference.estimate.value or math.nan))
    assert other.verdict is not None
    assert other.verdict.outcome == "improvement"
    assert other.verdict.change is not None
    assert other.verdict.change.ratio == pytest.approx(2.0)
    assert 1.9 < other.verdict.change.low < 2.0 < other.verdict.change.high < 2.1


def test_throughput_is_per_gpu() -> None:
    two = {"parallel": {"tensor": 2}}
    one, other = (Nodes(kind, {THROUGHPUT: SIX}, ["GPU-1"]) for kind in ("L4", "H100"))
    found = rows(one, other, **two)
    value = found[THROUGHPUT, "L4"].estimate.value
    assert value == pytest.approx(math.prod(SIX) ** (1 / 6) / 2)
    assert found[THROUGHPUT, "L4"].group.label(THROUGHPUT) == "output tokens/s per GPU"


def test_kinds_with_other_devices_are_compared_per_device() -> None:
    found = rows(Nodes("cpu", {THROUGHPUT: SIX}), Nodes("L4", {THROUGHPUT: SIX}, ["GPU-1"]))
    row = found[THROUGHPUT, "L4"]
    assert row.group.label(THROUGHPUT) == "output tokens/s per GPU or machine"


def test_a_cost_without_a_price_of_the_kind_has_its_reason() -> None:
    found = rows(Nodes("L4", {COST: SIX}), Nodes("H100", {THROUGHPUT: SIX}))
    assert found[COST, "H100"].estimate.value is None
    assert found[COST, "H100"].estimate.reason == "missing in the run's summary"
    verdict = found[COST, "H100"].verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.reason) == ("not comparable", "missing in the run's summary")


def energies(share: float) -> Row:
    """The second card needs this share of the energy of the first."""
    found = rows(
        Nodes("L4", {ENERGY: SIX}, ["GPU-1"]),
        Nodes("H100", {ENERGY: [share * value for value in SIX]}, ["GPU-2"]),
    )
    return found[ENERGY, "H100"]


def test_an_energy_within_ten_percent_of_another_card_is_not_called() -> None:
    verdict = energies(0.93).verdict
    assert verdict is not None
    assert verdict.outcome == "inconclusive"
    assert verdict.reason == "energy meters of two devices may disagree by 10 %"


def test_an_energy_that_is_a_third_less_is_called_across_cards() -> None:
    verdict = energies(0.66).verdict
    assert verdict is not None
    assert verdict.outcome == "improvement"


def test_energies_of_other_methods_are_not_compared() -> None:
    found = rows(Nodes("cpu", {ENERGY: SIX}), Nodes("L4", {ENERGY: SIX}, ["GPU-1"]))
    verdict = found[ENERGY, "L4"].verdict
    assert verdict is not None
    assert verdict.reason == (
        "energy was measured by nothing in the baseline and by nvml-counter in the candidate"
    )


def test_each_point_of_a_sweep_is_compared_at_that_point() -> None:
    nodes = Nodes("L4", {THROUGHPUT: SIX}), Nodes("H100", {THROUGHPUT: TWICE})
    points = [{"load.rate": 2}, {"load.rate": 4}]
    found = hardware.groups(Results(of(*nodes, points=points)))
    assert [group.name for group in found] == ["eager, load.rate=2", "eager, load.rate=4"]
    assert [[of_kind.kind for of_kind in group.kinds] for group in found] == [["L4", "H100"]] * 2


def test_one_kind_is_no_comparison() -> None:
    results = Results(of(Nodes("L4", {THROUGHPUT: SIX})))
    assert hardware.groups(results) == []
    assert hardware.sentences(results) == []
    assert hardware.as_json(results) is None


# -- the devices that were measured ----------------------------------------------------------------


def test_one_card_of_a_kind_says_nothing_of_how_cards_differ() -> None:
    *_, scope = sentences(
        Nodes("L4", {THROUGHPUT: SIX}, ["GPU-1", "GPU-2"]),
        Nodes("H100", {THROUGHPUT: SIX}, ["GPU-3"]),
    )
    assert scope == (
        "Measured: L4 2 GPUs on 2 nodes and H100 1 GPU on 1 node. Intervals are over processes. "
        "Only one device was measured of H100: differences between devices of one kind are not "
        "accounted for."
    )


def test_several_cards_show_their_largest_difference() -> None:
    apart = (1.0, 1.1) * 3
    *_, scope = sentences(
        Nodes("L4", {"tpot_p50": apart}, ["GPU-1", "GPU-2"]),
        Nodes("H100", {"tpot_p50": SIX}, ["GPU-3", "GPU-3", "GPU-4"]),
    )
    assert "L4 2 GPUs on 2 nodes and H100 2 GPUs on 2 nodes." in scope
    assert "(TPOT p50 differs by up to L4 10.0 % and H100 " in scope


def test_machines_without_gpus_are_counted_by_name() -> None:
    *_, scope = sentences(
        Nodes("old", {THROUGHPUT: SIX}, ["a", "b"]), Nodes("new", {THROUGHPUT: SIX}, ["c"])
    )
    assert scope.startswith("Measured: old 2 nodes and new 1 node.")


def test_devices_that_the_runs_do_not_record_are_said_to_be_unknown() -> None:
    *_, scope = sentences(Nodes("old", {THROUGHPUT: SIX}), Nodes("new", {THROUGHPUT: SIX}))
    assert scope == "The runs do not record on which devices they were measured."


# -- sentences and data ----------------------------------------------------------------------------


def test_energy_and_cost_are_sentences_with_their_ratios() -> None:
    cheaper = [0.75 * value for value in SIX]
    energy, cost, _ = sentences(
        Nodes("L4", {COST: SIX, ENERGY: SIX}, ["GPU-1"]),
        Nodes("H100", {COST: cheaper, ENERGY: [0.95 * value for value in SIX]}, ["GPU-2"]),
    )
    assert energy.startswith("Energy per output token: L4 101 J; H100 95.7 J (× 0.950, 0.9")
    assert energy.endswith("not called: energy meters of two devices may disagree by 10 %).")
    assert cost.startswith("Cost per 1M output tokens: L4 101; H100 75.6 (× 0.750, 0.7")
    assert "not called" not in cost


def test_the_data_have_a_row_per_metric_and_kind_with_reasons() -> None:
    stored = of(Nodes("L4", {THROUGHPUT: SIX}, ["GPU-1"]), Nodes("H100", {COST: SIX}, ["GPU-2"]))
    whole = summary(stored)["hardware"]
    assert [kind["gpus"] for kind in whole["kinds"]] == [1, 1]
    by_key = {(row["metric"], row["kind"]): row for row in whole["rows"]}
    assert by_key[THROUGHPUT, "L4"]["per"] == "GPU"
    assert by_key[THROUGHPUT, "H100"]["value"] is None
    assert by_key[THROUGHPUT, "H100"]["reason"] == "missing in the run's summary"
    assert by_key[THROUGHPUT, "H100"]["ratio"] is None
    assert len(RunSet(stored).hardware) == len(whole["rows"])


def test_too_few_processes_have_a_ratio_without_bounds() -> None:
    stored = of(Nodes("L4", {THROUGHPUT: SIX[:2]}), Nodes("H100", {THROUGHPUT: TWICE[:2]}))
    rows = summary(stored)["hardware"]["rows"]
    (row,) = [row for row in rows if (row["metric"], row["kind"]) == (THROUGHPUT, "H100")]
    assert row["ratio"] == pytest.approx(2.0)
    assert (row["ratio_low"], row["ratio_high"]) == (None, None)
    assert row["outcome"] == "not called"

"""Run sets side by side: figures, ratios, charts, machines and how many there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_sets import Nodes, of

from llmbench.report.charts import Chart
from llmbench.report.comparison.machines import machines
from llmbench.report.comparison.side_by_side import charts, figures, sides
from llmbench.report.table import Table
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case

SPEC = {"model": "builtin:tiny", "load": {"kind": "closed"}}
ONE_CARD = [{"name": "Card", "uuid": "GPU-1", "driver": "580.1", "power_limit_watts": 300.0}]
OTHER_CARD = [{**ONE_CARD[0], "uuid": "GPU-2"}]
CPU = {"cpu": {"model": "Example 9000", "usable_cores": 8}, "memory": {"total_bytes": 2**34}}

ENERGY = "energy_joules_per_output_token"


Values = dict[str, Sequence[float]]


def run_set(folder: str, cases: dict[str, Values], **more: Any) -> RunSet:
    """Return a run set with these values of metrics, one per process, each of 700 samples."""
    runs = [
        Run(
            Case(case, case, "fake", {}, more.get("spec", SPEC)), index + 1,
            "2026-01-01T00:00:00+00:00",
            summary={name: (values[index], 700) for name, values in metrics.items()},
            environment=more.get("environment", {}), facts=more.get("facts", {}),
            backend_report=more.get("backend_report", {}),
        )
        for case, metrics in cases.items()
        for index in range(len(next(iter(metrics.values()))))
    ]  # fmt: skip
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(Path(folder), "s", "", "2026-01-01T00:00:00+00:00", "", (), {}, plan, tuple(runs))


def ttft(*values: float) -> Values:
    return {"ttft_p50": values}


SLOW = ttft(0.100, 0.101, 0.102, 0.105)
FAST = ttft(0.050, 0.0505, 0.051, 0.0525)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_each_side_has_its_figure_and_candidates_their_ratio() -> None:
    compared = sides([run_set("a", {"x": SLOW}), run_set("b", {"x": FAST})])
    table = figures(compared)
    assert [column.label for column in table.columns] == [
        "case", "metric", "a", "b", "b ÷ baseline",
    ]  # fmt: skip
    assert texts(table) == [["x", "TTFT p50", "102 ms", "51.0 ms", "× 0.500"]]
    assert table.rows[0][1].detail == "lower is better"
    assert table.rows[0][4].detail == "0.476 – 0.525"


def test_several_candidates_are_all_compared_with_the_first() -> None:
    compared = sides([run_set(name, {"x": each}) for name, each in
                      (("a", SLOW), ("b", FAST), ("c", SLOW))])  # fmt: skip
    (row,) = texts(figures(compared))
    assert row == ["x", "TTFT p50", "102 ms", "51.0 ms", "× 0.500", "102 ms", "× 1.00"]


def test_too_few_processes_give_a_ratio_without_an_interval() -> None:
    few = ttft(0.1, 0.1, 0.1)
    ratio = figures(sides([run_set("a", {"x": few}), run_set("b", {"x": few})])).rows[0][4]
    assert (ratio.text, ratio.detail) == ("× 1.00", "no interval")


def test_a_case_that_a_side_lacks_is_missing_there() -> None:
    both, one = {"x": SLOW, "y": SLOW}, {"x": FAST, "z": FAST}
    table = figures(sides([run_set("a", both), run_set("b", one)]))
    assert texts(table)[1] == ["y", "TTFT p50", "102 ms", "—", "—"]
    assert table.rows[1][3].note == "this side has no such case"


def test_the_only_cases_of_two_sides_are_compared() -> None:
    table = figures(sides([run_set("a", {"eager": SLOW}), run_set("b", {"compiled": FAST})]))
    assert texts(table)[0][-1] == "× 0.500"


def test_other_scenarios_have_figures_and_no_ratio() -> None:
    other = run_set("b", {"x": FAST}, spec={**SPEC, "model": "other"})
    table = figures(sides([run_set("a", {"x": SLOW}), other]))
    assert texts(table)[0][3:] == ["51.0 ms", "—"]
    assert "No ratio for TTFT p50: the scenario differs (model" in table.note


def test_a_metric_that_no_side_has_has_no_row() -> None:
    table = figures(sides([run_set("a", {"x": SLOW}), run_set("b", {"x": SLOW})]))
    assert [row[1] for row in texts(table)] == ["TTFT p50"]


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["r/a", "r/b"], ["a", "b"]),
        (["n1/candidate", "n2/candidate"], ["n1/candidate", "n2/candidate"]),
        (["r/a", "r/a"], ["a", "a (2)"]),
    ],
)
def test_no_two_sides_have_one_name(folders: list[str], names: list[str]) -> None:
    assert [side.name for side in sides([run_set(f, {"x": SLOW}) for f in folders])] == names


# -- tokens per joule and per money - --------------------------------------------------------------


def test_a_price_gives_tokens_per_unit_of_currency() -> None:
    """At 0.5 per million tokens, one unit of currency buys two million."""
    cost: Values = {"cost_per_million_output_tokens": (0.5, 0.5, 0.5, 0.5)}
    dear: Values = {"cost_per_million_output_tokens": (1.0, 1.0, 1.0, 1.0)}
    table = figures(sides([run_set("a", {"x": cost}), run_set("b", {"x": dear})]))
    assert texts(table) == [
        ["x", "output tokens per unit of currency", "2,000,000", "1,000,000", "× 0.500"]
    ]


def metered(folder: str, joules: float, uuid: str, method: str = "nvml-counter") -> RunSet:
    """Make a run set whose energy was measured by a method on a device."""
    facts = {"energy": {"gpu0": {"method": method, "uuid": uuid}}}
    return run_set(folder, {"x": {ENERGY: (joules,) * 4}}, facts=facts)


def test_energy_gives_tokens_per_joule() -> None:
    table = figures(sides([metered("a", 0.25, "GPU-1"), metered("b", 0.5, "GPU-1")]))
    assert texts(table) == [["x", "output tokens per joule", "4.00", "2.00", "× 0.500"]]
    assert table.rows[0][4].detail == "0.500 – 0.500"


def test_ratios_of_energies_on_two_devices_state_the_gain_error() -> None:
    table = figures(sides([metered("a", 0.25, "GPU-1"), metered("b", 0.5, "GPU-2")]))
    assert table.rows[0][4].detail == "0.500 – 0.500, devices ± 10 %"
    assert "bounds the difference between two devices' readings" in table.note


def test_energies_measured_by_two_methods_have_no_ratio() -> None:
    table = figures(sides([metered("a", 0.25, "GPU-1"), metered("b", 0.5, "", "rapl")]))
    assert texts(table)[0][3:] == ["2.00", "—"]
    reason = "energy was measured by nvml-counter in the baseline and by rapl in the candidate"
    assert reason in table.note


def test_a_cost_of_zero_has_no_ratio() -> None:
    free = {**SLOW, "cost_per_million_output_tokens": (0.0, 0.0, 0.0, 0.0)}
    compared = sides([run_set("a", {"x": free}), run_set("b", {"x": free})])
    assert [row[1] for row in texts(figures(compared))] == ["TTFT p50"]


# -- charts ----------------------------------------------------------------------------------------


def drawn(chart: Chart) -> list[Any]:
    return [(bar.y[0], bar.x[0]) for bar in chart.figure.data if bar.type == "bar"]


def test_a_chart_has_one_bar_per_side_and_case() -> None:
    compared = sides([run_set("a", {"x": SLOW, "y": FAST}), run_set("b", {"x": FAST, "y": SLOW})])
    (chart,) = charts(compared)
    assert (chart.key, chart.title) == ("side-by-side-ttft_p50", "TTFT p50")
    assert drawn(chart) == [
        ("x, a", pytest.approx(0.102, rel=1e-3)),
        ("x, b", pytest.approx(0.051, rel=1e-3)),
        ("y, a", pytest.approx(0.051, rel=1e-3)),
        ("y, b", pytest.approx(0.102, rel=1e-3)),
    ]
    assert chart.caption.startswith("Lower is better.")


def test_sides_of_one_case_are_named_by_themselves() -> None:
    (chart,) = charts(sides([run_set("a", {"x": SLOW}), run_set("b", {"x": FAST})]))
    assert [name for name, _ in drawn(chart)] == ["a", "b"]


def test_bars_have_whiskers_and_a_circle_for_each_process() -> None:
    (chart,) = charts(sides([run_set("a", {"x": SLOW}), run_set("b", {"x": FAST})]))
    bar, dots = chart.figure.data[0], chart.figure.data[2]
    assert list(dots.x) == [0.100, 0.101, 0.102, 0.105]
    assert bar.error_x.array[0] > 0
    assert bar.error_x.arrayminus[0] > 0


def test_names_in_charts_are_no_markup() -> None:
    (chart,) = charts(sides([run_set("<b>a", {"x": SLOW}), run_set("b", {"x": FAST})]))
    assert drawn(chart)[0][0] == "&lt;b&gt;a"


# -- machines --------------------------------------------------------------------------------------


def of_machines(*environments: dict[str, Any], facts: Sequence[dict[str, Any]] = ()) -> Table:
    each_facts = [*facts, *({} for _ in environments[len(facts) :])]
    return machines(
        sides(
            [
                run_set(chr(ord("a") + n), {"x": SLOW}, environment=environment, facts=more)
                for n, (environment, more) in enumerate(zip(environments, each_facts, strict=True))
            ]
        )
    )


def test_machines_have_one_row_per_fact() -> None:
    other = {"cpu": {"model": "Example 9000", "usable_cores": 4}, "gpus": OTHER_CARD * 2}
    assert texts(of_machines(CPU, other)) == [
        ["CPU", "Example 9000", "Example 9000"],
        ["usable CPU cores", "8", "4"],
        ["memory", "16.0 GiB", "—"],
        ["GPU", "—", "2 × Card"],
        ["GPU driver", "—", "2 × 580.1"],
        ["GPU power limit", "—", "2 × 300 W"],
    ]


def test_a_fact_that_differs_is_marked() -> None:
    other = {**CPU, "cpu": {"model": "Other", "usable_cores": 8}}
    marked = [row[0].text for row in of_machines(CPU, other).rows if row[0].detail == "≠ differs"]
    assert marked == ["CPU"]


def test_a_commit_with_changes_says_so() -> None:
    git = {"git": {"commit": "0123456789abcdef", "dirty": True}}
    assert texts(of_machines(git, git)) == [
        ["commit of the working directory", *["0123456789 and changes"] * 2]
    ]


def test_ratios_of_different_hardware_hold_for_these_machines_only() -> None:
    note = of_machines(CPU, {"cpu": {"model": "Other"}}).note
    assert note.startswith("Different hardware: the ratios hold for these machines only.")


def test_equal_hardware_may_be_two_machines() -> None:
    assert of_machines(CPU, CPU).note.startswith("Same hardware on all sides.")


def test_cards_are_counted_by_their_ids() -> None:
    note = of_machines({**CPU, "gpus": ONE_CARD}, {**CPU, "gpus": OTHER_CARD}).note
    assert note.startswith("GPUs: a 1, b 1. Differences between two GPUs of one kind")


def test_the_same_cards_are_called_the_same() -> None:
    note = of_machines({**CPU, "gpus": ONE_CARD}, {**CPU, "gpus": ONE_CARD}).note
    assert note.startswith("GPUs: a 1, b 1, the same on all sides.")


def test_cards_that_the_run_could_not_use_do_not_count() -> None:
    """Of a machine with two cards, the collector watched the one that CUDA showed."""
    two = {**CPU, "gpus": [*ONE_CARD, *OTHER_CARD]}
    note = of_machines(two, two, facts=[{"gpus": ONE_CARD}, {"gpus": ONE_CARD}]).note
    assert note.startswith("GPUs: a 1, b 1, the same on all sides.")


def test_a_side_of_several_kinds_of_machines_is_named() -> None:
    mixed = run_set("a", {"x": SLOW}, environment=CPU)
    other = run_set("a", {"x": SLOW}, environment={"cpu": {"model": "Other"}})
    runs = (*mixed.runs[:2], *other.runs[2:])
    both = RunSet(Path("a"), "s", "", mixed.began_at, "", (), {}, mixed.plan, runs)
    note = machines(sides([both, mixed])).note
    assert note.startswith("a was measured on 2 kinds of hardware.")


def test_runs_without_a_record_of_their_machines_say_so() -> None:
    table = of_machines({}, {})
    assert (table.rows, table.note) == ((), "The runs did not record their machines.")


PEAKS = {
    "hardware": "Card", "device": "cuda", "precision": "bfloat16", "threads": None, "torch": "2.13",
    "bytes_per_second": 3.0e12, "flops_per_second": 7.0e14, "other_load_percent": 0.0,
    "measured_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def test_measured_peaks_are_shown() -> None:
    compared = sides(
        [
            run_set("a", {"x": SLOW}),
            run_set("b", {"x": SLOW}, backend_report={"device_peaks": PEAKS}),
        ]
    )
    assert texts(machines(compared)) == [
        ["memory bandwidth, measured", "—", "3.00 TB/s"],
        ["matrix products, measured", "—", "700 TFLOP/s in bfloat16"],
    ]


def test_each_kind_of_node_of_a_side_has_a_column() -> None:
    one = {"ttft_p50": SLOW["ttft_p50"]}
    fleet = of(Nodes("L4", one), Nodes("H100", one))
    table = machines(sides([fleet, replace(fleet, folder=Path("other"))]))
    assert [column.label for column in table.columns] == [
        "fact", "fleet, L4", "fleet, H100", "other, L4", "other, H100",
    ]  # fmt: skip
    assert texts(table)[0] == ["CPU", *["CPU of L4", "CPU of H100"] * 2]
    assert table.note.endswith(
        "Same kinds of hardware on all sides. Differences between two machines of one kind are not "
        "accounted for."
    )

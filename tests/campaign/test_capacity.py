"""The highest load that meets the objectives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.slo_attainment import Attainment
from llmbench.analysis.stats import percentile_interval
from llmbench.campaign.capacity import Capacity, search
from llmbench.cli import main
from llmbench.runs import store

Capture = pytest.CaptureFixture[str]


def searched(limit: float, start: float = 1, most: float = 1000, **more: Any) -> Capacity:
    """Search where exactly the loads up to a limit meet the objectives."""

    def measure(at: float) -> Attainment:
        return Attainment(at, "met" if at <= limit else "missed")

    return search(measure, start, most, more.pop("tolerance", 0.05), **more)


@given(st.floats(1, 900), st.floats(0.01, 0.5))
def test_the_limit_is_between_the_best_and_the_missed(limit: float, tolerance: float) -> None:
    capacity = searched(limit, tolerance=tolerance)
    assert capacity.best is not None
    assert capacity.missed is not None
    assert capacity.best <= limit < capacity.missed
    assert capacity.missed / capacity.best <= 1 + tolerance + 1e-12


def test_it_doubles_first_and_bisects_then() -> None:
    probes = [probe.at for probe in searched(5, tolerance=0.2).probes]
    assert probes[:4] == [1, 2, 4, 8]
    assert probes[4] == 5.657


def test_where_the_lowest_load_is_missed_there_is_no_best() -> None:
    assert (searched(0.5).best, searched(0.5).missed) == (None, 1)


def test_where_the_highest_load_is_met_none_is_missed() -> None:
    assert (searched(5000).best, searched(5000).missed) == (1000, None)


@given(st.integers(1, 60))
def test_whole_numbers_stay_whole(limit: int) -> None:
    capacity = searched(limit, most=64, tolerance=0.001, integer=True)
    assert all(probe.at == int(probe.at) for probe in capacity.probes)
    assert capacity.best == limit


def test_an_open_objective_counts_as_not_met() -> None:
    capacity = search(lambda at: Attainment(at, "met" if at < 3 else "open"), 1, 64, 0.5)
    assert capacity.best is not None
    assert capacity.best < 3


def test_the_interval_of_a_percentile_holds_it_95_times_in_100_or_more() -> None:
    rng = np.random.default_rng(0)
    true = -np.log(0.01)
    held = 0
    for _ in range(400):
        low, high = percentile_interval(rng.exponential(size=1000), 99)
        held += low <= true <= high
    assert 0.93 < held / 400 < 0.995  # order statistics are rounded outwards


def test_a_percentile_of_too_few_values_has_no_upper_end() -> None:
    assert percentile_interval([1.0, 2.0, 3.0], 99)[1] == float("inf")


# -- the command -----------------------------------------------------------------------------------

SERVER: dict[str, Any] = {  # 10 ms a request, one at a time: it keeps up with 100 a second
    "name": "peak",
    "model": "builtin:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 1},
    "load": {"kind": "constant", "rate": 1},
    "requests": 700,
    "engine": {"slots": 1},
    "backends": [{"kind": "fake", "prefill": 0.01}],
    "collect": [],
    "slo": {"ttft_p99": "30 ms"},
}


def scenario(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text(json.dumps({**SERVER, **changes}), "utf-8")
    return str(path)


@pytest.mark.slow
@pytest.mark.processes
def test_the_command_finds_the_capacity_of_a_server_of_known_speed_and_continues(
    tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    command = ["peak", scenario(tmp_path), "--from", "64", "--tolerance", "0.2", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["key"] == "load.rate"
    assert 83 < result["best"] <= 100 < result["missed"] < 120
    runs = len(store.read(out).runs)
    assert main([*command, "--resume", "--json"]) == 0  # nothing is measured again
    assert json.loads(capsys.readouterr().out)["best"] == result["best"]
    assert len(store.read(out).runs) == runs
    assert "peak" in Path(result["report"]).read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slo": {}}, "has no `slo`"),
        ({"requests": 100}, "set `requests` to 662 or more"),
        ({"backends": ["fake", "eager"]}, "one backend at a time"),
        ({"load": {"kind": "burst"}}, "no rate or concurrency"),
    ],
)
def test_a_scenario_that_cannot_be_searched_is_refused(
    tmp_path: Path, capsys: Capture, changes: dict[str, Any], message: str
) -> None:
    assert main(["peak", scenario(tmp_path, **changes), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--from", "0"], ["--tolerance", "0"], ["--resume"]])
def test_invalid_bounds_are_refused(tmp_path: Path, wrong: list[str]) -> None:
    assert main(["peak", scenario(tmp_path), *wrong]) == 2

"""The highest load that meets the objectives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.slo_attainment import Exceedance
from llmbench.campaign.capacity import MOST, Capacity, Probe, first_limit, search
from llmbench.cli import main
from llmbench.runs import store
from llmbench.scenario.rng import stream

Capture = pytest.CaptureFixture[str]
REQUESTS = 700


def probe(at: float, slow: int, key: str = "e2e_p99") -> Probe:
    return Probe(at, (Exceedance(key, 1.0, slow, REQUESTS),))


def step(limit: float) -> Callable[[float], Probe]:
    """A server that is slow for every request above a load, and for none below."""
    return lambda at: probe(at, 0 if at <= limit else REQUESTS)


def stepped(limit: float, start: float = 1, most: float = 1000, **more: Any) -> Capacity:
    return search(step(limit), start, most, more.pop("tolerance", 0.1), **more)


def queue(seed: int, capacity: float) -> Callable[[float], Probe]:
    """An M/M/1 server whose p99 is at its bound at this share of its speed."""
    rng, bound = stream(seed, "queue"), -np.log(0.01) / (1 - capacity)

    def measure(at: float) -> Probe:
        services = rng.exponential(1.0, REQUESTS + 100)
        walk = np.cumsum(np.append(0.0, services[:-1] - rng.exponential(1 / at, len(services) - 1)))
        times = walk - np.minimum.accumulate(walk) + services
        return probe(at, int((times[100:] > bound).sum()))

    return measure


@given(st.floats(1.2, 900))
def test_the_limit_of_a_step_is_in_a_narrow_interval(limit: float) -> None:
    capacity = stepped(limit)
    assert capacity.outcome == "found"
    assert capacity.low is not None
    assert capacity.high is not None
    assert capacity.low <= limit <= capacity.high <= 1.15 * capacity.low


def test_the_limit_of_a_queue_is_in_the_interval_and_the_estimate_is_unbiased() -> None:
    found = [search(queue(seed, 0.7), 0.1, 10, 0.1) for seed in range(40)]
    estimates = [capacity.estimate or np.nan for capacity in found]
    assert np.median(estimates) == pytest.approx(0.7, rel=0.05)
    held = [(c.low or 0) <= 0.7 <= (c.high or np.inf) for c in found]
    assert sum(held) >= 36
    assert sum((c.low or 0) <= 0.7 for c in found) >= 36
    assert sum(c.outcome == "found" for c in found) >= 36


def test_it_doubles_first_then_bisects_and_then_measures_pairs_around_the_estimate() -> None:
    loads = [one.at for one in stepped(5).probes]
    assert loads[:7] == [1, 2, 4, 8, 5.657, 4.757, 4.677]
    pairs = np.array(loads[6:]).reshape(-1, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs[0, 1] / pairs[0, 0] == pytest.approx(1.1 / 0.9, rel=0.02)


def test_a_search_ends_when_the_lower_bound_is_near_the_estimate() -> None:
    rough, fine = (search(queue(1, 0.5), 0.1, 10, tolerance) for tolerance in (0.2, 0.1))
    assert rough.estimate is not None
    assert rough.low is not None
    assert rough.low >= 0.8 * rough.estimate
    assert len(rough.probes) < len(fine.probes)


def test_loads_are_at_most_the_highest_allowed() -> None:
    assert max(one.at for one in stepped(11.8, most=12).probes) == 12


def test_if_the_lowest_load_is_missed_it_says_so() -> None:
    capacity = stepped(0.5)
    assert (capacity.outcome, capacity.low, len(capacity.probes)) == ("below", None, 1)


def test_if_the_highest_load_is_met_it_says_so() -> None:
    capacity = stepped(5000)
    assert (capacity.outcome, capacity.low, capacity.probes[-1].at) == ("above", None, 1000)


@given(st.integers(1, 60))
def test_whole_numbers_stay_whole(limit: int) -> None:
    capacity = stepped(limit, most=64, integer=True)
    assert all(one.at == int(one.at) for one in capacity.probes)
    assert capacity.low is not None
    assert capacity.low == int(capacity.low)
    assert 0.85 * limit - 1 <= capacity.low <= limit


def test_a_few_concurrent_requests_are_found_exactly() -> None:
    assert [stepped(limit, most=64, integer=True).low for limit in range(1, 8)] == [
        1, 2, 3, 4, 5, 6, 7,
    ]  # fmt: skip


def test_slow_requests_that_do_not_depend_on_the_load_leave_it_open() -> None:
    rng = stream(0, "slow")
    capacity = search(lambda at: probe(at, int(rng.poisson(7))), 1, 64, 0.1)
    assert capacity.low is None
    assert capacity.outcome in ("open", "above", "below")
    assert len(capacity.probes) <= MOST + 12


def test_a_harness_that_does_not_keep_up_is_no_limit_of_the_server() -> None:
    def measure(at: float) -> Probe:
        return probe(at, 0) if at < 40 else Probe(at, (), ("lag",))

    capacity = search(measure, 1, 1000, 0.1)
    assert (capacity.outcome, capacity.low) == ("harness", None)


def runs_of(*slow: tuple[int, int]) -> list[Probe]:
    """Runs at loads 8, 9, ... with the slow requests of two objectives."""
    keys = ("ttft_p99", "e2e_p99")
    return [
        Probe(at, tuple(Exceedance(key, 1.0, n, 1000) for key, n in zip(keys, pair, strict=True)))
        for at, pair in enumerate(slow, start=8)
    ]


def test_the_first_limit_is_the_objective_that_is_missed_at_the_lowest_load() -> None:
    limit = first_limit(runs_of((1, 5), (2, 11), (4, 19), (8, 41), (17, 79), (30, 160)))
    assert limit is not None
    assert limit.objective == "e2e_p99"
    assert 8.5 < limit.load.estimate < 9.5


def test_an_objective_that_is_far_from_missed_is_no_limit() -> None:
    limit = first_limit(runs_of((1, 0), (2, 0), (4, 0), (8, 0), (17, 0), (30, 0)))
    assert limit is not None
    assert limit.objective == "ttft_p99"


# -- the command -----------------------------------------------------------------------------------

SERVER: dict[str, Any] = {  # 10 ms a request, one at a time: it keeps up with 100 a second
    "name": "peak",
    "model": "builtin:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 1},
    "load": {"kind": "constant", "rate": 1},
    "requests": 700,
    "engine": {"slots": 1},
    "backends": [{"kind": "fake", "prefill": "10 ms"}],
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
    command = ["peak", scenario(tmp_path), "--from", "64", "--out", str(out)]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["key"] == "load.rate"
    assert 90 < result["low"] <= 100 <= result["high"] < 115
    runs = store.read(out).runs
    assert [run.repeat for run in runs] == list(range(1, len(runs) + 1))  # draws of their own
    assert main([*command, "--resume", "--json"]) == 0  # nothing is measured again
    assert json.loads(capsys.readouterr().out) == result
    assert len(store.read(out).runs) == len(runs)
    assert "peak" in Path(result["report"]).read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slo": {}}, "has no `slo`"),
        ({"requests": 100}, "set `requests` to 662 or more"),
        ({"backends": ["fake", "eager"]}, "one backend at a time"),
        ({"load": {"kind": "burst"}}, "no rate or concurrency"),
        ({"seed_per_repeat": False}, "remove `seed_per_repeat: false`"),
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

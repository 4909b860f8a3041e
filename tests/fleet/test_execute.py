"""Runs on the nodes of a real cluster, in real worker processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llmbench.campaign import execute as here
from llmbench.campaign import plan
from llmbench.campaign.observer import Observer, SilentObserver
from llmbench.errors import InputError
from llmbench.fleet import placement, waiting
from llmbench.fleet.connect import Cluster, connected
from llmbench.fleet.execute import run_all
from llmbench.fleet.launcher import claimed
from llmbench.fleet.placement import Claim
from llmbench.runs import store
from llmbench.runs.run import CLOCK_ORIGIN, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: fleet
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: constant, rate: 50}
requests: 20
repeats: 2
collect: []
backends: [fake]
"""


class Watching(SilentObserver):
    """An observer of fleets and their nodes that notes what ended where."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []
        self.remarks: list[str] = []
        self.waits: list[str] = []
        self.has_waited = threading.Event()
        self.is_measuring = threading.Event()
        self.measuring_on = ""

    def on_node(self, name: str) -> Observer:
        return _OnNode(self, name)

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def waiting(self, messages: Sequence[str]) -> None:
        self.waits = list(messages)
        if messages:
            self.has_waited.set()


class _OnNode(SilentObserver):
    def __init__(self, fleet: Watching, node: str) -> None:
        self._fleet = fleet
        self._node = node

    def stage(self, text: str) -> None:
        if text == "measuring":
            self._fleet.measuring_on = self._node
            self._fleet.is_measuring.set()

    def ended(self, run: Run) -> None:
        self._fleet.ends.append((self._node, run.name))


@pytest.fixture(scope="module")
def cluster(cluster_address: str) -> Iterator[Cluster]:
    with connected(cluster_address) as cluster:
        yield cluster


def begin(folder: Path, cluster: Cluster | None, *overrides: str) -> RunSet:
    path = folder / "fleet.yaml"
    path.write_text(SCENARIO, "utf-8")
    source = scenario_file.load(path, overrides)
    if cluster:
        cases = placement.expanded(source.cases, cluster.nodes())
        number = len(list(folder.iterdir()))
        return plan.begin(replace(source, cases=cases), folder / f"results-{number}")
    return plan.begin(source, folder / "here")


def test_a_node_measures_the_same_records_as_a_run_without_ray(
    cluster: Cluster, tmp_path: Path
) -> None:
    on_node = run_all(
        begin(tmp_path, cluster, "repeats=1", "resources={gpu: 1}"), cluster, Watching()
    )
    locally = here.run_all(begin(tmp_path, None, "repeats=1"), SilentObserver())
    (there,), (run,) = on_node.runs, locally.runs
    assert there.failure is None
    assert there.facts["schedule_sha256"] == run.facts["schedule_sha256"]
    assert there.records == run.records
    assert there.environment["variables"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert there.facts["node"]["name"] == "cat"
    assert there.facts["node"]["resources"]["GPU"] == 2


def test_each_kind_of_node_measures_every_case(cluster: Cluster, tmp_path: Path) -> None:
    watching = Watching()
    run_set = run_all(begin(tmp_path, cluster, "nodes=each", "repeats=1"), cluster, watching)
    kinds = {run.name: run.facts["node"]["kind"] for run in run_set.runs}
    assert kinds == {"fake-node-H100-r1": "H100", "fake-node-small-r1": "small"}
    assert {run for node, run in watching.ends if node == "cat"} == {"fake-node-H100-r1"}


@pytest.mark.slow
def test_a_failed_run_has_its_node_and_its_log_tail(cluster: Cluster, tmp_path: Path) -> None:
    begun = begin(tmp_path, cluster, "repeats=1", "timeout=0.01 s")
    (run,) = run_all(begun, cluster, Watching()).runs
    assert run.failure is not None
    assert run.failure.kind == "timeout"
    assert run.facts["node"]["name"] in ("ant", "bee", "cat")


def test_resources_that_no_node_has_are_an_error_before_a_folder_is_made(
    cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"no node has CPU 1, accelerator B200. Nodes: ant \(small"
    ):
        begin(tmp_path, cluster, "resources.accelerator=B200")
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]


def test_each_without_a_fleet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="`each` needs a fleet: `run` or `check` with --ray ADDRESS"
    ):
        begin(tmp_path, None, "nodes=each")


def test_a_run_that_waits_for_other_users_of_ray_is_reported_until_it_begins(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.5)
    (cat,) = (node for node in cluster.nodes() if node.name == "cat")
    begun = begin(tmp_path, cluster, "repeats=1", "resources={gpu: 1}")
    watching = Watching()
    with ThreadPoolExecutor() as pool:
        with claimed(cat, Claim(1.0), None, lambda: False) as other:
            assert other.is_granted(lambda: True)
            running = pool.submit(run_all, begun, cluster, watching)
            assert watching.has_waited.wait(60)
            (message,) = watching.waits
        (run,) = running.result().runs
    assert message.startswith("fake, repeat 1 has waited since ")
    assert "for CPU 4, GPU 2 on cat, in use" in message
    assert run.failure is None
    assert watching.waits == []


@pytest.mark.slow
def test_two_fleets_at_once_never_measure_on_one_node(cluster: Cluster, tmp_path: Path) -> None:
    keys = ("resources.accelerator=H100", "backends=[{kind: fake, clock: real}]")
    begun = [begin(tmp_path, cluster, *keys) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda one: run_all(one, cluster, Watching()), begun))
    runs = [run for run_set in done for run in run_set.runs]
    assert [run.failure for run in runs] == [None] * 4
    spans = sorted(map(span_of, runs))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def span_of(run: Run) -> tuple[float, float]:
    """The Unix times of the origin of a run's clock, and of its last token."""
    origin: float = run.facts[CLOCK_ORIGIN]
    return origin, origin + max(max(times) for times in run.records["token_times"].to_pylist())


@pytest.mark.slow
def test_the_run_of_a_lost_node_is_measured_on_another(
    cluster: Cluster, ray_cluster: Any, tmp_path: Path
) -> None:
    keys = ("resources.custom={bone: 1}", "backends=[{kind: fake, clock: real}]", "repeats=1")
    dogs = {
        name: ray_cluster.add_node(node_name=name, num_cpus=1, resources={"bone": 1})
        for name in ("dog", "fox")
    }
    begun = begin(tmp_path, cluster, *keys, "load.rate=5", "requests=30")
    watching = Watching()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run_all, begun, cluster, watching)
        assert watching.is_measuring.wait(60)
        first = watching.measuring_on
        ray_cluster.remove_node(dogs.pop(first), allow_graceful=False)
        (run,) = running.result().runs
    (other,) = dogs
    ray_cluster.remove_node(dogs[other])
    assert run.failure is None
    assert run.facts["node"]["name"] == other
    assert watching.ends == [(other, run.name)]
    assert f"the node {first} was lost" in watching.remarks[0]


@pytest.mark.slow
def test_a_run_whose_last_node_is_lost_fails_and_resume_measures_it(
    cluster: Cluster, ray_cluster: Any, tmp_path: Path
) -> None:
    keys = ("resources.custom={bone: 1}", "backends=[{kind: fake, clock: real}]", "repeats=1")
    dog = {"node_name": "dog", "num_cpus": 1, "resources": {"bone": 1}}
    lost = ray_cluster.add_node(**dog)
    begun = begin(tmp_path, cluster, *keys, "load.rate=5", "requests=30")
    watching = Watching()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run_all, begun, cluster, watching)
        assert watching.is_measuring.wait(60)
        ray_cluster.remove_node(lost, allow_graceful=False)
        (run,) = running.result().runs
    assert run.failure is not None
    assert run.failure.kind == "lost-node"
    assert "no node has CPU 1, bone 1" in run.failure.message
    found = ray_cluster.add_node(**dog)
    (again,) = run_all(store.resume(begun.folder), cluster, Watching()).runs
    ray_cluster.remove_node(found)
    assert again.failure is None

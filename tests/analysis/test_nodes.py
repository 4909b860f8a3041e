"""The nodes and the cards that runs were measured on."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.analysis.metrics import summarize
from llmbench.analysis.nodes import gpus_of, kind_of, measured_on
from llmbench.runs.run import PlannedRun, Run
from llmbench.scenario.cases import Case

BEGAN = "2026-01-01T00:00:00+00:00"
COST = "cost_per_million_output_tokens"


def case(**point: Any) -> Case:
    return Case("eager", "eager", "eager", point, {})


def run(name: str | None = None, kind: str | None = None, price: Any = None, **more: Any) -> Run:
    node: dict[str, Any] = {"node": {"name": name, "kind": kind}} if name else {}
    spec = {} if price is None else {"price_per_hour": price}
    one = Case("eager", "eager", "eager", {}, spec)
    return Run(one, 1, BEGAN, facts={**node, **more.pop("facts", {})}, **more)


def test_a_run_is_of_the_kind_where_it_was_measured() -> None:
    assert kind_of(run("a", "H100")) == "H100"
    assert kind_of(PlannedRun(case(node="L4"), 1)) == "L4"
    assert kind_of(run()) is None


def test_machines_and_cards_are_counted_once() -> None:
    cards = {"gpus": [{"uuid": "GPU-1"}]}
    both = measured_on([run("a", "L4", facts=cards), run("a", "L4", facts=cards), run("b", "L4")])
    assert both.nodes == {"a", "b"}
    assert both.gpus == {"GPU-1"}
    assert not both.are_several
    assert measured_on([run("a", "cpu"), run("b", "cpu")]).are_several
    assert not measured_on([run(), run()]).nodes


def test_the_cards_that_a_run_used_count_and_not_all_of_its_node() -> None:
    every = {"gpus": [{"uuid": "GPU-1"}, {"uuid": "GPU-2"}, {"uuid": None}]}
    assert gpus_of(run(environment=every)) == {"GPU-1", "GPU-2"}
    assert gpus_of(run(environment=every, facts={"gpus": [{"uuid": "GPU-2"}]})) == {"GPU-2"}


def test_of_the_visible_cards_those_of_the_backend_count() -> None:
    visible = {"gpus": [{"uuid": f"GPU-{index}"} for index in range(4)]}
    second = run(facts=visible, backend_report={"effective": {"device": "cuda:1"}})
    replicas = run(facts=visible, backend_report={"effective": {"device": ["cuda:0", "cuda:3"]}})
    assert gpus_of(second) == {"GPU-1"}
    assert gpus_of(replicas) == {"GPU-0", "GPU-3"}
    assert len(gpus_of(run(facts=visible))) == 4


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (run("a", "H100", {"L4": 0.8}), "`price_per_hour` has no price of H100"),
        (run(price={"L4": 0.8}), "`price_per_hour` is by kind of node, and the run has no node"),
        (run("a", "L4"), "the scenario sets no `price_per_hour`"),
    ],
)
def test_the_cost_is_unknown_without_a_price_of_the_kind(measured: Run, reason: str) -> None:
    cost = summarize(measured)[COST]
    assert (cost.value, cost.reason) == (None, reason)

"""Cases are placed on nodes that have what they ask for."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_nodes import BIG, GIB, HEAD, SMALL, case
from pydantic import ValidationError

from llmbench.errors import InputError
from llmbench.fleet import placement
from llmbench.fleet.nodes import nodes_of
from llmbench.fleet.placement import Claim
from llmbench.scenario.resources import ResourcesOptions


@pytest.mark.parametrize(
    ("resources", "names"),
    [
        (None, ["ant", "cat"]),
        ({"cpu": 5}, ["cat"]),
        ({"gpu": 1}, ["cat"]),
        ({"gpu": 3}, []),
        ({"memory": "16 GiB"}, ["cat"]),
        ({"accelerator": "h100"}, ["cat"]),
        ({"accelerator": "A100"}, []),
        ({"custom": {"tape": 2}}, ["cat"]),
        ({"custom": {"tape": 3}}, []),
    ],
)
def test_a_node_holds_a_case_if_it_has_all_that_is_asked(
    resources: dict[str, Any] | None, names: list[str]
) -> None:
    holding = [n for n in (SMALL, BIG, HEAD) if placement.can_hold(n, case(resources))]
    assert [node.name for node in holding] == names


def test_a_run_claims_its_whole_node_whatever_it_asks_for() -> None:
    assert placement.claim_of(case({"cpu": 2, "gpu": 1}), BIG) == Claim(8.0, 2.0)
    assert placement.most_at_once(BIG, [case({"gpu": 1})]) == 1


def test_a_run_that_shares_claims_its_part_only() -> None:
    shared = case({"cpu": 3, "gpu": 1, "memory": "1 GiB", "share": True})
    assert placement.claim_of(shared, BIG) == Claim(3.0, 1.0, GIB)
    assert placement.most_at_once(BIG, [shared]) == 2


def test_a_run_sees_the_gpus_that_it_asks_for_or_all_of_its_node() -> None:
    assert placement.visible_gpus(case()) is None
    assert placement.visible_gpus(case({"gpu": 1})) == 1
    assert placement.visible_gpus(case({"cpu": 1, "share": True})) == 0


def test_sharing_needs_a_number_of_cpus() -> None:
    with pytest.raises(ValidationError, match="add `cpu: 4`"):
        ResourcesOptions(share=True)


@pytest.mark.parametrize("key", ["cpu", "gpu"])
def test_a_number_of_devices_is_a_whole_number(key: str) -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        ResourcesOptions.model_validate({key: True})


def test_a_case_that_no_node_can_hold_is_an_error_with_what_each_node_has() -> None:
    with pytest.raises(InputError) as error:
        placement.check([case({"gpu": 4, "accelerator": "B200"})], [SMALL, BIG])
    assert str(error.value) == (
        "resources: case fake: no node has CPU 1, GPU 4, accelerator B200. Nodes: "
        "ant (small, CPU 4, memory 8.00 GiB); "
        "cat (H100, CPU 8, GPU 2, memory 64.0 GiB, tape 2)"
    )


def test_each_makes_a_case_for_each_kind_of_node_that_can_hold_it() -> None:
    cases = placement.expanded([case(nodes="each")], [SMALL, BIG, HEAD])
    assert [(one.name, one.point) for one in cases] == [
        ("fake, node=H100", {"node": "H100"}),
        ("fake, node=small", {"node": "small"}),
    ]
    assert [placement.can_hold(BIG, one) for one in cases] == [True, False]
    (only,) = placement.expanded([case({"gpu": 1}, nodes="each")], [SMALL, BIG])
    assert only.point == {"node": "H100"}


def entry(node_id: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "NodeID": node_id,
        "NodeName": name,
        "NodeManagerAddress": "10.0.0.1",
        "NodeManagerHostname": "host",
        "Alive": True,
        "Resources": {"CPU": 2.0, "node:10.0.0.1": 1.0, "object_store_memory": 5.0},
        "Labels": {},
        **more,
    }


def test_a_kind_is_the_label_else_the_accelerator_else_the_cpu_model() -> None:
    gpus = {"CPU": 1.0, "GPU": 1.0, "accelerator_type:A100": 1.0}
    nodes = nodes_of(
        [
            entry("1", "a", Labels={"llmbench.io/kind": "spot"}, Resources=gpus),
            entry("2", "b", Resources=gpus),
            entry("3", "c"),
        ],
        {"1": "EPYC", "2": "EPYC", "3": "EPYC"},
    )
    assert [node.kind for node in nodes] == ["spot", "A100", "EPYC"]
    assert nodes[1].resources == {"CPU": 1.0, "GPU": 1.0}


def test_nodes_are_named_after_their_hosts_and_told_apart_by_their_ids() -> None:
    entries = [entry("abcdef12", "10.0.0.1"), entry("12345678", "10.0.0.1"), entry("9", "bee")]
    assert [node.name for node in nodes_of(entries, {})] == ["bee", "host-123456", "host-abcdef"]


def test_lost_nodes_are_left_out() -> None:
    assert nodes_of([entry("1", "a", Alive=False)], {}) == []

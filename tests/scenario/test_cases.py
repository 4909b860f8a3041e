"""Cases of a scenario."""

from __future__ import annotations

from typing import Any

from llmbench.scenario.cases import Case
from llmbench.scenario.rng import repeat_seed
from llmbench.scenario.schema import Scenario


def case(**changes: Any) -> Case:
    spec = {
        "name": "drawn",
        "model": "random:tiny",
        "workload": "synthetic",
        "load": "closed",
        "requests": 1,
        "backends": ["fake"],
    }
    return Case.of(Scenario.model_validate({**spec, **changes}), {})


def test_a_repeat_has_its_own_seed() -> None:
    assert case(seed=3).spec_of(2)["seed"] == repeat_seed(3, 2)
    assert case().spec_of(1)["seed"] == repeat_seed(0, 1)


def test_the_cases_of_a_repeat_share_its_seed() -> None:
    one, other = case(backends=["fake"]), case(backends=[{"kind": "fake", "name": "other"}])
    assert one.spec_of(4)["seed"] == other.spec_of(4)["seed"]


def test_all_repeats_can_share_one_seed() -> None:
    fixed = case(seed=3, seed_per_repeat=False)
    assert fixed.spec_of(1)["seed"] == fixed.spec_of(2)["seed"] == 3


def test_the_spec_of_a_repeat_can_be_read_by_every_version() -> None:
    assert "seed_per_repeat" not in case(seed_per_repeat=False).spec_of(1)
    assert "seed_per_repeat" not in case(seed_per_repeat=True).spec_of(1)

"""Rules that hold for every backend."""

from __future__ import annotations

import pytest

from llmbench.backends.base import LoadShape, not_effective
from llmbench.errors import InputError
from llmbench.runs.caveats import Caveat

SHAPE = LoadShape((4,), 12)


def test_a_setting_that_took_effect_has_no_caveat() -> None:
    requested = {"attention": "sdpa", "device": "auto", "provider": None}
    effective = {"attention": "sdpa", "device": "cpu", "provider": "cpu"}
    assert list(not_effective(requested, effective, {"attention": "an unused reason"})) == []


def test_a_setting_without_effect_has_a_caveat_with_the_known_reason() -> None:
    requested = {"attention": "sdpa", "dtype": "float16"}
    effective = {"attention": "eager", "dtype": "float32"}
    assert list(not_effective(requested, effective, {"attention": "it has no SDPA"})) == [
        Caveat(
            "fell-back",
            setting="attention",
            requested="sdpa",
            effective="eager",
            reason="it has no SDPA",
        ),
        Caveat("not-effective", setting="dtype", requested="float16", effective="float32"),
    ]


def test_a_request_beyond_the_context_is_refused_if_its_length_is_known() -> None:
    SHAPE.check(12)
    SHAPE.check(None)
    with pytest.raises(InputError, match=r"longest request has 12 tokens .* context holds 11"):
        SHAPE.check(11)

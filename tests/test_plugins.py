"""Parts are found by kind and name, and need their packages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from llmbench import plugins
from llmbench.backends.base import BACKENDS
from llmbench.collectors.base import COLLECTORS
from llmbench.errors import InputError, MissingExtraError
from llmbench.loads.schedule import LOADS, Scheduled
from llmbench.loads.stopping import Stop
from llmbench.workloads.base import WORKLOADS, Workload


def test_an_unknown_part_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'compiled'"):
        plugins.find("backend", "compild")


def test_a_copy_that_is_not_installed_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: [])
    plugins._entry_points.cache_clear()
    with pytest.raises(InputError, match=r"no backends are registered: .* pip install -e \."):
        plugins.names("backend")


def test_a_part_that_lacks_a_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine:
        needs: ClassVar = {"json": "basic", "no_such_module": "special"}

    monkeypatch.setattr(plugins, "find", lambda *_: Mine)
    with pytest.raises(MissingExtraError) as caught:
        BACKENDS.require("mine")
    assert str(caught.value) == (
        "backend 'mine' needs no_such_module; install it with: pip install 'llmbench[special]'"
    )


def test_a_part_that_needs_nothing_lacks_nothing() -> None:
    BACKENDS.require("eager")


def test_a_part_without_a_base_class_has_the_optional_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mine:
        """A load of somebody else."""

        def __init__(self, options: object) -> None:
            self.given = options

        def arrivals(self, stop: Stop, rng: object) -> Scheduled:  # noqa: ARG002
            return Scheduled(np.zeros(stop.total or 1))

    monkeypatch.setattr(plugins, "find", lambda *_: Mine)
    kind = LOADS.find("mine")
    load = kind("options")
    load.check()
    assert load.following(Workload(None)) is load
    assert (load.concurrency, load.needs, plugins.summary(kind)) == (
        None,
        {},
        "A load of somebody else.",
    )
    assert isinstance(load, Mine)
    assert load.given == "options"


@pytest.mark.parametrize(
    "kind", [BACKENDS, LOADS, WORKLOADS, COLLECTORS], ids=lambda kind: kind.name
)
def test_every_member_of_a_part_is_documented(kind: plugins.Kind[plugins.Part]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text("utf-8")
    members = [name for name in vars(kind.base) if not name.startswith("_")]
    assert [name for name in members if f"`{name}" not in page] == []

"""Parts are found by kind and name, and say what they lack."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llmbench import plugins
from llmbench.errors import InputError, MissingExtraError


def test_a_part_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'compiled'"):
        plugins.find("backend", "compild")


def test_a_part_that_lacks_a_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    part = SimpleNamespace(needs={"json": "basic", "no_such_module": "special"})
    monkeypatch.setattr(plugins, "find", lambda *_: part)
    with pytest.raises(MissingExtraError) as caught:
        plugins.require("backend", "mine")
    assert str(caught.value) == (
        "backend 'mine' needs no_such_module; install it with: pip install 'llmbench[special]'"
    )


def test_a_part_that_needs_nothing_lacks_nothing() -> None:
    plugins.require("backend", "eager")

"""A machine made of files, and a reader of its properties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmbench import environment
from llmbench.environment.probing import Reader

ReadAll = Callable[[dict[str, Callable[[], Any]]], tuple[dict[str, Any], dict[str, str]]]


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a file of a machine whose root is ``tmp_path``."""

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return environment.capture(tmp_path_factory.mktemp("not-a-repository"))


@pytest.fixture
def read_all() -> ReadAll:
    """Return the values of readers, and the reasons for missing ones."""

    def read(readers: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
        reader = Reader()
        return reader.read_all("it", readers), reader.reasons

    return read

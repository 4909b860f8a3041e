"""Files that are no results are refused with what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.errors import InputError
from llmbench.runs import imports


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        imports.read(path)
    return str(refused.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "found.json"
    path.write_text(text, "utf-8")
    return path


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory; check the path"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(path)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    assert "is empty; expected the result file of a load tool" in refusal(written(tmp_path, text))


def test_what_was_cut_off_is_refused(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, '{"benchmarks": [{'))
    assert "is no JSON" in told
    assert "cut off" in told


def test_a_line_that_was_cut_off_is_numbered(tmp_path: Path) -> None:
    path = written(tmp_path, '{"metadata": {}}\n{"meta')
    assert refusal(path).startswith(f"{path}:2: is no JSON")


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2}', "[1, 2]", "3", "null"])
def test_json_of_another_kind_is_refused_and_what_is_read_is_named(
    tmp_path: Path, text: str
) -> None:
    told = refusal(written(tmp_path, text))
    assert f"keys: {'a, b' if '{' in text else 'none'}" in told
    for tool in ("vllm bench serve", "guidellm", "aiperf"):
        assert tool in told

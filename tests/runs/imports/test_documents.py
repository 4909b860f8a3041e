"""Files that are not results are refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.errors import InputError
from llmbench.runs import imports


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    return str(refused.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "results.json"
    path.write_text(text, "utf-8")
    return path


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory; check the path"


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"\xff\x00")
    assert "not UTF-8" in refusal(path)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    assert "is empty; expected the result file of a load tool" in refusal(written(tmp_path, text))


def test_blank_lines_are_counted_but_ignored(tmp_path: Path) -> None:
    path = written(tmp_path, '{"metadata": {}, "metrics": {}}\n\n{"metadata": {}, "metrics": {}}')
    assert refusal(path).startswith(f"{path}:1: metadata: object missing")
    good = '{"metadata": {"request_start_ns": 1}, "metrics": {}}'
    path = written(tmp_path, f"{good}\n\n5")
    assert refusal(path).startswith(f"{path}:3: expected `object`, got `int`")


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    assert "not valid JSON: nested too deeply" in refusal(written(tmp_path, "[" * 100_000))


def test_truncated_json_is_refused(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, '{"benchmarks": [{'))
    assert "not valid JSON" in message
    assert "interrupted" in message


def test_a_truncated_line_is_refused_with_its_number(tmp_path: Path) -> None:
    path = written(tmp_path, '{"metadata": {}}\n{"meta')
    assert refusal(path).startswith(f"{path}:2: not valid JSON")


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2}', "[1, 2]", "3", "null"])
def test_other_json_is_refused_with_the_supported_tools(tmp_path: Path, text: str) -> None:
    message = refusal(written(tmp_path, text))
    assert f"keys: {'a, b' if '{' in text else 'none'}" in message
    for tool in ("vllm bench serve", "guidellm", "aiperf"):
        assert tool in message

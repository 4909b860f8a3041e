"""Exports are cached by content and made once, atomically."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import families
import pytest

from llmbench.backends.onnx import graphs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep graphs in a folder of the test's own."""
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    return tmp_path / "onnx"


class Exporter:
    """Writes a graph of two files and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: Path) -> None:
        self.times += 1
        path.write_text("graph")
        path.with_suffix(".data").write_text("weights")


def test_a_graph_is_made_once_and_then_cached(cache: Path) -> None:
    export = Exporter()
    first, second = graphs.cached("key", export), graphs.cached("key", export)
    assert first == second == cache / "key" / "model.onnx"
    assert export.times == 1


@pytest.mark.parametrize("file", ["model.onnx", "model.data", "manifest.json"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("{}")])
def test_a_damaged_graph_is_made_again(cache: Path, file: str, harm: Any) -> None:
    export = Exporter()
    graphs.cached("key", export)
    harm(cache / "key" / file)
    assert graphs.cached("key", export).read_text() == "graph"
    assert export.times == 2


def test_an_export_that_fails_leaves_nothing(cache: Path) -> None:
    def export(path: Path) -> None:
        path.write_text("half")
        raise ValueError("no such operator")

    with pytest.raises(ValueError, match="no such operator"):
        graphs.cached("key", export)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def slow_export(path: Path) -> None:
    with (path.parent.parent / "times").open("a") as times:
        times.write("x")
    time.sleep(0.3)
    path.write_text("graph")


def test_two_processes_that_want_a_graph_at_once_make_it_once(cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=graphs.cached, args=("key", slow_export)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert (cache / "times").read_text() == "x"


def test_the_key_depends_on_weights_configuration_and_options() -> None:
    model, same = families.build("llama"), families.build("llama")
    options = {"opset": 18}
    key = graphs.content_key(model, options)
    assert graphs.content_key(same, options) == key
    assert graphs.content_key(model, {"opset": 19}) != key
    model.config.rms_norm_eps *= 2
    assert graphs.content_key(model, options) != key
    same.get_output_embeddings().weight.data[0, 0] += 1.0
    assert graphs.content_key(same, options) != key

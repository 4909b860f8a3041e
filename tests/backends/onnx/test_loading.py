"""A scenario's model becomes an open session on the engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from llmbench.backends import OpenContext
from llmbench.backends.onnx import Onnx, exporting
from llmbench.errors import InputError
from llmbench.testing import dispatch, open_context, requests, serve

BYTES_A_TOKEN = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, size, float32


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenContext:
    """A tiny random model for prompts of four tokens, exports kept in the test's own folder."""
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    return open_context()


def test_it_exports_once_serves_and_reports_what_took_effect_and_what_it_cost(
    shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context()
    original = Onnx(Onnx.Options()).load(context).graph
    assert original.is_relative_to(shared_cache)
    exported = []

    def export(_: PreTrainedModel, path: Path) -> None:
        exported.append(path)
        shutil.copytree(original.parent, path.parent, dirs_exist_ok=True)

    monkeypatch.setattr(exporting, "export", export)
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    for _ in range(2):
        with Onnx(Onnx.Options()).open(context) as server:
            records = serve(server, dispatch(requests(4)))
        report = server.report()
        assert [len(record.token_times) for record in records] == [8] * 4
        assert report.effective["provider"] == "cpu"
        assert report.requested["provider"] == "auto"
        assert report.effective["attention"] == "GroupQueryAttention"
        assert report.cold_start["compile"] is not None
        assert report.memory["kv_cache"] == 2 * 64 * BYTES_A_TOKEN
        assert "not-effective" not in {caveat.kind for caveat in report.caveats}
    assert len(exported) == 1


def test_a_folder_that_exports_cannot_be_written_to_is_named(
    context: OpenContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    monkeypatch.setenv("LLMBENCH_CACHE", str(taken))
    with (
        pytest.raises(InputError, match=r"taken/onnx: .* set LLMBENCH_CACHE to another folder"),
        Onnx(Onnx.Options()).open(context),
    ):
        pass


def test_a_provider_that_is_not_there_is_refused_before_the_model_is_loaded() -> None:
    with (
        pytest.raises(InputError, match="'rocket' is not in the installed onnxruntime"),
        Onnx(Onnx.Options(provider="rocket")).open(open_context("./nowhere")),
    ):
        pass

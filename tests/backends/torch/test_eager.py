"""The eager backend: its self-check at load, and the models that it refuses because of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmbench.backends import BackendReport, OpenContext
from llmbench.backends.base import LoadShape
from llmbench.backends.torch.eager import Eager
from llmbench.engine import self_check
from llmbench.errors import InputError
from llmbench.runs.caveats import Caveat
from llmbench.scenario.schema import EngineOptions, ModelOptions
from llmbench.testing import dispatch, open_context, requests, serve

SHARED: dict[str, Any] = {
    "vocab_size": 256, "hidden_size": 64, "max_position_embeddings": 256,
    "initializer_range": 0.08, "tie_word_embeddings": False,
}  # fmt: skip
# attends to a window that it counts from the end of the keys, which the engine pads
GPT_NEO = {
    "model_type": "gpt_neo", "num_layers": 2, "num_heads": 4, "window_size": 16,
    "attention_types": [[["global", "local"], 1]],
}  # fmt: skip
LONGROPE = {
    "model_type": "phi3", "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "pad_token_id": 0,
    "original_max_position_embeddings": 32,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 1e4, "factor": 8.0,
        "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 32,
    },
}  # fmt: skip


def context_of(folder: Path, configuration: dict[str, Any], longest: int) -> OpenContext:
    """Return a context for a model with random weights, stored in a folder."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**SHARED, **configuration)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    model = ModelOptions(source=str(folder), device="cpu")
    return open_context(model, prompt_lengths=(4, 20), longest_sequence=longest)


def report_of(context: OpenContext, **options: Any) -> BackendReport:
    with Eager(Eager.Options(**options)).open(context) as server:
        serve(server, dispatch(requests(1)))
        return server.report()


def test_the_self_check_is_part_of_the_cold_start_and_of_the_report() -> None:
    report = report_of(open_context(longest_sequence=100))
    assert report.self_check == {"result": "equal", "requests": 6, "tokens": 50, "longest": 68}
    assert report.cold_start["self_check"] is not None
    assert not {"unchecked", "check-undecided"} & {caveat.kind for caveat in report.caveats}


def test_requests_that_wait_together_share_a_prefill_within_the_effective_budget() -> None:
    engine = EngineOptions(slots=4, prefill_tokens=12)
    with Eager(Eager.Options()).open(open_context(engine=engine)) as server:
        records = serve(server, dispatch(requests(4)))
        report = server.report()
    assert len({record.started for record in records[:3]}) == 1
    assert len({record.token_times[0] for record in records[:3]}) == 1
    assert (records[3].started or 0.0) >= records[0].token_times[0]
    assert report.effective["prefill_tokens"] == 12
    assert "fell-back" not in {caveat.kind for caveat in report.caveats}


def test_without_the_self_check_there_is_a_caveat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "check", pytest.fail)
    report = report_of(
        open_context(ModelOptions(source="random:tiny", device="cpu", self_check=False))
    )
    assert (report.self_check, report.cold_start["self_check"]) == ({}, None)
    assert report.reasons["self_check"] == "`model.self_check` is false"
    assert Caveat("unchecked") in report.caveats


def test_an_undecided_self_check_is_a_caveat(monkeypatch: pytest.MonkeyPatch) -> None:
    undecided = self_check.SelfCheck("undecided", 1, 2, 3)
    monkeypatch.setattr(self_check, "check", lambda *_, **__: undecided)
    assert Caveat("check-undecided") in report_of(open_context()).caveats


def test_a_model_that_takes_the_end_of_the_padded_keys_for_the_query_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=r"GPTNeoForCausalLM differs .*\(.*GPTNeoSelfAttention"):
        report_of(context_of(tmp_path, GPT_NEO, longest=100), attention="eager")


def test_factors_that_would_change_for_the_longest_request_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"longrope, .* beyond 32 tokens, but the longest request"):
        report_of(context_of(tmp_path, LONGROPE, longest=33))


def test_factors_of_short_requests_are_pinned_and_recorded(tmp_path: Path) -> None:
    report = report_of(context_of(tmp_path, LONGROPE, longest=32))
    assert report.effective["rope"] == "longrope: pinned to the factors for up to 32 tokens"
    assert report.self_check["result"] == "equal"


def test_longer_texts_are_not_scored_with_pinned_factors(tmp_path: Path) -> None:
    context = context_of(tmp_path, LONGROPE, longest=32)
    with (
        Eager(Eager.Options()).open(context) as server,
        pytest.raises(InputError, match="the model's context holds 32"),
    ):
        server.scorer(LoadShape((16,), 64))

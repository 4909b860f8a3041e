"""The speculative backend: the pairs of models that it accepts, and its report."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llmbench import models
from llmbench.backends import LoadShape
from llmbench.backends.torch.speculative import Speculative
from llmbench.engine.runner import TorchRunner
from llmbench.engine.speculative import Draft
from llmbench.errors import InputError
from llmbench.scenario.schema import ModelOptions, SamplingOptions
from llmbench.testing import dispatch, open_context, requests, serve

TINY = ModelOptions(source="builtin:tiny", device="cpu")
CONTEXT = open_context(TINY, longest_sequence=13)


def speculative(draft: str) -> Speculative:
    return Speculative(Speculative.Options(draft=draft, tokens=3))


def test_a_load_is_served_and_drafted_tokens_are_counted() -> None:
    with speculative("builtin:tiny").open(CONTEXT) as server:
        records = serve(server, dispatch(requests(3, tokens=9)))
    report = server.report()
    # the first token comes with the prefill, the other eight in two chunks of four
    assert [record.token_counts for record in records] == [(1, 4, 4)] * 3
    assert report.counters["drafted_tokens"] == report.counters["accepted_tokens"] == 18
    assert report.memory["weights"] == 2 * models.load_model(TINY).weight_bytes
    assert report.effective["draft"] == "builtin:tiny"


def test_its_logits_are_those_of_the_target_alone() -> None:
    backend = speculative("builtin:tiny")
    scorer = backend.scorer(CONTEXT, backend.load(CONTEXT), CONTEXT.load_shape)
    windows = torch.arange(12).view(1, 12)
    logits = [step.clone() for step in scorer.logits(windows, prompt=4)]
    with torch.inference_mode():
        expected = models.load_model(TINY).module(windows).logits[0, 3:-1]
    torch.testing.assert_close(torch.cat(logits), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ("random:tiny", "its vocabulary has .* tokens, the model's has 4096"),
        ("builtin:tinny", "no built-in model named 'tinny'; did you mean 'tiny'"),
    ],
)
def test_a_draft_that_does_not_match_the_model_is_refused(draft: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        speculative(draft).load(CONTEXT)


def test_a_draft_with_too_short_a_context_is_refused() -> None:
    long = replace(CONTEXT, load_shape=LoadShape((4,), longest_sequence=100_000))
    with pytest.raises(InputError, match=r"its context holds .* the longest request has 100000"):
        speculative("builtin:tiny").load(long)


def test_sampled_answers_are_refused() -> None:
    drawn = replace(CONTEXT, sampling=SamplingOptions(temperature=0.7))
    with pytest.raises(InputError, match=r"set `sampling.temperature` to 0"):
        speculative("builtin:tiny").load(drawn)


def test_both_models_are_checked_at_load() -> None:
    with speculative("builtin:tiny").open(open_context(TINY, longest_sequence=100)) as server:
        serve(server, dispatch(requests(1)))
    assert server.report().self_check == {
        "result": "equal", "requests": 12, "tokens": 100, "longest": 68,
    }  # fmt: skip


def test_a_draft_that_the_engine_runs_wrongly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(self: TorchRunner, positions: torch.Tensor, by: int | torch.Tensor) -> None:
        positions.add_(by + 1).clamp_(max=self._cache.max_length - 1)

    monkeypatch.setattr(Draft, "_advance", shifted)
    with (
        pytest.raises(InputError, match=r"^speculative\.draft: LlamaForCausalLM differs"),
        speculative("builtin:tiny").open(open_context(TINY, longest_sequence=100)),
    ):
        pass

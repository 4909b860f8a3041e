"""Tokenizers read without transformers, and with it: the ids must be the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import models as algorithms
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto import tokenization_auto

from llmbench import models
from llmbench.errors import InputError
from llmbench.models import tokenizer_files
from llmbench.models.source import BUILTIN
from llmbench.models.tokenizing import FileTokenizer, TrainedTokenizer, load
from llmbench.scenario.schema import ModelOptions

CORPUS = models.HELD_OUT.read_text("utf-8")[:30_000]
TEXTS = [
    "", " ", "A whale, the Whale!", "  two  spaces\n\n\tand tabs ", "naïve café 東京 🐳",
    "<s>Hello</s> [CLS] world<extra>more <pad>", "don't , stop . it ?", "x" * 300, CORPUS[:2000],
]  # fmt: skip
BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"


def trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator([CORPUS], trainer)
    return tokenizer


def byte_level() -> Tokenizer:
    """BPE on bytes with added tokens, as GPT-2 and Llama 3 have."""
    tokenizer = Tokenizer(algorithms.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = [BOS, EOS, PAD]
    trained(
        tokenizer,
        trainers.BpeTrainer(vocab_size=600, special_tokens=tokens, initial_alphabet=alphabet),
    )
    tokenizer.add_tokens([AddedToken("<extra>", normalized=False)])
    return tokenizer


def with_template() -> Tokenizer:
    """BPE whose post-processor adds tokens at both ends, as Llama's does."""
    tokenizer = byte_level()
    ends = [(BOS, tokenizer.token_to_id(BOS)), (EOS, tokenizer.token_to_id(EOS))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", pair=f"{BOS} $A {EOS} {BOS} $B {EOS}", special_tokens=ends
    )
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=8, pad_token=PAD, pad_id=2)
    return tokenizer


def unigram() -> Tokenizer:
    """Unigram with a prefix space, as SentencePiece models have."""
    tokenizer = Tokenizer(algorithms.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=[UNK, BOS, EOS, PAD], unk_token=UNK
    )
    return trained(tokenizer, trainer)


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(algorithms.WordPiece(unk_token=UNK))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return trained(
        tokenizer, trainers.WordPieceTrainer(vocab_size=400, special_tokens=[UNK, BOS, EOS, PAD])
    )


Change = Callable[[dict[str, Any]], None]
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a tokenizer as transformers does, with changes to its settings and the model's."""

    def save(tokenizer: Tokenizer, model: dict[str, Any] | None = None, **settings: Any) -> Path:
        names = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(tmp_path)
        path = tmp_path / tokenizer_files.TOKENIZER_CONFIG
        merged = {**json.loads(path.read_text()), **settings}
        path.write_text(json.dumps(merged))
        config = {"model_type": "llama", **(model or {})}
        (tmp_path / tokenizer_files.CONFIG).write_text(json.dumps(config))
        return tmp_path

    return save


def loaded(folder: Path) -> FileTokenizer | TrainedTokenizer:
    tokenizer = load(ModelOptions(source=str(folder)))
    assert isinstance(tokenizer, FileTokenizer | TrainedTokenizer)
    return tokenizer


def assert_as_transformers(tokenizer: Any, folder: Path) -> None:
    reference = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.vocab_size == len(reference)
    for text in TEXTS:
        ids = reference(text, verbose=False)["input_ids"]
        assert tokenizer.encode(text) == ids
        more = reference(text, add_special_tokens=False, verbose=False)["input_ids"]
        assert tokenizer.encode_more(text) == more
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True)
    every = list(range(len(reference)))
    assert tokenizer.decode(every) == reference.decode(every, skip_special_tokens=True)


TOKENIZERS = [byte_level, with_template, unigram, word_piece]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_a_plain_tokenizer_has_the_ids_of_transformers(
    make: Callable[[], Tokenizer], save: Save
) -> None:
    folder = save(make())
    tokenizer = loaded(folder)
    assert isinstance(tokenizer, FileTokenizer)
    assert_as_transformers(tokenizer, folder)


def test_the_built_in_tokenizer_has_the_ids_of_transformers() -> None:
    tokenizer = loaded(BUILTIN["tiny"])
    assert isinstance(tokenizer, FileTokenizer)
    assert_as_transformers(tokenizer, BUILTIN["tiny"])


INERT = [
    {"add_bos_token": True, "add_eos_token": True},
    {"add_bos_token": False},
    {"clean_up_tokenization_spaces": True},
    {"extra_special_tokens": [PAD]},
    {"pad_token": {"__type": "AddedToken", "content": PAD, "lstrip": False}},
    {"unk_token": None},
]


@pytest.mark.parametrize("make", [byte_level, with_template])
@pytest.mark.parametrize("settings", INERT, ids=str)
def test_settings_without_effect_leave_a_tokenizer_plain(
    make: Callable[[], Tokenizer], settings: dict[str, Any], save: Save
) -> None:
    folder = save(make(), **settings)
    tokenizer = loaded(folder)
    assert isinstance(tokenizer, FileTokenizer)
    assert_as_transformers(tokenizer, folder)


CHANGES = [
    {"tokenizer_class": "LlamaTokenizerFast"},
    {"tokenizer_class": None},
    {"bos_token": "<new>"},
    {"bos_token": "<extra>"},
    {"extra_special_tokens": ["<new>"]},
    {"extra_special_tokens": {"image_token": PAD}},
    {"image_token": "<new>"},
    {"split_special_tokens": True},
    {"add_prefix_space": True},
    {"legacy": False},
    {"added_tokens_decoder": {"0": {"content": BOS, "lstrip": True, "special": True}}},
]


@pytest.mark.parametrize("settings", CHANGES, ids=str)
def test_transformers_loads_what_its_settings_change(settings: dict[str, Any], save: Save) -> None:
    folder = save(byte_level(), **settings)
    tokenizer = loaded(folder)
    assert isinstance(tokenizer, TrainedTokenizer)
    assert_as_transformers(tokenizer, folder)


def test_transformers_cleans_up_spaces(save: Save) -> None:
    folder = save(word_piece(), clean_up_tokenization_spaces=True)
    tokenizer = loaded(folder)
    assert isinstance(tokenizer, TrainedTokenizer)
    assert tokenizer.decode(tokenizer.encode("a whale , a whale .")) == "a whale, a whale."


@pytest.mark.parametrize(
    "model", [{"model_type": "qwen2"}, {"model_type": "unknown"}, {"auto_map": {}}], ids=str
)
def test_transformers_loads_the_tokenizers_of_models_with_classes_of_their_own(
    model: dict[str, Any], save: Save
) -> None:
    assert isinstance(loaded(save(byte_level(), model)), TrainedTokenizer)


def test_a_file_with_more_tokens_is_left_to_transformers(save: Save) -> None:
    folder = save(byte_level())
    (folder / "added_tokens.json").write_text('{"<more>": 601}')
    tokenizer = loaded(folder)
    assert isinstance(tokenizer, TrainedTokenizer)
    assert_as_transformers(tokenizer, folder)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (f'{{"bos_token": "{BOS}"}}', FileTokenizer),
        ('{"bos_token": "<new>"}', TrainedTokenizer),
        ("{}", FileTokenizer),
        (f'{{"bos_token": {{"content": "{BOS}", "lstrip": false}}}}', FileTokenizer),
        ('{"image_token": "<new>"}', TrainedTokenizer),
    ],
)
def test_an_old_file_of_special_tokens_is_read(content: str, kind: type, save: Save) -> None:
    folder = save(byte_level())
    (folder / "special_tokens_map.json").write_text(content)
    tokenizer = loaded(folder)
    assert type(tokenizer) is kind
    assert_as_transformers(tokenizer, folder)


def test_a_damaged_file_is_an_error_of_transformers(save: Save) -> None:
    folder = save(byte_level())
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded"):
        loaded(folder)


def test_a_downloaded_tokenizer_is_read_without_transformers(
    save: Save, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("hub")
    revision = cache / "models--owner--name" / "snapshots" / ("0" * 40)
    revision.parent.mkdir(parents=True)
    save(byte_level()).rename(revision)
    refs = cache / "models--owner--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text(revision.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert isinstance(load(ModelOptions(source="owner/name")), FileTokenizer)


def test_the_rules_name_no_model_type_with_a_tokenizer_class_of_its_own() -> None:
    replaced = tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    assert {
        kind: tokenization_auto.TOKENIZER_MAPPING_NAMES.get(kind)
        for kind in tokenizer_files.MODEL_TYPES & replaced
    } == {}


def test_the_built_in_tokenizer_needs_neither_transformers_nor_torch() -> None:
    script = (
        "import sys; from llmbench import models\n"
        "from llmbench.scenario.schema import ModelOptions\n"
        "models.load_tokenizer(ModelOptions(source='served:model')).encode('a')\n"
        "print(sorted({'transformers', 'torch', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

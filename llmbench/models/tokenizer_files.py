"""Tokenizers that the `tokenizers` library reads from a model's files exactly as transformers does.

transformers takes seconds to import. It is needed where its classes build a tokenizer of their own
or where a file changes what tokenizer.json says. The rules hold for transformers 5.17 to 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, TOKENIZER_CONFIG, CONFIG = "tokenizer.json", "tokenizer_config.json", "config.json"
TOKENS_MAP = "special_tokens_map.json"
READ = (TOKENIZER, TOKENIZER_CONFIG, CONFIG, TOKENS_MAP)
OTHER_SOURCES = ("added_tokens.json", "tekken.json")  # which transformers reads as well
FILES = (*READ, *OTHER_SOURCES)

T = TypeVar("T")

# The class that takes tokenizer.json as it is, by its two names.
PLAIN_CLASSES = {"TokenizersBackend", "PreTrainedTokenizerFast"}
# Model types for which transformers uses the class that tokenizer_config.json names. For others, it
# may replace the class: qwen2, for example, always has Qwen2Tokenizer.
MODEL_TYPES = {
    "bloom", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "falcon", "gemma", "gemma2",
    "gemma3", "gemma3_text", "gpt2", "gpt_neox", "granite", "granitemoe", "llama", "llama4",
    "llama4_text", "mpt", "olmo", "olmo2", "olmo3", "opt", "phi", "qwen3", "qwen3_moe", "smollm3",
}  # fmt: skip
CLASS_OVERRIDES = {"auto_map", "model_name"}  # keys of config.json
NAMED_TOKENS = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
}  # fmt: skip
MORE_TOKENS = {"additional_special_tokens", "extra_special_tokens"}
CLEAN_UP, ADDED_TOKENS = "clean_up_tokenization_spaces", "added_tokens_decoder"
# Keys of tokenizer_config.json without effect on encoding and decoding. `add_bos_token` and
# `add_eos_token` have none with a tokenizer.json, whose post-processor decides.
WITHOUT_EFFECT = {
    "add_bos_token", "add_eos_token", "backend", "chat_template", "is_local", "local_files_only",
    "max_length", "model_input_names", "model_max_length", "name_or_path", "pad_to_multiple_of",
    "pad_token_type_id", "padding_side", "processor_class", "stride", "tokenizer_class",
    "truncation_side", "truncation_strategy",
}  # fmt: skip
UNDERSTOOD = WITHOUT_EFFECT | NAMED_TOKENS | MORE_TOKENS | {CLEAN_UP, ADDED_TOKENS}


class _AddedToken(msgspec.Struct, frozen=True):
    """An entry of ``added_tokens`` in tokenizer.json."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the token is special and matches exactly, as transformers would add it."""
        changes = self.single_word or self.lstrip or self.rstrip or self.normalized
        return self.special and not changes

    @property
    def attributes(self) -> dict[str, Any]:
        """The token as an entry of ``added_tokens_decoder``, which has the ids as keys."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if key != "id"}


class _Model(msgspec.Struct):
    type: str | None = None


class _TokenizerFile(msgspec.Struct):
    """The parts of tokenizer.json that the rules need; the vocabulary is skipped."""

    model: _Model
    added_tokens: list[_AddedToken] = []

    def has_all(self, settings: dict[str, Any]) -> bool:
        """Return whether all tokens of the settings are in this file, so that none is added."""
        known = [token.content for token in self.added_tokens if token.is_plain]
        own = {str(token.id): token.attributes for token in self.added_tokens}
        names_known = all(name in known for name in _names(settings))
        return names_known and settings.get(ADDED_TOKENS, own) == own


def read(folder: Path) -> Tokenizer | None:
    """Return the tokenizer in a folder, or None if only transformers knows what it does."""
    if not _is_plain(folder):
        return None
    from tokenizers import Tokenizer  # noqa: PLC0415 (not needed for random shapes)

    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _is_plain(folder: Path) -> bool:
    """Return whether tokenizer.json alone determines what transformers' tokenizer does."""
    if any((folder / name).exists() for name in OTHER_SOURCES):
        return False
    file = _decoded(folder / TOKENIZER, _TokenizerFile)
    settings, model = _object(folder / TOKENIZER_CONFIG), _object(folder / CONFIG)
    tokens = _object(folder / TOKENS_MAP) if (folder / TOKENS_MAP).exists() else {}
    if file is None or settings is None or model is None or tokens is None:
        return False
    has_plain_class = (
        settings.get("tokenizer_class") in PLAIN_CLASSES
        and model.get("model_type") in MODEL_TYPES
        and not CLASS_OVERRIDES & model.keys()
    )
    is_understood = settings.keys() <= UNDERSTOOD and tokens.keys() <= NAMED_TOKENS | MORE_TOKENS
    is_unchanged = not settings.get(CLEAN_UP) or file.model.type == "BPE"  # which ignores it
    adds_nothing = file.has_all(settings) and file.has_all(tokens)
    return has_plain_class and is_understood and is_unchanged and adds_nothing


def _names(settings: dict[str, Any]) -> Iterator[Any]:
    """Yield the texts of the special tokens that settings name; one of unknown form unchanged."""
    for key in NAMED_TOKENS & settings.keys():
        if settings[key] is not None:
            yield _content(settings[key])
    for key in MORE_TOKENS & settings.keys():
        listed = settings[key] or []
        yield from map(_content, listed) if isinstance(listed, list) else [listed]


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _decoded(path: Path, kind: type[T]) -> T | None:
    """Return the JSON of a file; None if it is absent or not as expected: transformers says why."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _object(path: Path) -> dict[str, Any] | None:
    return _decoded(path, dict[str, Any])

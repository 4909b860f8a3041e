"""Parsing of model sources, without loading anything."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from llmbench.errors import InputError
from llmbench.models.shapes import SHAPES
from llmbench.scenario.schema import ModelOptions

BUILTIN = {"tiny": Path(__file__).parent / "builtin" / "tiny"}
CONFIG = "config.json"
CONTEXT_KEYS = ("max_position_embeddings", "n_positions")
HEAD_KEYS = {
    "num_attention_heads": "attention heads",
    "n_head": "attention heads",
    "num_key_value_heads": "key-value heads",
}
HELD_OUT = BUILTIN["tiny"] / "heldout.txt"  # text outside builtin:tiny's training data


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The kind of a model source, and its path, hub id, shape name or served name."""

    kind: Literal["folder", "gguf", "hub", "random", "served"]
    where: str

    @property
    def pretrained(self) -> tuple[str, dict[str, str]]:
        """The name or path for ``from_pretrained``, and the keyword of a GGUF file."""
        if self.kind != "gguf":
            return self.where, {}
        path = Path(self.where)
        return str(path.parent), {"gguf_file": path.name}


def locate(source: str) -> ModelSource:
    """Parse a source such as ``builtin:tiny``, ``random:gpt2``, ``./folder`` or ``owner/name``.

    Raise InputError for an unknown name or a missing file.
    """
    kind, colon, name = source.partition(":")
    if colon and kind == "builtin":
        return ModelSource("folder", str(BUILTIN[_known(name, list(BUILTIN), "built-in model")]))
    if colon and kind == "random":
        return ModelSource("random", _known(name, list(SHAPES), "random shape"))
    if colon and kind == "served":
        return ModelSource("served", name)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        return ModelSource("gguf", _file(path))
    if path.is_dir() or source.startswith((".", "/", "~")) or path.is_file():
        return ModelSource("folder", _folder(path))
    return ModelSource("hub", _hub_id(source))


def _known(name: str, known: list[str], what: str) -> str:
    if name in known:
        return name
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"model: no {what} named {name!r}; {hint}known: {', '.join(known)}")


def _file(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"model: {path}: no such GGUF file; check the path")
    return str(path)


def _folder(path: Path) -> str:
    if not path.exists():
        raise InputError(f"model: {path}: no such folder; check the path")
    if not path.is_dir():
        raise InputError(f"model: {path}: is a file; expected a model folder or a .gguf file")
    if not (path / CONFIG).is_file():
        raise InputError(f"model: {path}: has no config.json; expected a transformers model folder")
    return str(path)


def _hub_id(source: str) -> str:
    if source.count("/") > 1 or any(letter.isspace() for letter in source):
        raise InputError(f"model: {source}: neither an existing folder nor a hub id (owner/name)")
    return source


def check_source(options: ModelOptions) -> None:
    """Raise InputError if a model source has an unknown name or a missing file; load nothing."""
    locate(options.source)


def context_length(options: ModelOptions) -> int | None:
    """Return a model's context length in tokens, if its configuration is on this machine.

    A configuration that does not state it, or that cannot be read, is None: loading the model says
    more.
    """
    config = _config(locate(options.source))
    text = config.get("text_config")  # of a model that also reads images
    lengths = ((text if isinstance(text, dict) else config).get(key) for key in CONTEXT_KEYS)
    return next((length for length in lengths if isinstance(length, int)), None)


def check_heads(options: ModelOptions, ranks: int) -> None:
    """Raise InputError if a number of ranks does not divide a model's heads, if they are known."""
    config = _config(locate(options.source))
    text = config.get("text_config")
    counts = text if isinstance(text, dict) else config
    heads = {name: number for key, name in HEAD_KEYS.items() if (number := counts.get(key))}
    if all(number % ranks == 0 for number in heads.values()):
        return
    found = " and ".join(f"{number} {name}" for name, number in heads.items())
    common = math.gcd(*heads.values())
    possible = [str(number) for number in range(2, common + 1) if common % number == 0]
    remedy = f"use {_either(possible)}" if possible else "remove `parallel`"
    raise InputError(
        f"parallel.tensor: {ranks} does not divide the {found} of {options.source}; {remedy}"
    )


def _either(words: list[str]) -> str:
    """Return ``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _config(source: ModelSource) -> dict[str, Any]:
    """Return the configuration of a random shape, a folder or a downloaded model, else nothing."""
    if source.kind == "random":
        return SHAPES[source.where].config
    try:
        path = _config_file(source)
        config = json.loads(path.read_text("utf-8")) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _config_file(source: ModelSource) -> Path | None:
    if source.kind == "folder":
        return Path(source.where) / CONFIG
    if source.kind != "hub":
        return None
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 (slow to import)

    path = try_to_load_from_cache(source.where, CONFIG)
    return Path(path) if isinstance(path, str) else None


def served_name(options: ModelOptions) -> str | None:
    """Return the name in a source such as ``served:llama-3``, or None for another source."""
    source = locate(options.source)
    return source.where or None if source.kind == "served" else None


def where(options: ModelOptions) -> str:
    """Return the path, hub id or served name in a model source, for starting a server."""
    return locate(options.source).where


def is_trained(options: ModelOptions) -> bool:
    """Return whether a model is trained; outputs of random weights are meaningless."""
    return locate(options.source).kind != "random"


def bundled() -> list[str]:
    """Return the model sources that need neither a download nor local files."""
    return [f"builtin:{name}" for name in BUILTIN] + [f"random:{shape}" for shape in SHAPES]


def describe(source: str) -> str:
    """Return a short description of a bundled model source."""
    kind, _, name = source.partition(":")
    if kind == "builtin":
        return "trained, 3M parameters, writes English"
    return f"random weights in the shape of {SHAPES[name].title}"


@contextmanager
def loading_errors(source: str) -> Iterator[None]:
    """Convert loading errors of transformers and the hub to an InputError with a remedy."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        text = repr(error) if isinstance(error, KeyError) else str(error)
        first = next((line for line in text.splitlines() if line.strip()), repr(error))
        raise InputError(
            f"model: {source}: cannot be loaded: {first.strip()} ({_remedy(error)})"
        ) from error


def _remedy(error: Exception) -> str:
    if isinstance(error, OSError):
        return "check the name, the network and HF_TOKEN for a hub id; the files for a folder"
    return (
        "see its config.json; it may need `trust_remote_code: true`, or a newer transformers than "
        f"{version('transformers')}"
    )

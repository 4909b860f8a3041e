"""Exported graphs, kept by the content of what they were made from.

A graph's folder is made under another name and renamed when it is whole, under a lock, so that
processes which want the same graph at once export it once and a killed export leaves nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from filelock import FileLock
from transformers import PreTrainedModel

from llmbench.runs.files import cache_folder

GRAPH = "model.onnx"
MANIFEST = "manifest.json"
WHERE_FROM = {"_name_or_path", "transformers_version"}


def folder() -> Path:
    """Say where graphs are kept: ``$LLMBENCH_CACHE/onnx``, or the user's cache folder."""
    return cache_folder("onnx")


def content_key(model: PreTrainedModel, options: dict[str, Any]) -> str:
    """Hash a model's configuration and weights with the options that shape its graph."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in WHERE_FROM}
    told = json.dumps([config, options], sort_keys=True, default=str)
    digest = hashlib.blake2b(told.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """Give the graph kept under a key; make it where it is missing or damaged.

    ``make`` gets the path to write the graph to, in a folder of its own.
    """
    kept = folder() / key
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not _is_whole(kept):
            shutil.rmtree(kept, ignore_errors=True)
            _make(kept, make)
    return kept / GRAPH


def _make(kept: Path, make: Callable[[Path], None]) -> None:
    making = Path(mkdtemp(prefix=f"{kept.name}.", dir=kept.parent))
    try:
        make(making / GRAPH)
        (making / MANIFEST).write_text(json.dumps(_digests(making)), "utf-8")
        making.rename(kept)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _is_whole(kept: Path) -> bool:
    try:
        told = json.loads((kept / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(told == _digests(kept))


def _digests(kept: Path) -> dict[str, str]:
    files = sorted(path for path in kept.iterdir() if path.name != MANIFEST)
    return {path.name: _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()

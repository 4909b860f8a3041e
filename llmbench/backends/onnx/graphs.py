"""A cache of exported graphs on disk, keyed by the models' configuration and weights.

A graph's folder is written under a temporary name and renamed when it is complete, under a lock, so
that concurrent processes export a graph only once and a killed export leaves nothing.
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
    """Return the folder of cached graphs, in ``$LLMBENCH_CACHE`` or the user's cache folder."""
    return cache_folder("onnx")


def content_key(model: PreTrainedModel, options: dict[str, Any]) -> str:
    """Return a hash of a model's configuration, its weights and the options of its export."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in WHERE_FROM}
    text = json.dumps([config, options], sort_keys=True, default=str)
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def cached(key: str, make: Callable[[Path], None]) -> Path:
    """Return the path of the graph cached under a key; create the graph if missing or damaged.

    ``make`` is called with the path of the graph to write, in a new folder.
    """
    entry = folder() / key
    entry.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(entry.with_suffix(".lock")):
        if not _is_complete(entry):
            shutil.rmtree(entry, ignore_errors=True)
            _make(entry, make)
    return entry / GRAPH


def _make(entry: Path, make: Callable[[Path], None]) -> None:
    partial = Path(mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
    try:
        make(partial / GRAPH)
        (partial / MANIFEST).write_text(json.dumps(_digests(partial)), "utf-8")
        partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_complete(entry: Path) -> bool:
    try:
        manifest = json.loads((entry / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(manifest == _digests(entry))


def _digests(entry: Path) -> dict[str, str]:
    files = sorted(path for path in entry.iterdir() if path.name != MANIFEST)
    return {path.name: _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()

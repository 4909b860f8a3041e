"""Say in plain words why a model could not be loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llmbench.errors import InputError


@contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn what transformers and the hub raise into one message that says what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise InputError(
            f"model: {source}: cannot be loaded: {first.strip()} (check the name, the network and "
            "HF_TOKEN for a hub id; the files for a folder)"
        ) from error

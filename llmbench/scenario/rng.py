"""Named random streams: adding one leaves the draws of all others as they were."""

from __future__ import annotations

from zlib import crc32

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Open the random stream of that name under a seed; the same two give the same draws."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(crc32(name.encode()),)))
    )

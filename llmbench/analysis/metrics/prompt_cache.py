"""What requests found in a prompt cache: that of a server, or the slots of llmbench's engine."""

from __future__ import annotations

import numpy as np

from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.values import Value, unavailable

KEYS = ("prompt_cache_hits", "prompt_cached_share", "prompt_cached_tokens")
UNREPORTED = "no response has a report of cached tokens"


def prompt_cache(arrays: RecordArrays) -> dict[str, Value]:
    """Return the hits of the prompt cache, of the measured requests that report cached tokens.

    prompt_cache_hits = requests with c > 0 / requests
    prompt_cached_share = Σ c / Σ p
    prompt_cached_tokens = Σ c

    where c are the cached and p all prompt tokens of a request. A prefill computes the other p − c.
    """
    cached = floats(arrays.measured["cached_tokens"])
    is_known = ~np.isnan(cached)
    if not is_known.any():
        return unavailable(KEYS, UNREPORTED)
    prompts, cached = floats(arrays.measured["prompt_tokens"])[is_known], cached[is_known]
    values = np.mean(cached > 0), cached.sum() / max(1.0, np.nansum(prompts)), cached.sum()
    return {key: Value(float(v), len(cached)) for key, v in zip(KEYS, values, strict=True)}

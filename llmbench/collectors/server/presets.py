"""The names that servers give to our quantities; docs/servers.md has their sources.

A source is written like a Prometheus selector, with an optional factor to our unit:
``nv_trt_llm_request_metrics{request_type="waiting"}``, ``nv_first_response_ms * 0.001``. Of several
sources of a quantity, the first that the server has is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

NAME_LENGTH = 200
SELECTOR = re.compile(
    r"\s*(?P<name>[a-zA-Z_:][\w:]*)\s*(?:\{(?P<labels>[^{}]*)\})?\s*(?:\*\s*(?P<scale>[\d.e+-]+))?\s*",
    re.ASCII,
)
LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"([^"]*)"\s*', re.ASCII)

Kind = Literal["gauge", "counter", "histogram", "gpu"]
QUANTITIES: dict[str, Kind] = {
    "running": "gauge",  # requests
    "waiting": "gauge",  # requests
    "kv_cache": "gauge",  # used part of the KV cache, 0 to 1
    "draft_acceptance": "gauge",  # 0 to 1, of a server without the counters of tokens
    "prefix_cache_queries": "counter",  # tokens that were looked up in the prefix cache
    "prefix_cache_hits": "counter",  # tokens that were found
    "preemptions": "counter",
    "draft_tokens": "counter",
    "accepted_tokens": "counter",  # draft tokens
    "ttft": "histogram",  # seconds, as are the following
    "queue_time": "histogram",
    "prefill_time": "histogram",
    "decode_time": "histogram",
    "gpu_power": "gpu",  # W, one series per GPU
    "gpu_energy": "gpu",  # J, one series per GPU
}
# Each engine has its own cache: of several label sets, the largest value counts. Others are summed.
MAXIMUM = ("kv_cache", "draft_acceptance")

Preset = Mapping[str, Sequence[str]]
PRESETS: dict[str, Preset] = {
    "vllm": {
        "running": ["vllm:num_requests_running"],
        "waiting": ["vllm:num_requests_waiting"],
        "kv_cache": ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        "prefix_cache_queries": ["vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"],
        "prefix_cache_hits": ["vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"],
        "preemptions": ["vllm:num_preemptions"],
        "draft_tokens": ["vllm:spec_decode_num_draft_tokens"],
        "accepted_tokens": ["vllm:spec_decode_num_accepted_tokens"],
        "ttft": ["vllm:time_to_first_token_seconds"],
        "queue_time": ["vllm:request_queue_time_seconds"],
        "prefill_time": ["vllm:request_prefill_time_seconds"],
        "decode_time": ["vllm:request_decode_time_seconds"],
    },
    "sglang": {
        "running": ["sglang:num_running_reqs"],
        "waiting": ["sglang:num_queue_reqs"],
        "kv_cache": ["sglang:token_usage"],
        "draft_acceptance": ["sglang:spec_accept_rate"],
        "prefix_cache_queries": ["sglang:prompt_tokens"],
        "prefix_cache_hits": ["sglang:cached_tokens"],
        "preemptions": ["sglang:num_retracted_requests"],
        "ttft": ["sglang:time_to_first_token_seconds"],
        "queue_time": ["sglang:queue_time_seconds"],
    },
    "llama.cpp": {
        "running": ["llamacpp:requests_processing"],
        "waiting": ["llamacpp:requests_deferred"],
        "kv_cache": ["llamacpp:kv_cache_usage_ratio"],
    },
    "tgi": {
        "running": ["tgi_batch_current_size"],
        "waiting": ["tgi_queue_size"],
        "queue_time": ["tgi_request_queue_duration"],
    },
    "triton": {
        "running": ['nv_trt_llm_request_metrics{request_type="scheduled"}'],
        "waiting": [
            'nv_trt_llm_request_metrics{request_type="waiting"}',
            "nv_inference_pending_request_count",
        ],
        "kv_cache": ['nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"}'],
        "ttft": ["nv_inference_first_response_histogram_ms * 0.001"],
        "gpu_power": ["nv_gpu_power_usage"],
        "gpu_energy": ["nv_energy_consumption"],
    },
    "dcgm": {
        "gpu_power": ["DCGM_FI_DEV_POWER_USAGE"],
        "gpu_energy": ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION * 0.001"],  # mJ
    },
}


@dataclass(frozen=True, slots=True)
class Source:
    """A metric of a server, the labels that its series must have, and the factor to our unit."""

    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0


Mapped = Mapping[str, Sequence[Source]]
Sources = dict[str, Sequence[Source]]


def parse_source(text: str) -> Source:
    """Return the source that a text describes; raises ValueError if it is not valid."""
    match = SELECTOR.fullmatch(text)
    if match is None or len(text) > NAME_LENGTH:
        raise ValueError(
            f'{text!r:.60} is not a metric; expected such as my_gauge{{pool="gpu"}} * 0.001'
        )
    labels = {}
    for part in filter(None, (match["labels"] or "").split(",")):
        label = LABEL.fullmatch(part)
        if label is None:
            raise ValueError(f'{part!r:.60} is not a label; expected such as pool="gpu"')
        labels[label[1]] = label[2]
    return Source(match["name"], labels, float(match["scale"] or 1.0))


def parse_preset(preset: Preset) -> Sources:
    """Return the sources of each quantity of a preset."""
    return {quantity: [*map(parse_source, texts)] for quantity, texts in preset.items()}

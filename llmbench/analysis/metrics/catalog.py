"""The metrics by key, with label, unit and direction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmbench.analysis import engine_time, server_metrics
from llmbench.analysis.metrics import under_load
from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.analysis.values import Scale

PERCENTILES = (50, 90, 95, 99)
STAGES = ("import", "load", "compile", "first_token", "steady", "self_check")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's key (``name``), label, unit, better direction, and percentile if it is one."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    percent: int | None = None

    @property
    def min_samples(self) -> int:
        """The minimum number of samples per process for a percentile; 0 for other metrics."""
        return min_samples_for_percentile(self.percent) if self.percent else 0

    @property
    def scale(self) -> Scale:
        """What values it can have, which decides how processes are summarized."""
        stem = self.name.rpartition("_")[0]
        scales = (scale for scale, names in SCALES.items() if {self.name, stem} & {*names})
        return next(scales, "positive")


LATENCIES = {
    "ttft": "TTFT",
    "service_ttft": "service TTFT",
    "content_ttft": "content TTFT",
    "queue_time": "queue time",
    "itl": "ITL",
    "tpot": "TPOT",
    "e2e": "E2E",
    "send_lag": "send lag",
}

# of whole jobs of agents
JOB_TIMES = {"job": "job time"}
TIMES = {**LATENCIES, **JOB_TIMES}
PATH_PARTS = ("tools", "queue", "prefill", "decode", "rest")  # of the critical path

# metrics and latencies by scale (values.RULES, docs/metrics.md); all others are positive
SCALES: dict[Scale, tuple[str, ...]] = {
    "nonnegative": (
        "goodput_requests_per_second", "queue_time", "send_lag", "drain_seconds",
        "abandoned_output_tokens", "prompt_cached_tokens", "jobs_per_hour", *engine_time.SHARES,
        *(f"job_path_{part}_seconds" for part in PATH_PARTS),
        *(f"cold_start_{stage}_seconds" for stage in STAGES),
        "kl_divergence", "logit_mse", "first_divergence", *under_load.FIRST_CHANGES,
        *(key for key in server_metrics.KEYS if key not in server_metrics.SHARES),
    ),
    "share": (
        "slo_attainment", "job_cached_share", "prompt_cache_hits", "prompt_cached_share",
        "top1_agreement", "exact_match", "draft_acceptance",
        "valid_answers", *under_load.SHARES, *server_metrics.SHARES,
    ),
    "count": (
        "failed_requests", "rejected_requests", "abandoned_requests", "preemptions", "failed_jobs",
    ),
}  # fmt: skip

OLD_KEY = re.compile(rf"({'|'.join(LATENCIES)})_seconds_(p\d+|mean)")


def metric_key(written: str) -> str:
    """Return a metric's key, also if spelled as in version 0.1.0 (``ttft_seconds_p50``)."""
    old = OLD_KEY.fullmatch(written)
    return f"{old[1]}_{old[2]}" if old else written


# allocator bytes and resident memory are separate metrics
PHASE_PEAKS = {
    "load_peak": "GPU allocator peak of load",
    "prefill_peak": "GPU allocator peak of prefill",
    "decode_peak": "GPU allocator peak of decode",
    "rss_load_peak": "process RSS peak of load",
    "rss_prefill_peak": "process RSS peak of prefill",
    "rss_decode_peak": "process RSS peak of decode",
}
REPORTED = ("weights", "kv_cache", "allocator_peak", *PHASE_PEAKS)

STEP: tuple[tuple[str, str, str, Literal["lower", "neither"]], ...] = (
    ("seconds", "time", "s", "lower"),
    ("bytes", "bytes", "B", "neither"),
    ("flops", "FLOPs", "FLOP", "neither"),
)


def _time_metrics(times: Mapping[str, str]) -> list[Metric]:
    statistics = [*((f"p{percent}", percent) for percent in PERCENTILES), ("mean", None)]
    return [
        Metric(f"{key}_{statistic}", f"{label} {statistic}", "s", "lower", percent)
        for key, label in times.items()
        for statistic, percent in statistics
    ]


def _job_metrics() -> list[Metric]:
    return [
        *_time_metrics(JOB_TIMES),
        Metric("jobs_per_hour", "jobs per hour", "jobs/h", "higher"),
        Metric("failed_jobs", "failed jobs", "jobs", "lower"),
        *(
            Metric(f"job_path_{part}_seconds", f"{part} on the critical path", "s", "lower")
            for part in PATH_PARTS
        ),
        Metric("job_cached_share", "cached prompt tokens of jobs", "share", "higher"),
    ]


def _step_metrics() -> list[Metric]:
    return [
        Metric(f"{phase}_step_{quantity}", f"{phase} step {label}", unit, better)
        for phase in ("decode", "prefill")
        for quantity, label, unit, better in STEP
    ]


def _engine_metrics() -> list[Metric]:
    return [
        *(
            Metric(f"engine_{activity}_share", f"engine time, {activity}", "share", "neither")
            for activity in engine_time.ACTIVITIES
        ),
        Metric(engine_time.BATCH, "sequences per decode step", "sequences", "neither"),
    ]


def _server_metrics() -> list[Metric]:
    """Return the metrics that a server reports; its latencies are interpolated in histograms."""
    latencies = [
        Metric(f"{key}_p{percent}", f"{label} p{percent}", "s", "lower")
        for key, (label, _) in server_metrics.LATENCIES.items()
        for percent in server_metrics.PERCENTILES
    ]
    return [
        *latencies,
        Metric("server_prefix_cache_hit_share", "prefix cache hits", "share", "higher"),
        Metric("server_draft_acceptance", "server draft acceptance", "share", "higher"),
        Metric("server_running_mean", "running requests", "mean requests", "neither"),
        Metric("server_waiting_mean", "waiting requests", "mean requests", "neither"),
        Metric("server_kv_cache_mean", "KV cache in use", "share", "neither"),
        Metric(server_metrics.PREEMPTIONS, "preemptions", "preemptions", "lower"),
    ]


def _fairness_metrics() -> list[Metric]:
    """Return Jain's indexes, from 1/n to 1, and the ratios of the worst to the best."""
    of_classes = [
        metric
        for key in ("ttft", "tpot")
        for metric in (
            Metric(f"class_fairness_{key}", f"fairness of {LATENCIES[key]} p50", "", "higher"),
            Metric(f"class_ratio_{key}", f"{LATENCIES[key]} p50, worst/best class", "", "lower"),
        )
    ]
    return [
        *of_classes,
        Metric("balance_fairness", "evenness of servers or replicas, tokens", "", "higher"),
        Metric("balance_max_mean", "busiest server or replica/mean, tokens", "", "lower"),
        Metric("balance_ratio_ttft", "TTFT p50, worst/best server or replica", "", "lower"),
    ]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        Metric("output_tokens_per_second", "output tokens/s", "tokens/s", "higher"),
        Metric("total_tokens_per_second", "total tokens/s", "tokens/s", "higher"),
        Metric("requests_per_second", "requests/s", "requests/s", "higher"),
        Metric("goodput_requests_per_second", "goodput", "requests/s", "higher"),
        Metric("slo_attainment", "SLO attainment", "share", "higher"),
        *_time_metrics(LATENCIES),
        Metric("failed_requests", "failed requests", "requests", "lower"),
        Metric("rejected_requests", "rejected requests", "requests", "lower"),
        Metric("abandoned_requests", "abandoned requests", "requests", "lower"),
        Metric("abandoned_output_tokens", "tokens of abandoned requests", "tokens", "neither"),
        Metric("preemptions", "preemptions", "preemptions", "neither"),
        Metric("prompt_cache_hits", "prompt cache hits", "share", "higher"),
        Metric("prompt_cached_share", "cached prompt tokens", "share", "higher"),
        Metric("prompt_cached_tokens", "prompt tokens saved", "tokens", "neither"),
        *_fairness_metrics(),
        Metric("steady_window_seconds", "steady window", "s", "neither"),
        Metric("makespan_seconds", "first due to last token", "s", "neither"),
        Metric("drain_seconds", "drain", "s", "neither"),
        Metric("cold_start_import_seconds", "import", "s", "lower"),
        Metric("cold_start_load_seconds", "load", "s", "lower"),
        Metric("cold_start_compile_seconds", "compile", "s", "lower"),
        Metric("cold_start_first_token_seconds", "first token", "s", "lower"),
        Metric("cold_start_steady_seconds", "until steady", "s", "lower"),
        Metric("cold_start_self_check_seconds", "self-check", "s", "lower"),
        Metric("memory_weights_bytes", "weights", "B", "lower"),
        Metric("memory_kv_cache_bytes", "KV cache", "B", "lower"),
        Metric("memory_kv_used_bytes", "KV cache used", "B", "neither"),
        Metric("memory_allocator_peak_bytes", "GPU allocator peak", "B", "lower"),
        *(Metric(f"memory_{key}_bytes", label, "B", "lower") for key, label in PHASE_PEAKS.items()),
        Metric("mbu", "MBU decode", "share", "higher"),
        Metric("mbu_datasheet", "MBU of the datasheet", "share", "higher"),
        Metric("mfu", "MFU prefill", "share", "higher"),
        Metric("mfu_datasheet", "MFU of the datasheet", "share", "higher"),
        *_step_metrics(),
        Metric("perplexity", "perplexity", "", "lower"),
        Metric("reference_perplexity", "perplexity of the reference", "", "neither"),
        Metric("perplexity_ratio", "perplexity ratio", "", "lower"),
        Metric("kl_divergence", "KL divergence", "nats/token", "lower"),
        Metric("top1_agreement", "top-1 agreement", "share", "higher"),
        Metric("logit_mse", "logit MSE", "", "lower"),
        Metric("exact_match", "exact match", "share", "higher"),
        Metric("first_divergence", "tokens before the first divergence", "tokens", "higher"),
        Metric("draft_acceptance", "draft acceptance", "share", "higher"),
        Metric("changed_under_load", "changed under load", "share", "lower"),
        Metric("changed_alone", "changed, sequential", "share", "lower"),
        Metric("first_change_tokens", "tokens before the first change", "tokens", "higher"),
        Metric(
            "first_change_characters", "characters before the first change", "characters", "higher"
        ),
        Metric("accuracy_under_load", "accuracy under load", "share", "higher"),
        Metric("accuracy_alone", "accuracy, sequential", "share", "higher"),
        Metric("valid_answers", "valid answers", "share", "higher"),
        Metric("constrained_ttft_ratio", "TTFT with / without constraint", "", "lower"),
        Metric("constrained_tpot_ratio", "TPOT with / without constraint", "", "lower"),
        Metric("constrained_e2e_ratio", "E2E with / without constraint", "", "lower"),
        Metric("cost_per_million_output_tokens", "cost per 1M output tokens", "currency", "lower"),
        Metric("energy_joules_per_output_token", "energy per output token", "J", "lower"),
        Metric("energy_joules_per_total_token", "energy per token", "J", "lower"),
        Metric("energy_joules_per_request", "energy per request", "J", "lower"),
        Metric("energy_power_watts", "mean power", "W", "neither"),
        Metric("energy_idle_watts", "idle power", "W", "neither"),
        Metric("energy_run_joules", "energy of the run", "J", "neither"),
        Metric(
            "energy_cost_per_million_output_tokens",
            "electricity per 1M output tokens",
            "currency",
            "lower",
        ),
        Metric("carbon_grams_per_million_output_tokens", "CO2 per 1M output tokens", "g", "lower"),
        *_engine_metrics(),
        *_server_metrics(),
        *_job_metrics(),
    ]
}

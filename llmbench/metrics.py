"""What a run's records and series amount to: pure functions of what is stored.

Formulas stand in docs/metrics.md. A value that cannot be had is None with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench import energy
from llmbench.record import SUCCEEDED, Series
from llmbench.run import QUALITY_SCHEMA, Quality, Run
from llmbench.scenario import Objective
from llmbench.stats import Estimate, estimate, percentile
from llmbench.units import parse_seconds
from llmbench.utilisation import figures

__all__ = [
    "LATENCIES",
    "METRICS",
    "PHASE_PEAKS",
    "STAGES",
    "Metric",
    "Observed",
    "Value",
    "across",
    "across_summaries",
    "commonest_error",
    "errors_by_kind",
    "only",
    "parts",
    "quality_values",
    "series_mean",
    "series_rise",
    "summarise",
]

Floats = NDArray[np.float64]
PERCENTILES = (50, 90, 95, 99)
STAGES = ("import", "load", "compile", "first_token", "steady")
TOKEN_COLUMNS = QUALITY_SCHEMA.names
TOKEN_MEANS = {
    "kl_divergence": "kl_divergence",
    "top1_agreement": "agrees",
    "logit_mse": "logit_squared_error",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number is called, its unit, and which way is better."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher", "neither"]


@dataclass(frozen=True, slots=True)
class Value:
    """One metric of one run: the number and the samples behind it, or why there is none."""

    value: float | None
    n: int = 0
    reason: str | None = None


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


# the driver's view of a process and the allocator's are never one as the other
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


def _latency_metrics() -> list[Metric]:
    statistics = [*((f"p{p}", f"p{p}") for p in PERCENTILES), ("mean", "mean")]
    return [
        Metric(f"{key}_seconds_{suffix}", f"{label} {text}", "s", "lower")
        for key, label in LATENCIES.items()
        for suffix, text in statistics
    ]


def _phase_peaks() -> list[Metric]:
    return [
        Metric(f"memory_{key}_bytes", label, "B", "lower") for key, label in PHASE_PEAKS.items()
    ]


def _step_metrics() -> list[Metric]:
    return [
        Metric(f"{phase}_step_{what}", f"{phase} step {label}", unit, better)
        for phase in ("decode", "prefill")
        for what, label, unit, better in STEP
    ]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        Metric("output_tokens_per_second", "output tokens/s", "tokens/s", "higher"),
        Metric("total_tokens_per_second", "total tokens/s", "tokens/s", "higher"),
        Metric("requests_per_second", "requests/s", "requests/s", "higher"),
        Metric("goodput_requests_per_second", "goodput", "requests/s", "higher"),
        Metric("slo_attainment", "SLO attainment", "share", "higher"),
        *_latency_metrics(),
        Metric("failed_requests", "failed requests", "requests", "lower"),
        Metric("steady_window_seconds", "steady window", "s", "neither"),
        Metric("makespan_seconds", "first due to last token", "s", "neither"),
        Metric("drain_seconds", "drain", "s", "neither"),
        Metric("cold_start_import_seconds", "import", "s", "lower"),
        Metric("cold_start_load_seconds", "load", "s", "lower"),
        Metric("cold_start_compile_seconds", "compile", "s", "lower"),
        Metric("cold_start_first_token_seconds", "first token", "s", "lower"),
        Metric("cold_start_steady_seconds", "until steady", "s", "lower"),
        Metric("memory_weights_bytes", "weights", "B", "lower"),
        Metric("memory_kv_cache_bytes", "KV cache", "B", "lower"),
        Metric("memory_kv_used_bytes", "KV cache used", "B", "neither"),
        Metric("memory_allocator_peak_bytes", "GPU allocator peak", "B", "lower"),
        *_phase_peaks(),
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
    ]
}


class Observed:
    """The records of a run as arrays; latencies cover the measured requests that succeeded.

    All times in seconds. ``itl`` pools every gap between chunks; each other latency has one
    entry a request.
    """

    def __init__(self, records: pa.Table) -> None:
        self.all = records.combine_chunks()
        self.measured = _rows(self.all, pc.equal(self.all["phase"], "measured"))
        self.good = _rows(self.measured, _succeeded(self.measured))

    @cached_property
    def _first(self) -> Floats:
        return _floats(pc.list_element(self.good["token_times"], 0))

    @cached_property
    def _last(self) -> Floats:
        flat, ends = _flat_times(self.good)
        return flat[ends - 1] if len(ends) else flat

    @cached_property
    def ttft(self) -> Floats:
        """First token less due time."""
        return self._first - _floats(self.good["due"])

    @cached_property
    def service_ttft(self) -> Floats:
        """First token less the time it was sent."""
        return self._first - _floats(self.good["sent"])

    @cached_property
    def content_ttft(self) -> Floats:
        """First token that is not reasoning less due time; NaN where nothing tells them apart."""
        return _floats(self.good["first_content"]) - _floats(self.good["due"])

    @cached_property
    def queue_time(self) -> Floats:
        """Start of work less due time; NaN where the backend does not tell."""
        return _floats(self.good["started"]) - _floats(self.good["due"])

    @cached_property
    def e2e(self) -> Floats:
        """Last token less due time."""
        return self._last - _floats(self.good["due"])

    @cached_property
    def send_lag(self) -> Floats:
        """Time sent less due time, of every measured request."""
        return _floats(self.measured["sent"]) - _floats(self.measured["due"])

    @cached_property
    def tpot(self) -> Floats:
        """Mean time per output token after the first; NaN where all tokens came at one moment."""
        tokens = _floats(self.good["output_tokens"])
        several = (tokens > 1) & (_floats(pc.list_value_length(self.good["token_times"])) > 1)
        tpot = np.full(len(tokens), np.nan)
        tpot[several] = (self._last - self._first)[several] / (tokens[several] - 1)
        return tpot

    @cached_property
    def itl(self) -> Floats:
        """Every gap between a chunk and the one before it, requests pooled."""
        flat, ends = _flat_times(self.good)
        gaps = np.diff(flat)
        return np.delete(gaps, ends[:-1] - 1)

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """The steady window: from the first to the last due time of the measured requests.

        None where they were all due at one moment.
        """
        due = _floats(self.measured["due"])
        if not len(due) or due.min() == due.max():
            return None
        return float(due.min()), float(due.max())

    @cached_property
    def makespan(self) -> tuple[float, float] | None:
        """From the first due time to the last token of the measured requests."""
        flat, _ = _flat_times(self.measured)
        return (
            (float(_floats(self.measured["due"]).min()), float(np.nanmax(flat)))
            if len(flat)
            else None
        )

    @cached_property
    def longest_gap(self) -> Floats:
        """Longest gap between two chunks; NaN where a request has one chunk only."""
        flat, ends = _flat_times(self.good)
        if not len(ends):
            return flat
        starts = np.r_[0, ends[:-1]]
        gaps = np.diff(flat, prepend=np.nan)
        gaps[starts] = -np.inf
        longest = np.maximum.reduceat(gaps, starts)
        return np.where(np.isinf(longest), np.nan, longest)


def _succeeded(table: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(table["finish"], pa.array(SUCCEEDED))


def _rows(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """Keep some rows of a table, without a copy where they stand together."""
    places = np.flatnonzero(mask.to_numpy())
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return table.slice(int(places[0]), len(places))
    return table.filter(mask)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _flat_times(table: pa.Table) -> tuple[Floats, NDArray[np.int64]]:
    """Give all token times in one array, and where each request's part ends."""
    times = table["token_times"]
    ends = np.cumsum(_floats(pc.list_value_length(times))).astype(np.int64)
    return _floats(pc.list_flatten(times)), ends


# -- one run ---------------------------------------------------------------------------------------


def summarise(run: Run, observed: Observed | None = None) -> dict[str, Value]:
    """Compute every metric of a run; the same keys for every run, failed ones included.

    ``observed`` are its records as arrays, where they have been made already.
    """
    if run.failure:
        return dict.fromkeys(METRICS, Value(None, 0, f"the run failed: {run.failure.message}"))
    if run.summary is not None:
        return {name: _kept(run.summary.get(name)) for name in METRICS}
    observed = observed or Observed(run.records)
    found = {
        **_latencies(observed),
        **_rates(observed),
        **_objectives(observed, run.spec.get("slo") or {}),
        **_spans(observed),
        **_costs_of_start(run.account),
        **_use_of_the_machine(run, observed),
        "draft_acceptance": _acceptance(run.account),
        **quality_values(run.quality),
        **_energies(run, observed),
    }
    found["cost_per_million_output_tokens"] = _cost(found, run.spec.get("price_per_hour"))
    return {name: found[name] for name in METRICS}


def _energies(run: Run, observed: Observed) -> dict[str, Value]:
    found = energy.figures(run, observed.window, partial(_counts_within, observed))
    return {name: Value(*told) for name, told in found.items()}


def _kept(told: tuple[float, int] | None) -> Value:
    return Value(*told) if told else Value(None, 0, "the summary of the run has none")


def _latencies(observed: Observed) -> dict[str, Value]:
    values = {}
    for key in LATENCIES:
        sample = _known(getattr(observed, key))
        for p in PERCENTILES:
            values[f"{key}_seconds_p{p}"] = _of(sample, partial(percentile, percent=p))
        values[f"{key}_seconds_mean"] = _of(sample, lambda s: float(np.mean(s)))
    return values


def _known(sample: Floats) -> Floats:
    known: Floats = sample[~np.isnan(sample)]
    return known


def _of(sample: Floats, statistic: Callable[[Floats], float]) -> Value:
    if not len(sample):
        return Value(None, 0, "no measured request has it")
    return Value(statistic(sample), len(sample))


def _rates(observed: Observed) -> dict[str, Value]:
    names = ("output_tokens_per_second", "total_tokens_per_second", "requests_per_second")
    if observed.window is None:
        why = "no steady window: the measured requests were all due at one moment"
        return dict.fromkeys(names, Value(None, 0, why))
    counts = _counts_within(observed, *observed.window)
    seconds = observed.window[1] - observed.window[0]
    return {name: _rate(count, seconds) for name, count in zip(names, counts, strict=True)}


def _rate(count: float, seconds: float) -> Value:
    if np.isnan(count):
        return Value(None, 0, "the lengths of some prompts are not known")
    return Value(count / seconds, int(count))


def _counts_within(observed: Observed, begin: float, end: float) -> tuple[int, float, int]:
    """Count output tokens, all tokens (NaN: not known) and finished requests inside a window.

    A prompt's tokens count when its first output token comes. Requests of the warm-up that are
    still in flight count as well: the backend worked for them inside the window.
    """
    chunks = pc.list_value_length(observed.all["token_times"])
    answered = _rows(observed.all, pc.greater(chunks, 0))
    times, ends = _flat_times(answered)
    tokens = _floats(pc.list_flatten(answered["token_counts"]))
    outputs = int(tokens[_within(_filled(times), begin, end)].sum())
    first = _floats(pc.list_element(answered["token_times"], 0))
    prompts = _floats(answered["prompt_tokens"])
    finished = int(_within(times[ends - 1], begin, end).sum())
    return outputs, outputs + float(prompts[_within(first, begin, end)].sum()), finished


def _filled(times: Floats) -> Floats:
    """Put stamps that are not known evenly between those beside them."""
    known = np.flatnonzero(~np.isnan(times))
    return np.interp(np.arange(len(times)), known, times[known]) if len(known) else times


def _within(times: Floats, begin: float, end: float) -> NDArray[np.bool_]:
    return (times >= begin) & (times < end)


def _objectives(observed: Observed, slo: dict[str, Any]) -> dict[str, Value]:
    names = ("goodput_requests_per_second", "slo_attainment")
    if not slo:
        return dict.fromkeys(names, Value(None, 0, "the scenario sets no `slo`"))
    met = meets_objectives(observed, slo)
    asked = observed.measured.num_rows
    attainment = Value(float(met.sum()) / asked, asked) if asked else Value(None, 0, "no requests")
    return {names[0]: _goodput(observed, met), names[1]: attainment}


def meets_objectives(observed: Observed, slo: dict[str, Any]) -> NDArray[np.bool_]:
    """Tell of each good request whether it meets every objective (``{"ttft": "500 ms"}``).

    A percentile in a key (``ttft_p99``) is for the run as a whole; each request is held to the
    same bound. An ITL objective is met when no gap is longer. A request without the quantity
    (one token has no TPOT) meets it.
    """
    met = np.ones(observed.good.num_rows, dtype=bool)
    for key, bound in slo.items():
        objective = Objective.of(key)
        quantity = "longest_gap" if objective.quantity == "itl" else objective.quantity
        missed = getattr(observed, quantity) > parse_seconds(bound)
        met &= ~(missed & _is_of(observed.good, objective.request_class))
    return met


def _is_of(table: pa.Table, request_class: str | None) -> NDArray[np.bool_]:
    """Tell which requests are of a class; for None, all of them are."""
    if request_class is None:
        return np.ones(table.num_rows, dtype=bool)
    is_of = pc.fill_null(pc.equal(table["request_class"], request_class), fill_value=False)
    return np.asarray(is_of.to_numpy(), dtype=bool)


def _goodput(observed: Observed, met: NDArray[np.bool_]) -> Value:
    if observed.window is None:
        return Value(None, 0, "no steady window: the measured requests were all due at one moment")
    begin, end = observed.window
    count = int((met & _within(observed.e2e + _floats(observed.good["due"]), begin, end)).sum())
    return Value(count / (end - begin), count)


def _spans(observed: Observed) -> dict[str, Value]:
    window, makespan = observed.window, observed.makespan
    failed = observed.measured.num_rows - observed.good.num_rows
    nothing = Value(None, 0, "no measured request was answered")
    return {
        "failed_requests": Value(failed, observed.measured.num_rows),
        "steady_window_seconds": _span(window, "the measured requests were all due at one moment"),
        "makespan_seconds": _span(makespan, "no measured request was answered"),
        "drain_seconds": Value(max(0.0, makespan[1] - window[1]), 1)
        if window and makespan
        else nothing,
    }


def _span(span: tuple[float, float] | None, reason: str) -> Value:
    return Value(span[1] - span[0], 1) if span else Value(None, 0, reason)


def _costs_of_start(account: dict[str, Any]) -> dict[str, Value]:
    reasons = account.get("reasons", {})
    wanted = {
        **{f"cold_start_{stage}_seconds": ("cold_start", stage) for stage in STAGES},
        **{f"memory_{kind}_bytes": ("memory", kind) for kind in REPORTED},
    }
    values = {}
    for name, (group, key) in wanted.items():
        value = account.get(group, {}).get(key)
        why = reasons.get(key, "this backend does not report it")
        values[name] = Value(None, 0, why) if value is None else Value(float(value), 1)
    return values


def _use_of_the_machine(run: Run, observed: Observed) -> dict[str, Value]:
    found = figures(run.account, run.records, observed.window)
    return {name: Value(*figure) for name, figure in found.items()}


def _acceptance(account: dict[str, Any]) -> Value:
    """Share of the drafted tokens that the target would have chosen itself."""
    counters = account.get("counters") or {}
    drafted = counters.get("drafted_tokens")
    if not drafted:
        return Value(None, 0, "nothing is drafted")
    return Value(counters["accepted_tokens"] / drafted, drafted)


def _cost(found: dict[str, Value], price_per_hour: float | None) -> Value:
    rate = found["output_tokens_per_second"]
    if price_per_hour is None:
        return Value(None, 0, "the scenario sets no `price_per_hour`")
    if not rate.value:
        return Value(None, 0, rate.reason or "no output tokens in the steady window")
    return Value(price_per_hour / 3600 / rate.value * 1e6, rate.n)


def quality_values(quality: Quality) -> dict[str, Value]:
    """Compute how the outputs stand to the reference's, from scored tokens and greedy answers."""
    return {**_of_tokens(quality), **_of_answers(quality)}


def _of_tokens(quality: Quality) -> dict[str, Value]:
    columns = {name: _floats(quality.tokens[name].cast(pa.float64())) for name in TOKEN_COLUMNS}
    n = quality.tokens.num_rows
    if not n:
        names = ("perplexity", "reference_perplexity", "perplexity_ratio", *TOKEN_MEANS)
        return dict.fromkeys(names, Value(None, 0, quality.reason or "no tokens were scored"))
    means = {name: float(np.mean(column)) for name, column in columns.items()}
    found = {
        "perplexity": np.exp(means["nll"]),
        "reference_perplexity": np.exp(means["reference_nll"]),
        "perplexity_ratio": np.exp(means["nll"] - means["reference_nll"]),
        **{name: means[column] for name, column in TOKEN_MEANS.items()},
    }
    return {name: Value(float(value), n) for name, value in found.items()}


def _of_answers(quality: Quality) -> dict[str, Value]:
    answers = quality.answers
    if not answers:
        nothing = Value(None, 0, quality.reason or "no answers were compared")
        return dict.fromkeys(("exact_match", "first_divergence"), nothing)
    exact = [answer.alike == answer.tokens for answer in answers]
    alike = [answer.alike for answer in answers]
    return {
        "exact_match": Value(float(np.mean(exact)), len(answers)),
        "first_divergence": Value(float(np.mean(alike)), len(answers)),
    }


def errors_by_kind(run: Run) -> dict[str, int]:
    """Count the failed measured requests of a run by kind of error."""
    measured = Observed(run.records).measured
    kinds = pc.fill_null(measured["error_kind"], measured["finish"])
    failed = measured.append_column("kind", kinds).filter(pc.invert(_succeeded(measured)))
    counts = failed.group_by("kind").aggregate([("request_id", "count")]).to_pylist()
    return {row["kind"]: row["request_id_count"] for row in counts}


def commonest_error(run: Run) -> str | None:
    """Give the kind that most failed requests of a run have, with one message; None if none has."""
    kinds = errors_by_kind(run)
    if not kinds:
        return None
    kind = max(kinds, key=lambda kind: kinds[kind])
    of_kind = run.records.filter(pc.equal(run.records["error_kind"], kind))
    message = of_kind["error_message"][0].as_py() if of_kind.num_rows else None
    return f"{kind}: {message}" if message else kind


def series_mean(series: Series, window: tuple[float, float] | None) -> Value:
    """Average a series over a window (equal weights: samplers tick at a steady pace)."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = np.asarray(series.times), np.asarray(series.values)
    inside = values[_within(times, *window)] if window else values
    if not len(inside):
        return Value(None, 0, "no reading lies in the steady window")
    return Value(float(np.mean(inside)), len(inside))


def series_rise(series: Series, window: tuple[float, float] | None) -> Value:
    """Give what a running total rose by in a window, in a straight line between readings."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = np.asarray(series.times), np.asarray(series.values)
    begin, end = window or (times[0], times[-1])
    if not times[0] <= begin <= end <= times[-1]:
        return Value(None, 0, "its readings do not cover the steady window")
    before, after = np.interp((begin, end), times, values)
    return Value(float(after - before), int(_within(times, begin, end).sum()))


# -- parts of a run --------------------------------------------------------------------------------


def only(run: Run, column: str, value: Any) -> Run:
    """Give a run with those of its requests alone that have a value in a column.

    The steps that served them served others too, so what steps did is not known of a part.
    """
    reasons = run.account.get("reasons", {}) | {"model": "steps serve all requests, not a part"}
    return replace(
        run,
        records=run.records.filter(pc.equal(run.records[column], value)),
        account=run.account | {"model": None, "reasons": reasons},
    )


def parts(runs: Sequence[Run], column: str) -> dict[Any, list[Run]]:
    """Split runs by what their requests have in a column; those with nothing are in no part."""
    values = {value for run in runs for value in pc.unique(run.records[column]).to_pylist()}
    return {value: [only(run, column, value) for run in runs] for value in sorted(values - {None})}


# -- runs of a case --------------------------------------------------------------------------------


def across(runs: list[Run]) -> dict[str, Estimate]:
    """Estimate every metric over the processes of one case."""
    return across_summaries([summarise(run) for run in runs])


def across_summaries(summaries: list[dict[str, Value]]) -> dict[str, Estimate]:
    """Estimate every metric over processes that are summarised already."""
    return {
        name: _estimate(metric, [summary[name] for summary in summaries])
        for name, metric in METRICS.items()
    }


def _estimate(metric: Metric, values: list[Value]) -> Estimate:
    reasons = [value.reason for value in values if value.reason]
    found = estimate([value.value for value in values], reasons[0] if reasons else None)
    if metric.unit == "share" and found.high is not None:
        # a cache may be faster than the roof, which is the memory's
        return replace(found, high=min(found.high, max(1.0, *found.values)))
    return found

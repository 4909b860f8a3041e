"""All metrics of a run, and of a case over its processes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.energy import energy_metrics
from llmbench.analysis.engine_time import engine_time
from llmbench.analysis.metrics.admission import admission
from llmbench.analysis.metrics.answers import answer_values
from llmbench.analysis.metrics.catalog import (
    LATENCIES,
    METRICS,
    PERCENTILES,
    REPORTED,
    STAGES,
    Metric,
)
from llmbench.analysis.metrics.fairness import fairness
from llmbench.analysis.metrics.job_values import job_values
from llmbench.analysis.metrics.prompt_cache import prompt_cache
from llmbench.analysis.metrics.quality import quality_values
from llmbench.analysis.metrics.record_arrays import (
    RecordArrays,
    abandoned,
    flat_times,
    floats,
    interpolated,
    rows,
    within,
)
from llmbench.analysis.metrics.under_load import under_load_values
from llmbench.analysis.nodes import kind_of
from llmbench.analysis.roofline.efficiency import UNREPORTED, efficiency
from llmbench.analysis.server_metrics import server_metrics
from llmbench.analysis.values import NO_WINDOW, Estimate, Value, estimate, unavailable
from llmbench.errors import one_line
from llmbench.runs.run import Run
from llmbench.scenario.slo import Objective


def summarize(run: Run, arrays: RecordArrays | None = None) -> dict[str, Value]:
    """Return all METRICS of a run, even of a failed one.

    ``arrays`` are its records as arrays, if already computed.
    """
    if run.failure:
        return unavailable(METRICS, f"the run failed: {run.failure.message}")
    if run.summary is not None:
        return {key: _stored(run, key) for key in METRICS}
    arrays = arrays or RecordArrays(run.records)
    values = {
        **_latencies(arrays),
        **_rates(arrays),
        **_objectives(arrays, run.case.spec.get("slo") or {}),
        **_spans(arrays),
        **_abandoned(arrays, run.case.spec.get("abandon")),
        **admission(arrays, run.case.spec.get("engine") or {}),
        **prompt_cache(arrays),
        **job_values(arrays),
        **fairness(arrays),
        **_reported(run.backend_report),
        **efficiency(run.backend_report, run.records, arrays.window),
        "draft_acceptance": _acceptance(run.backend_report),
        **quality_values(run.quality),
        **under_load_values(run.quality.under_load),
        **answer_values(arrays),
        **energy_metrics(run, arrays.window, partial(_counts_within, arrays)),
        **engine_time(run.backend_report),
        **server_metrics(run, arrays.window),
    }
    rate = values["output_tokens_per_second"]
    values["cost_per_million_output_tokens"] = _cost(rate, price_per_hour(run))
    return {key: values[key] for key in METRICS}


def _stored(run: Run, key: str) -> Value:
    entry = (run.summary or {}).get(key)
    source = f"the summary of {run.imported_from}" if run.imported_from else "the run's summary"
    return Value(*entry) if entry else Value.unavailable(f"missing in {source}")


# -- latencies -------------------------------------------------------------------------------------


def _latencies(arrays: RecordArrays) -> dict[str, Value]:
    """Return the percentiles (linear interpolation) and the mean of each latency."""
    values: dict[str, Value] = {}
    for key in LATENCIES:
        latencies = getattr(arrays, key)
        sample = latencies[~np.isnan(latencies)]
        names = [*(f"{key}_p{percent}" for percent in PERCENTILES), f"{key}_mean"]
        if not len(sample):
            values |= unavailable(names, "no measured request has this latency")
            continue
        statistics = (*np.percentile(sample, PERCENTILES), np.mean(sample))
        for name, statistic in zip(names, statistics, strict=True):
            values[name] = Value(float(statistic), len(sample))
    return values


# -- rates -----------------------------------------------------------------------------------------


def _rates(arrays: RecordArrays) -> dict[str, Value]:
    """Return the throughput: rate = count / T.

    Counts are output tokens, all tokens and finished requests in the steady window; T is its length
    in seconds.
    """
    keys = ("output_tokens_per_second", "total_tokens_per_second", "requests_per_second")
    if arrays.window is None:
        return unavailable(keys, NO_WINDOW)
    counts = _counts_within(arrays, *arrays.window)
    seconds = arrays.window[1] - arrays.window[0]
    return {key: _rate(count, seconds) for key, count in zip(keys, counts, strict=True)}


def _rate(count: float, seconds: float) -> Value:
    if np.isnan(count):
        return Value.unavailable("some prompt lengths are unknown")
    return Value(count / seconds, int(count))


def _counts_within(arrays: RecordArrays, begin: float, end: float) -> tuple[int, float, int]:
    """Count the output tokens, all tokens (NaN: unknown) and finished requests in a window.

    A prompt's tokens count at its first output token. Warm-up requests still in flight count too,
    since they occupy the backend in the window. Abandoned requests do not finish.
    """
    chunks = pc.list_value_length(arrays.all["token_times"])
    answered = rows(arrays.all, pc.greater(chunks, 0))
    times, ends = flat_times(answered)
    tokens = floats(pc.list_flatten(answered["token_counts"]))
    outputs = int(tokens[within(interpolated(times), begin, end)].sum())
    first = floats(pc.list_element(answered["token_times"], 0))
    prompts = floats(answered["prompt_tokens"])
    has_finished = pc.invert(abandoned(answered)).to_numpy()
    finished = int(within(times[ends - 1], begin, end)[has_finished].sum())
    return outputs, outputs + float(prompts[within(first, begin, end)].sum()), finished


# -- objectives ------------------------------------------------------------------------------------


def _objectives(arrays: RecordArrays, slo: dict[str, Any]) -> dict[str, Value]:
    """Return goodput = g / T and SLO attainment = m / n.

    n is the number of measured requests, including failed and rejected ones but no abandoned ones;
    m of these meet every objective, and g of the m finish in the steady window of T seconds.
    Source: Zhong et al., DistServe, 2024.
    """
    keys = ("goodput_requests_per_second", "slo_attainment")
    if not slo:
        return unavailable(keys, "the scenario sets no `slo`")
    slo = {key: bound for key, bound in slo.items() if not Objective.of(key).is_of_jobs}
    if not slo:
        return unavailable(keys, "the objectives of the scenario are of jobs, not of requests")
    met, n = meets_objectives(arrays, slo), arrays.judged
    attainment = Value(float(met.sum()) / n, n) if n else Value.unavailable("no requests")
    return {keys[0]: _goodput(arrays, met), keys[1]: attainment}


def meets_objectives(arrays: RecordArrays, slo: dict[str, float]) -> NDArray[np.bool_]:
    """Return a mask of the successful requests that meet every objective.

    Objectives are bounds in seconds (``{"ttft": 0.5}``). A percentile in a key (``ttft_p99``)
    applies to the run as a whole; here each request has the same bound. An ITL objective is met if
    the request's longest gap is within the bound. A request without the quantity (a single token
    has no TPOT) meets the objective.
    """
    met = np.ones(arrays.good.num_rows, dtype=bool)
    for key, bound in slo.items():
        objective = Objective.of(key)
        quantity = "longest_gap" if objective.quantity == "itl" else objective.quantity
        missed = getattr(arrays, quantity) > bound
        met &= ~(missed & _is_of(arrays.good, objective.request_class))
    return met


def _is_of(table: pa.Table, request_class: str | None) -> NDArray[np.bool_]:
    """Return which requests belong to a request class (None: all requests)."""
    if request_class is None:
        return np.ones(table.num_rows, dtype=bool)
    is_of = pc.fill_null(pc.equal(table["request_class"], request_class), fill_value=False)
    return np.asarray(is_of.to_numpy(), dtype=bool)


def _goodput(arrays: RecordArrays, met: NDArray[np.bool_]) -> Value:
    if arrays.window is None:
        return Value.unavailable(NO_WINDOW)
    begin, end = arrays.window
    count = int((met & within(arrays.e2e + floats(arrays.good["due"]), begin, end)).sum())
    return Value(count / (end - begin), count)


# -- the rest --------------------------------------------------------------------------------------


def _spans(arrays: RecordArrays) -> dict[str, Value]:
    """Return the number of failed requests, and steady window, makespan and drain in seconds.

    window = d[last] − d[first], makespan = t − d[first] and drain = max(0, t − d[last]), where d
    are the due times of the measured requests and t is the stamp of their last token.
    """
    window, makespan = arrays.window, arrays.makespan
    unanswered = Value.unavailable("no measured request received a token")
    drain = Value(max(0.0, makespan[1] - window[1]), 1) if window and makespan else unanswered
    return {
        "failed_requests": Value(arrays.failed, arrays.measured.num_rows),
        "steady_window_seconds": Value(window[1] - window[0], 1)
        if window
        else Value.unavailable("the measured requests were all due at the same moment"),
        "makespan_seconds": Value(makespan[1] - makespan[0], 1) if makespan else unanswered,
        "drain_seconds": drain,
    }


def _abandoned(arrays: RecordArrays, options: dict[str, Any] | None) -> dict[str, Value]:
    """Return the number of abandoned requests, and the output tokens that they received."""
    keys = ("abandoned_requests", "abandoned_output_tokens")
    if not options:
        return unavailable(keys, "the scenario sets no `abandon`")
    number, tokens = arrays.abandoned.num_rows, floats(arrays.abandoned["output_tokens"])
    return {
        keys[0]: Value(number, arrays.measured.num_rows),
        keys[1]: Value(int(tokens.sum()), number),
    }


def _reported(backend_report: dict[str, Any]) -> dict[str, Value]:
    """Return the cold start and memory that the backend reported."""
    reasons = backend_report.get("reasons", {})
    sources = {
        **{f"cold_start_{stage}_seconds": ("cold_start", stage) for stage in STAGES},
        **{f"memory_{kind}_bytes": ("memory", kind) for kind in REPORTED},
    }
    values = {}
    for key, (group, name) in sources.items():
        value = backend_report.get(group, {}).get(name)
        values[key] = (
            Value.unavailable(reasons.get(name, UNREPORTED))
            if value is None
            else Value(float(value), 1)
        )
    return values


def _acceptance(backend_report: dict[str, Any]) -> Value:
    """Draft acceptance = accepted / drafted tokens.

    Source: Leviathan et al., Fast Inference from Transformers via Speculative Decoding, 2023.
    """
    counters = backend_report.get("counters") or {}
    drafted = counters.get("drafted_tokens")
    if not drafted:
        return Value.unavailable("no tokens were drafted")
    return Value(counters["accepted_tokens"] / drafted, drafted)


def price_per_hour(run: Run) -> Value:
    """Return the price of a run's machine, which may be given by kind of node."""
    price, kind = run.case.spec.get("price_per_hour"), kind_of(run)
    if price is None:
        return Value.unavailable("the scenario sets no `price_per_hour`")
    if not isinstance(price, dict):
        return Value(price)
    if kind is None:
        return Value.unavailable("`price_per_hour` is by kind of node, and the run has no node")
    if kind not in price:
        return Value.unavailable(f"`price_per_hour` has no price of {one_line(kind)}")
    return Value(price[kind])


def _cost(rate: Value, price: Value) -> Value:
    """Cost = 10⁶ P / (3600 r), P the price per hour and r the output tokens per second."""
    if price.value is None:
        return price
    if not rate.value:
        return Value.unavailable(rate.reason or "no output tokens in the steady window")
    return Value(price.value / 3600 / rate.value * 1e6, rate.n)


# -- over processes --------------------------------------------------------------------------------


def across(runs: list[Run]) -> dict[str, Estimate]:
    """Estimate every metric over the processes of a case."""
    return across_summaries([summarize(run) for run in runs])


def across_summaries(summaries: list[dict[str, Value]]) -> dict[str, Estimate]:
    """Estimate every metric over the processes of a case, given each one's summary."""
    return {
        key: _estimate(metric, [summary[key] for summary in summaries])
        for key, metric in METRICS.items()
    }


def _estimate(metric: Metric, values: list[Value]) -> Estimate:
    estimated = estimate(values, metric.scale)
    if metric.unit == "share" and estimated.high is not None:
        # a share above 1 is possible if a cache is faster than peak memory bandwidth
        return replace(estimated, high=min(estimated.high, max(1.0, *estimated.values)))
    return estimated

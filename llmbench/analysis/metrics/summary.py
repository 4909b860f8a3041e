"""Every metric of a run, from its records and what its backend said of itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis import energy
from llmbench.analysis.metrics.named import LATENCIES, METRICS, PERCENTILES, REPORTED, STAGES, Value
from llmbench.analysis.metrics.observed import (
    Floats,
    RecordArrays,
    filled,
    flat_times,
    floats,
    rows,
    within,
)
from llmbench.analysis.metrics.outputs import quality_values
from llmbench.analysis.roofline.efficiency import figures
from llmbench.analysis.stats import percentile
from llmbench.runs.run import Run
from llmbench.scenario.schema import Objective
from llmbench.units import parse_seconds


def summarize(run: Run, observed: RecordArrays | None = None) -> dict[str, Value]:
    """Compute every metric of a run; the same keys for every run, failed ones included.

    ``observed`` are its records as arrays, where they have been made already.
    """
    if run.failure:
        return dict.fromkeys(METRICS, Value(None, 0, f"the run failed: {run.failure.message}"))
    if run.summary is not None:
        return {name: _kept(run.summary.get(name)) for name in METRICS}
    observed = observed or RecordArrays(run.records)
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


def _energies(run: Run, observed: RecordArrays) -> dict[str, Value]:
    found = energy.figures(run, observed.window, partial(_counts_within, observed))
    return {name: Value(*told) for name, told in found.items()}


def _kept(told: tuple[float, int] | None) -> Value:
    return Value(*told) if told else Value(None, 0, "the summary of the run has none")


def _latencies(observed: RecordArrays) -> dict[str, Value]:
    values = {}
    for key in LATENCIES:
        sample = _known(getattr(observed, key))
        for p in PERCENTILES:
            values[f"{key}_p{p}"] = _of(sample, partial(percentile, percent=p))
        values[f"{key}_mean"] = _of(sample, lambda s: float(np.mean(s)))
    return values


def _known(sample: Floats) -> Floats:
    known: Floats = sample[~np.isnan(sample)]
    return known


def _of(sample: Floats, statistic: Callable[[Floats], float]) -> Value:
    if not len(sample):
        return Value(None, 0, "no measured request has it")
    return Value(statistic(sample), len(sample))


def _rates(observed: RecordArrays) -> dict[str, Value]:
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


def _counts_within(observed: RecordArrays, begin: float, end: float) -> tuple[int, float, int]:
    """Count output tokens, all tokens (NaN: not known) and finished requests inside a window.

    A prompt's tokens count when its first output token comes. Requests of the warm-up that are
    still in flight count as well: the backend worked for them inside the window.
    """
    chunks = pc.list_value_length(observed.all["token_times"])
    answered = rows(observed.all, pc.greater(chunks, 0))
    times, ends = flat_times(answered)
    tokens = floats(pc.list_flatten(answered["token_counts"]))
    outputs = int(tokens[within(filled(times), begin, end)].sum())
    first = floats(pc.list_element(answered["token_times"], 0))
    prompts = floats(answered["prompt_tokens"])
    finished = int(within(times[ends - 1], begin, end).sum())
    return outputs, outputs + float(prompts[within(first, begin, end)].sum()), finished


def _objectives(observed: RecordArrays, slo: dict[str, Any]) -> dict[str, Value]:
    names = ("goodput_requests_per_second", "slo_attainment")
    if not slo:
        return dict.fromkeys(names, Value(None, 0, "the scenario sets no `slo`"))
    met = meets_objectives(observed, slo)
    asked = observed.measured.num_rows
    attainment = Value(float(met.sum()) / asked, asked) if asked else Value(None, 0, "no requests")
    return {names[0]: _goodput(observed, met), names[1]: attainment}


def meets_objectives(observed: RecordArrays, slo: dict[str, Any]) -> NDArray[np.bool_]:
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


def _goodput(observed: RecordArrays, met: NDArray[np.bool_]) -> Value:
    if observed.window is None:
        return Value(None, 0, "no steady window: the measured requests were all due at one moment")
    begin, end = observed.window
    count = int((met & within(observed.e2e + floats(observed.good["due"]), begin, end)).sum())
    return Value(count / (end - begin), count)


def _spans(observed: RecordArrays) -> dict[str, Value]:
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


def _use_of_the_machine(run: Run, observed: RecordArrays) -> dict[str, Value]:
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

"""A run set as pandas data frames."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from llmbench.analysis.harness_validity import validity_by_case
from llmbench.analysis.jobs import cache_hits
from llmbench.analysis.metrics import METRICS, across, split_runs, summarize
from llmbench.report import hardware, interactivity
from llmbench.report.conclusions import answer
from llmbench.report.results import Results, results_of
from llmbench.report.sections import client_clocks, queue, soak
from llmbench.report.tuning import searched
from llmbench.runs import run_set, store
from llmbench.runs.run import Run


class RunSet:
    """Stored results as data frames: ``records``, ``series``, ``runs`` and ``summary``.

    Times are in seconds on each run's own clock; other units are in the ``unit`` column.
    """

    def __init__(self, stored: run_set.RunSet) -> None:
        self.stored = stored

    @classmethod
    def read(cls, folder: str | Path) -> RunSet:
        """Read a results folder; raise InputError if llmbench did not write it."""
        return cls(store.read(folder))

    def __repr__(self) -> str:
        done = len(self.stored.runs) - len(self.stored.failed)
        return f"<llmbench.RunSet {self.stored.name!r}: {done} of {len(self.stored.plan)} runs>"

    def _repr_html_(self) -> str:
        """Return the results table as HTML, for notebooks."""
        from llmbench.report.pages import headline_html  # noqa: PLC0415 (the report reads frames)

        return headline_html(self.stored)

    @cached_property
    def records(self) -> pd.DataFrame:
        """One row per request of every measured run."""
        runs = self._measured
        if not runs:
            return pd.DataFrame()
        names = runs[0].records.column_names
        table = pa.concat_tables([run.records.select(names) for run in runs])
        frame: pd.DataFrame = table.to_pandas()
        rows = [run.records.num_rows for run in runs]
        frame.insert(0, "case", np.repeat([run.case.name for run in runs], rows))
        frame.insert(1, "repeat", np.repeat([run.repeat for run in runs], rows))
        return frame

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row per reading: ``name``, ``unit``, ``source``, ``time`` and ``value``.

        The requests that wait and that are in progress, counted from the records, are among them.
        """
        return _stacked([(run, _series_frame(run)) for run in self._measured])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run and metric: ``value``, ``unit``, ``n`` samples, ``reason`` if missing."""
        return _stacked([(run, _metrics_frame(run)) for run in self.stored.runs])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per case and metric: its figure over processes, with an interval."""
        return pd.DataFrame(summary_rows(self.stored))

    @cached_property
    def hardware(self) -> pd.DataFrame:
        """One row per case, metric and kind of node, with the ratio to the first kind."""
        return pd.DataFrame(hardware.data(hardware.groups(results_of(self.stored))))

    @property
    def _measured(self) -> list[Run]:
        return [run for run in self.stored.runs if not run.failure]


def summary(stored: run_set.RunSet) -> dict[str, Any]:
    """Return a run set's ``--json`` output.

    The sentences of the answer, the search for the best settings (null without one), the harness
    validity, the metrics by case, and by request class, model that requests name, server and
    replica of a backend, the comparison of several kinds of node (null with one), the offsets of
    the clocks of load clients on other machines, the interactivity front of a sweep, the prompt
    cache along the jobs of agents, and the drifts of long runs.
    """
    judged = {case: asdict(validity) for case, validity in validity_by_case(stored).items()}
    settings = searched(stored)
    return {
        "answer": answer(results_of(stored)),
        "search": settings and settings.as_dict(),
        "harness": judged,
        "summary": summary_rows(stored),
        "request_classes": _by_part(stored, "request_class"),
        "models": _by_part(stored, "model"),
        "servers": _by_part(stored, "url"),
        "replicas": _by_part(stored, "replica"),
        "hardware": hardware.as_json(results_of(stored)),
        "clock_offsets": client_clocks.as_json(results_of(stored)),
        "interactivity": interactivity.rows(results_of(stored)),
        "job_cache": _job_cache(results_of(stored)),
        "soak": soak.as_json(results_of(stored)),
    }


def _by_part(stored: run_set.RunSet, column: str) -> list[dict[str, Any]]:
    """Return one row per case, value of a column of the records, and metric."""
    return [
        {column: name, **row}
        for case, runs in stored.by_case().items()
        for name, part in split_runs(runs, column).items()
        for row in _rows(case, part)
    ]


def summary_rows(stored: run_set.RunSet) -> list[dict[str, Any]]:
    """Return one row per case and metric: its figure over processes, or None with a reason."""
    return [row for case, runs in stored.by_case().items() for row in _rows(case, runs)]


def _job_cache(results: Results) -> list[dict[str, Any]]:
    """Return the prompt and the cached tokens by case and number of requests before in the job."""
    return [
        {"case": case.name, "requests_before": depth, "prompt_tokens": whole, "cached_tokens": hit}
        for case in results.measured
        for depth, (hit, whole) in cache_hits([one.jobs for one in case.observed]).items()
    ]


def _rows(case: str, runs: list[Run]) -> list[dict[str, Any]]:
    return [
        {
            "case": case,
            "metric": name,
            "value": e.value,
            "low": e.low,
            "high": e.high,
            "unit": METRICS[name].unit,
            "processes": e.n,
            "reason": e.reason,
        }
        for name, e in across(runs).items()
    ]


def _stacked(parts: list[tuple[Run, pd.DataFrame]]) -> pd.DataFrame:
    for run, frame in parts:
        frame.insert(0, "case", run.case.name)
        frame.insert(1, "repeat", run.repeat)
    return pd.concat([frame for _, frame in parts], ignore_index=True) if parts else pd.DataFrame()


def _series_frame(run: Run) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"time": s.times, "value": s.values}).assign(  # noqa: PD011 (a field of Series)
            name=s.name, unit=s.unit, source=s.source
        )
        for s in (*run.series, *queue.waiting_and_in_progress(run.records))
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _metrics_frame(run: Run) -> pd.DataFrame:
    rows = [
        {"metric": name, "value": v.value, "unit": METRICS[name].unit, "n": v.n, "reason": v.reason}
        for name, v in summarize(run).items()
    ]
    return pd.DataFrame(rows)

"""What the report says equals what pandas makes of the stored Parquet files."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from llmbench.report import charts, pages
from llmbench.report.results import Results
from llmbench.report.sections import overview
from llmbench.report.table import Table
from llmbench.runs.run_set import RunSet

Latency = Callable[[pd.DataFrame], "pd.Series[float]"]


def stored(run_set: RunSet, case: str, repeat: int) -> pd.DataFrame:
    """Read the measured requests of a run from its file."""
    frame = pd.read_parquet(run_set.folder / "runs" / f"{case}-r{repeat}" / "records.parquet")
    return frame[frame["phase"] == "measured"]


def answered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["finish"].isin(["length", "eos"])]


def ttft(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["token_times"].str[0] - frame["due"]


def e2e(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["token_times"].str[-1] - frame["due"]


def tpot(frame: pd.DataFrame) -> pd.Series[float]:
    return (e2e(frame) - ttft(frame)) / (frame["output_tokens"] - 1)


def itl(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["token_times"].map(np.diff).explode().astype(float)


LATENCIES: dict[str, Latency] = {"ttft": ttft, "itl": itl, "tpot": tpot, "e2e": e2e}
CASES = ("swift", "steady", "stalling")


def tokens_per_second(run_set: RunSet, case: str, repeat: int) -> float:
    path = run_set.folder / "runs" / f"{case}-r{repeat}" / "records.parquet"
    everything, measured = pd.read_parquet(path), stored(run_set, case, repeat)
    begin, end = measured["due"].min(), measured["due"].max()
    times = everything["token_times"].explode().astype(float)
    return float(((times >= begin) & (times < end)).sum() / (end - begin))


def value(table: Table, case: str, column: str) -> float | None:
    place = [c.label for c in table.columns].index(column)
    return next(row[place].value for row in table.rows if row[0].text == case)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("percent", [50, 90, 95, 99])
def test_a_percentile_is_the_geometric_mean_of_the_exact_percentiles_of_the_processes(
    sample: RunSet, results: Results, case: str, latency: str, percent: int
) -> None:
    expected = gmean(
        [
            LATENCIES[latency](answered(stored(sample, case, repeat))).quantile(percent / 100)
            for repeat in (1, 2, 3)
        ]
    )
    ladder = overview.ladder(results, latency)
    assert value(ladder, case, f"p{percent}") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_throughput_is_what_the_steady_windows_of_the_processes_hold(
    sample: RunSet, results: Results, case: str
) -> None:
    expected = [tokens_per_second(sample, case, repeat) for repeat in (1, 2, 3)]
    shown = value(overview.headline(results), case, "output tokens/s")
    assert shown == pytest.approx(gmean(expected), rel=1e-12)
    chart = charts.throughput(results, "output_tokens_per_second")
    bar, dots = (t for t in chart.figure.data if t.name == case)
    assert list(bar.x) == pytest.approx([gmean(expected)], rel=1e-12)
    assert list(dots.x) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("latency", ["ttft", "tpot", "e2e"])
def test_an_ecdf_has_every_request_of_all_processes(
    sample: RunSet, results: Results, case: str, latency: str
) -> None:
    pooled = pd.concat(
        [LATENCIES[latency](answered(stored(sample, case, repeat))) for repeat in (1, 2, 3)]
    ).sort_values()
    chart = charts.latency_ecdf(results, latency)
    line = next(trace for trace in chart.figure.data if trace.name == case)
    assert list(line.x[1:]) == pytest.approx(list(pooled * 1e3), rel=1e-12)
    assert list(line.y[1:]) == pytest.approx(list(pooled.rank(method="first", pct=True)))
    assert (line.x[0], line.y[0]) == (line.x[1], 0.0)


@pytest.mark.parametrize("case", CASES)
def test_a_thinned_ecdf_keeps_to_the_whole_distribution(
    sample: RunSet, results: Results, case: str
) -> None:
    pooled = np.sort(np.concatenate([itl(answered(stored(sample, case, r))) for r in (1, 2, 3)]))
    chart = charts.latency_ecdf(results, "itl")
    line = next(trace for trace in chart.figure.data if trace.name == case)
    places = np.rint(np.asarray(line.y[1:]) * len(pooled)).astype(int) - 1
    assert len(line.x) == charts.ECDF_POINTS + 1
    assert (places[0], places[-1]) == (0, len(pooled) - 1)
    assert list(line.x[1:]) == pytest.approx(list(pooled[places] * 1e3), rel=1e-12)
    assert f"of up to {max_gaps(sample):,} points" in chart.downsampling


def max_gaps(run_set: RunSet) -> int:
    return max(
        sum(len(itl(answered(stored(run_set, case, r)))) for r in (1, 2, 3)) for case in CASES
    )


class Cells(HTMLParser):
    """Collects the exact numbers of the page's tables."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[float] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs).get("data-value")
        if tag == "td" and values is not None:
            self.numbers.append(float(values))


def test_the_page_carries_the_exact_numbers_of_its_tables(sample: RunSet, results: Results) -> None:
    section = re.search(r'id="results".*?</section>', pages.report(sample), re.DOTALL)
    assert section is not None
    cells = Cells()
    cells.feed(section[0])
    table = overview.headline(results)
    assert cells.numbers == [c.value for row in table.rows for c in row if c.value is not None]

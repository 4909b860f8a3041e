"""The page is one inert, self-contained file, whatever the run set is like."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench import report
from llmbench.errors import InputError
from llmbench.report import html, pages, raw_data
from llmbench.report.results import Results
from llmbench.report.scenario_text import commands, described
from llmbench.report.table import Cell, Table, text_columns
from llmbench.runs.run import Failure, records_table
from llmbench.runs.run_set import RunSet

MOST_BYTES = 2_500_000
HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"


class Outline(HTMLParser):
    """Notes the elements of a page, what they refer to and the headings."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.headings: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    return parsed


@pytest.fixture(scope="module")
def page(sample: RunSet) -> str:
    return pages.report(sample)


def failed_run_set(make: Any, folder: Path) -> RunSet:
    plan = make.planned("only", 1)
    failure = Failure("killed", f"killed {HOSTILE}", HOSTILE)
    run = make.run_of(plan, make.serve(1), records=records_table([]), series=(), failure=failure)
    stored: RunSet = make.store_run_set(folder / "set", [plan], [run])
    return stored


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert all(reference.startswith("#") for reference in outline(page).references)
    assert "default-src 'none'" in page


def test_headings_go_down_one_level_at_a_time(page: str) -> None:
    levels = outline(page).headings
    assert levels[0] == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))


def test_every_chart_has_an_accessible_name_and_its_words(page: str) -> None:
    plots = re.findall(r'<div class="plot"[^>]*>', page)
    assert len(plots) == 1 + 4 + 3 + 3 + 1 + 1 + 1
    assert all('role="group"' in plot and 'aria-label="' in plot for plot in plots)
    assert page.count("<figcaption>") == len(plots)


def test_every_chart_has_its_data_under_a_fold(page: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert len(figures) == 14
    assert all('<details class="data"><summary>' in figure for figure in figures)


@pytest.mark.parametrize(("rows", "folds"), [(500, 0), (501, 1)])
def test_a_large_table_is_folded_and_text_to_a_browser_with_scripts(rows: int, folds: int) -> None:
    large = Table("Many", text_columns("a", "b"), ((Cell("</noscript>"), Cell("1")),) * rows)
    table = html.render_macro("table", large)
    assert outline(table).elements.count("noscript") == folds
    assert table.count("<summary>Many: 501 rows</summary>") == folds
    assert table.count("</noscript>") == folds
    assert "<noscript>" not in html.render_macro("summary", "name", "", large)


def test_plotly_is_inlined_once(page: str) -> None:
    assert page.count(html.plotly_bundle()) == 1
    packed = base64.b64decode(html.plotly_bundle())
    assert b"plotly.js" in gzip.decompress(packed)[:200]


def test_a_page_weighs_at_most_two_and_a_half_megabytes(page: str) -> None:
    assert len(page.encode()) < MOST_BYTES


def test_the_footer_has_the_version_of_plotly(page: str) -> None:
    assert re.search(r"charts by plotly\.js \d+\.\d+\.\d+, MIT license", page)


def test_figures_are_stored_as_json(page: str, results: Results) -> None:
    stored = re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', page)
    figures = {key: json.loads(text) for key, text in stored}
    assert len(figures) == len(stored) == 14
    names = [trace["name"] for trace in figures["ecdf-ttft"]["data"]]
    assert names == [case.name for case in results.measured]


def test_hostile_texts_are_inert_everywhere(make: Any, tmp_path: Path) -> None:
    plan = make.planned(HOSTILE, 1)
    run = make.run_of(plan, make.serve(1), facts={"x": HOSTILE})
    hostile = make.store_run_set(
        tmp_path / "set", [plan], [run], name=HOSTILE, description=HOSTILE,
        scenario_text=HOSTILE, overrides=(HOSTILE,), origins={HOSTILE: f"{HOSTILE}:1"},
    )  # fmt: skip
    parsed, plain = outline(pages.report(hostile)), outline(pages.report(tame(make, tmp_path)))
    assert parsed.elements == plain.elements
    assert parsed.handlers == []


def tame(make: Any, folder: Path) -> RunSet:
    plan = make.planned("tame", 1)
    run = make.run_of(plan, make.serve(1))
    stored: RunSet = make.store_run_set(folder / "tame", [plan], [run], overrides=("a=1",))
    return stored


def test_hostile_errors_are_inert(make: Any, tmp_path: Path) -> None:
    page = pages.report(failed_run_set(make, tmp_path))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_json_cannot_end_its_script() -> None:
    text = json.dumps({"name": "</script><!--\u2028&"}, ensure_ascii=False)
    inert = html.inert_json(text)
    assert not set("<>&\u2028") & set(inert)
    assert json.loads(inert) == json.loads(text)


def test_the_raw_data_are_the_stored_records(page: str, sample: RunSet) -> None:
    packed = re.search(r'id="raw-data">([^<]*)<', page)
    assert packed is not None
    text = gzip.decompress(base64.b64decode(packed[1])).decode()
    matches = list(csv.DictReader(io.StringIO(text)))
    one = [row for row in matches if (row["case"], row["repeat"]) == ("swift", "2")]
    stored = pd.read_parquet(sample.folder / "runs" / "swift-r2" / "records.parquet")
    assert [float(row["due"]) for row in one] == stored["due"].tolist()
    assert [json.loads(row["token_times"]) for row in one] == [
        list(times) for times in stored["token_times"]
    ]
    assert len(matches) == 9 * 65


def test_answers_are_not_among_the_raw_data(page: str) -> None:
    packed = re.search(r'id="raw-data">([^<]*)<', page)
    assert packed is not None
    header = gzip.decompress(base64.b64decode(packed[1])).partition(b"\n")[0]
    assert b"output_ids" not in header


def test_raw_data_too_large_for_a_page_name_their_files(
    sample: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_data, "LIMIT_BYTES", 1000)
    page = pages.report(sample)
    assert "too large for this page" in page
    assert "sample/runs/*/records.parquet" in page
    assert "9 files with their hashes" in page
    assert 'id="raw-data"' not in page


def test_an_empty_run_set_has_a_page_that_says_so(make: Any, tmp_path: Path) -> None:
    page = pages.report(make.store_run_set(tmp_path / "set", [make.planned("only", 1)], []))
    assert "No results yet." in page
    assert "1 not measured yet" in page
    assert 'class="plot"' not in page


def test_an_empty_plan_has_a_page_that_says_so(make: Any, tmp_path: Path) -> None:
    page = pages.report(make.store_run_set(tmp_path / "set", [], []))
    assert "No runs planned." in page
    assert "The plan of this run set is empty." in page


def test_a_failed_run_set_has_a_page_with_the_failure(make: Any, tmp_path: Path) -> None:
    page = pages.report(failed_run_set(make, tmp_path))
    assert "every run failed" in page
    assert "The end of its stderr" in page


def test_a_half_finished_run_set_has_a_page_of_what_there_is(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2)]
    page = pages.report(make.store_run_set(tmp_path / "set", plan, make.sample_runs(plan[:1])))
    assert "1 of 2 runs measured, 1 not measured yet." in page
    assert 'id="ecdf-ttft"' in page


def test_a_single_request_has_a_page_without_throughput(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1)
    run = make.run_of(plan, make.serve(1, requests=1))
    page = pages.report(make.store_run_set(tmp_path / "set", [plan], [run]))
    assert "Unknown: no steady window" in page
    assert 'id="ecdf-ttft"' in page


def test_a_closed_load_is_not_called_open(make: Any, tmp_path: Path) -> None:
    plan = make.planned("swift", 1, load={"kind": "closed", "concurrency": 2})
    page = pages.report(make.store_run_set(tmp_path / "set", [plan], make.sample_runs([plan])))
    assert "The load is open-loop" not in page


def test_the_scenario_is_described_in_words(results: Results) -> None:
    texts = dict(described(results))
    assert texts["Workload"] == "synthetic, prompt_tokens 32, output_tokens (uniform 8, 40)"
    assert texts["Requests"] == "60 measured after 5 warm-up requests"
    assert texts["Objectives"] == "ttft_p99 ≤ 500 ms, tpot_p99 ≤ 20 ms"
    assert texts["Backends"].startswith("swift (fake); steady (fake)")


def test_a_divided_model_is_described(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("a", 1, parallel={"tensor": 2}), make.planned("b", 1)]
    texts = dict(described(Results(make.store_run_set(tmp_path / "set", plan, []))))
    assert texts["Parallel"] == "tensor 2"


def test_a_swept_key_is_described_once_with_its_values(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"a, load.rate={r}", 1, {"load.rate": r}, rate=r) for r in (2, 8)]
    texts = dict(described(Results(make.store_run_set(tmp_path / "set", plan, []))))
    assert texts["Load"] == "poisson, rate (swept)"
    assert texts["Sweep"] == "load.rate 2, 8"


def test_of_many_swept_values_the_number_and_the_range_are_shown(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"a, load.rate={r}", 1, {"load.rate": r}, rate=r) for r in range(1, 22)]
    texts = dict(described(Results(make.store_run_set(tmp_path / "set", plan, []))))
    assert texts["Sweep"] == "load.rate 21 values from 1 to 21"


def test_the_commands_that_ask_again_are_exact(sample: RunSet) -> None:
    assert commands(sample) == [
        "llmbench run scenarios/sample.yaml --set load.rate=8",
        "llmbench report sample",
    ]


@pytest.mark.parametrize(
    ("origins", "command"),
    [
        ({"name": "backends:3"}, "llmbench run backends"),
        ({"name": "~/my runs/chat.yaml:1"}, "llmbench run ~/'my runs/chat.yaml'"),
        (
            {"model": "--url http://host:8000", "requests": "--over x=1"},
            "llmbench run scenario.yaml",
        ),
    ],
)
def test_a_scenario_is_named_as_it_was_typed(
    sample: RunSet, origins: dict[str, str], command: str
) -> None:
    assert commands(replace(sample, origins=origins, overrides=()))[0] == command


def test_writing_leaves_one_whole_file(sample: RunSet, tmp_path: Path) -> None:
    report.write(sample, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text("utf-8").rstrip().endswith("</html>")


def test_a_folder_in_the_way_is_one_clear_message(sample: RunSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/page\.html: cannot be written: No such file"):
        report.write(sample, tmp_path / "nowhere" / "page.html")

"""One self-contained HTML file: no network when it is looked at, and every text in it escaped."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmbench import __version__
from llmbench.analysis.metrics import LATENCIES
from llmbench.errors import InputError
from llmbench.report import charts, palette, scenario_text, tables
from llmbench.report.charts import Chart
from llmbench.report.conclusions import answer, completeness
from llmbench.report.pages import embed
from llmbench.report.pages.attachments import NOTHING, Beside
from llmbench.report.results import Results
from llmbench.report.sections import (
    energy_tables,
    findings,
    history,
    load_tables,
    profiled,
    roofline,
    slowest_requests,
    tradeoffs,
)
from llmbench.report.sections.attention import attention_charts
from llmbench.report.sections.case_differences import differing
from llmbench.report.sections.load_curve import load_curves
from llmbench.report.sections.timeline import timeline
from llmbench.report.sections.waterfall import waterfall
from llmbench.runs.files import atomic_write
from llmbench.runs.record import SUCCEEDED
from llmbench.runs.store import RunSet

CHARTED = ("ttft", "itl", "tpot", "e2e")
RATES = ("output_tokens_per_second", "requests_per_second")


def write_page(run_set: RunSet, path: Path, beside: Beside = NOTHING) -> None:
    """Write the page whole or not at all; raises InputError when the file cannot be written."""
    write_text(path, render(run_set, beside=beside))


def write_text(path: Path, text: str) -> None:
    """Write a page whole or not at all; raises InputError when the file cannot be written."""
    try:
        atomic_write(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose another file with --out"
        ) from error


def render(run_set: RunSet, home: str = "", beside: Beside = NOTHING) -> str:
    """Make the page's text; ``home`` is where it leads back to, and a file leads nowhere."""
    results = Results(run_set)
    content = {**_content(results), **_beside(results, beside)}
    return render_template("page.html.j2", home, charted=bool(results.measured), **content)


def render_template(name: str, home: str, **content: Any) -> str:
    """Make the text of a page from a template, with all that it carries."""
    return _templates().get_template(name).render(**_embedded(), home=home, **content)


def render_macro(name: str, *arguments: Any) -> str:
    """Make a part of a page by itself, as a macro of macros.html.j2 writes it."""
    macros = _templates().get_template("macros.html.j2").module
    return str(getattr(macros, name)(*arguments))


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("llmbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _content(results: Results) -> dict[str, Any]:
    """Gather what the page says, in its order."""
    found = findings.find(results)
    return {
        "run_set": results.run_set,
        "cases": results.measured,
        "answer": answer(results),
        "began": moment(results.run_set.began_at),
        "completeness": completeness(results),
        "differing": differing(results),
        "asked": scenario_text.asked(results),
        "is_open_loop": scenario_text.is_open_loop(results),
        "commands": scenario_text.commands(results.run_set),
        "findings": [(finding, findings.scope(finding, results)) for finding in found],
        "headline": tables.headline(results),
        "latencies": [
            (key, charts.latency_ecdf(results, key), tables.ladder(results, key)) for key in CHARTED
        ],
        "ladders": [tables.ladder(results, key) for key in LATENCIES if key not in CHARTED],
        "load_curves": load_curves(results, CHARTED),
        "rates": _rates(results),
        "parts": [make(results) for make in (load_tables.request_classes, load_tables.turns)],
        "roofline": (roofline.chart(results), roofline.table(results)),
        "sent": load_tables.sent(results),
        "timelines": [timeline(case) for case in results.measured],
        "slow": [
            slowest_requests.slowest(results, latency) for latency in slowest_requests.SORTED_BY
        ],
        "waterfall": waterfall(),
        "raw": embed.raw_data(results.run_set, slowest_requests.listed(results)),
        "succeeded": SUCCEEDED,
        "machine": tables.machine(results),
        "cold_start": charts.cold_start(results),
        "memory": tables.memory(results),
        "attention": attention_charts(results),
        "energy": energy_tables.energy(results),
        "energy_details": [
            made
            for make in (energy_tables.phases, energy_tables.budget)
            if (made := make(results)).rows
        ],
        "quality": tables.quality(results),
        "pareto": tradeoffs.pareto(results),
        "settings": tables.settings(results),
        "environment": tables.environment(results),
        "failed": findings.failures(results.run_set),
    }


def _beside(results: Results, beside: Beside) -> dict[str, Any]:
    profile = beside.profile
    return {
        "nights": history.charts(beside.history, results),
        "series_of_nights": history.table(beside.history),
        "profile": profile and {
            "answer": profiled.answer(profile),
            "chart": profiled.chart(profile),
            "phases": profiled.phases(profile),
        },
    }  # fmt: skip


def moment(stored: str) -> str:
    """Write a stored time as people read it; raises ValueError where it is none."""
    return datetime.fromisoformat(stored).strftime("%Y-%m-%d %H:%M %Z").strip()


def _rates(results: Results) -> list[Chart]:
    rates = [*RATES, "goodput_requests_per_second"] if results.spec.get("slo") else RATES
    return [charts.throughput(results, metric) for metric in rates]


def _embedded() -> dict[str, Any]:
    """Gather what the page carries: the nonce lets no script run but the page's own."""
    return {
        "nonce": secrets.token_urlsafe(16),
        "plotly_bundle": embed.plotly_bundle,
        "plotly_version": embed.plotly_version,
        "swap": embed.inert_json(json.dumps(palette.SWAP)),
        "json_of": lambda chart: embed.inert_json(chart.figure.to_json()),
        "case_color": palette.case_color,
        "case_dash": palette.case_dash,
        "dark_of": palette.SWAP.__getitem__,
        "version": __version__,
    }

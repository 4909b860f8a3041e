"""The HTML pages: the report of a run set, a profile, and the index of a folder of run sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.analysis.metrics import LATENCIES
from llmbench.report import charts, scenario_text
from llmbench.report.attachments import NOTHING, Attachments
from llmbench.report.charts import Chart, drawn_cases
from llmbench.report.conclusions import MAX_SENTENCES, answer, completeness
from llmbench.report.html import HOME, moment, render_macro, render_template
from llmbench.report.raw_data import raw_data
from llmbench.report.results import Results, results_of
from llmbench.report.sections import (
    client_clocks,
    energy_tables,
    engine_time,
    environment,
    findings,
    hardware,
    history,
    interactivity,
    jobs,
    latency_budget,
    load,
    overview,
    profiled,
    ratios,
    roofline,
    search,
    server,
    slowest_requests,
    soak,
    structured,
    tradeoffs,
    under_load,
)
from llmbench.report.sections.attention import attention_charts
from llmbench.report.sections.case_differences import differing
from llmbench.report.sections.not_measured import not_measured
from llmbench.report.sections.timeline import timeline
from llmbench.runs.catalog import Entry
from llmbench.runs.profile import Profile
from llmbench.runs.record import SUCCEEDED
from llmbench.runs.run_set import RunSet

CHARTED = ("ttft", "itl", "tpot", "e2e")
RATES = ("output_tokens_per_second", "requests_per_second")
PARTS = (
    load.request_classes, load.models, load.servers, load.replicas, load.fairness, load.turns,
    load.prompt_cache,
    engine_time.engine_time, structured.structured, structured.cost,
    client_clocks.client_clocks,
)  # fmt: skip
LISTED = 25
TIMELINES = 24  # cases with a timeline


def report(run_set: RunSet, home: str = "", attachments: Attachments = NOTHING) -> str:
    """Return the HTML report of a run set; ``home`` is the target of its back link, if any."""
    results = results_of(run_set)
    content = {**_content(results), **_attached(results, attachments)}
    content["not_measured"] = not_measured(
        results,
        has_machine=bool(content["machine"].rows),
        has_profile=attachments.profile is not None,
    )
    return render_template("page.html.j2", home, charted=bool(results.measured), **content)


def _content(results: Results) -> dict[str, Any]:
    """Return the variables of the report template, in page order."""
    sentences, courses = answer(results), soak.tested_rows(results)
    with_requests = [case for case in results.measured if len(case.runs[0].records)]
    return {
        "run_set": results.run_set,
        "cases": results.measured,
        "answer": sentences[:MAX_SENTENCES],
        "more_sentences": sentences[MAX_SENTENCES:],
        "began": moment(results.run_set.began_at),
        "completeness": completeness(results),
        "differing": differing(results),
        "scenario": scenario_text.described(results),
        "is_open_loop": scenario_text.is_open_loop(results),
        "commands": scenario_text.commands(results.run_set),
        "overrides": scenario_text.overrides(results.run_set),
        "findings": [(f, findings.scope(f, results)) for f in findings.find(results)],
        "ratios": ratios.chart(results),
        "search": search.section(results),
        "hardware": hardware.section(results),
        "headline": overview.headline(results),
        "latencies": [
            (key, charts.latency_ecdf(results, key), overview.ladder(results, key))
            for key in CHARTED
        ],
        "ladders": [overview.ladder(results, key) for key in LATENCIES if key not in CHARTED],
        "load_curves": load.load_curves(results, CHARTED),
        "interactivity": interactivity.interactivity(results),
        "rates": _rates(results),
        "parts": [make(results) for make in PARTS],
        "jobs": (jobs.jobs(results), jobs.times(results), jobs.chart(results), jobs.hits(results)),
        "roofline": (roofline.chart(results), roofline.table(results)),
        "sent": load.sent(results),
        "timelines": [timeline(case) for case in drawn_cases(with_requests, TIMELINES)],
        "soak": (soak.drifts(courses), soak.charts(courses)),
        "latency_budget": latency_budget.chart(results),
        "slow": [
            slowest_requests.slowest(results, latency) for latency in slowest_requests.SORTED_BY
        ],
        "waterfall": slowest_requests.waterfall(),
        "raw": raw_data(results.run_set, slowest_requests.listed(results)),
        "succeeded": SUCCEEDED,
        "machine": environment.machine(results),
        "cold_start": charts.cold_start(results),
        "memory": overview.memory(results),
        "attention": attention_charts(results),
        "server": server.server(results),
        "energy": energy_tables.energy(results),
        "energy_details": [
            made
            for make in (energy_tables.phases, energy_tables.budget)
            if (made := make(results)).rows
        ],
        "quality": overview.quality(results),
        "under_load": under_load.under_load(results),
        "pareto": tradeoffs.pareto(results),
        "settings": environment.settings(results),
        "environment": environment.environment(results),
        "failed": findings.failures(results.run_set),
    }


def _attached(results: Results, attachments: Attachments) -> dict[str, Any]:
    profile = attachments.profile
    return {
        "nights": history.charts(attachments.history, results),
        "series_of_nights": history.table(attachments.history),
        "profile": profile and {
            "answer": profiled.answer(profile),
            "chart": profiled.chart(profile),
            "phases": profiled.phases(profile),
        },
    }  # fmt: skip


def _rates(results: Results) -> list[Chart]:
    rates = [*RATES, "goodput_requests_per_second"] if results.spec.get("slo") else RATES
    return [charts.throughput(results, metric) for metric in rates]


def headline_html(run_set: RunSet) -> str:
    """Return the results table of a run set as HTML, for notebooks."""
    results = Results(run_set)
    return render_macro("summary", run_set.name, completeness(results), overview.headline(results))


def profile(profile: Profile) -> str:
    """Return the HTML page of a profile: step times by category, kernels and settings."""
    return render_template(
        "profile.html.j2",
        home="",
        profile=profile,
        began=moment(profile.began_at),
        answer=profiled.answer(profile),
        completeness=profiled.completeness(profile),
        chart_of_shares=profiled.chart(profile),
        phases=profiled.phases(profile),
        uses=[
            (profiled.uses(case, phase, LISTED), phase.trace) for case, phase in profile.phases()
        ],
        settings=profiled.settings(profile),
        caveats=[(case.case.name, caveat) for case in profile.cases for caveat in case.caveats],
        charted=any(case.phases for case in profile.cases),
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """A run set in the index: ``key`` identifies it in URLs, ``shown`` is its displayed name.

    ``conclusion`` is the first sentence of its answer; empty if it is not known yet.
    """

    key: str
    shown: str
    entry: Entry
    conclusion: str = ""

    @property
    def began(self) -> str:
        """The formatted start time, or the stored text if it is invalid."""
        try:
            return moment(self.entry.began_at)
        except ValueError:
            return self.entry.began_at

    def matches(self, words: Sequence[str]) -> bool:
        """Return whether every word occurs in the entry or the displayed name, ignoring case."""
        entry = self.entry
        texts = (
            self.shown, entry.name, entry.description, self.began, entry.machine, entry.commit,
            entry.problem, self.conclusion, *entry.cases,
        )  # fmt: skip
        whole = "\n".join(texts).casefold()
        return all(word.casefold() in whole for word in words)


def conclusion(run_set: RunSet) -> str:
    """Return the sentence that leads the report of a run set; empty without any."""
    return next(iter(answer(results_of(run_set))), "")


def index(title: str, listed: Sequence[Listed], filtered_by: str) -> str:
    """Return the HTML index of the run sets that match every word of a filter, newest first."""
    matching = [run_set for run_set in listed if run_set.matches(filtered_by.split())]
    return render_template(
        "index.html.j2",
        HOME,
        title=title,
        listed=sorted(matching, key=lambda run_set: run_set.entry.began_at, reverse=True),
        total=len(listed),
        filtered_by=filtered_by,
        charted=False,
    )


def message_page(title: str, message: str) -> str:
    """Return an HTML page that shows only a message."""
    return render_template("message.html.j2", HOME, title=title, message=message, charted=False)

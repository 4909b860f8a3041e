"""Ten questions of a reader are answered at the top of the page, or one click away."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from itertools import product

import pyarrow as pa
import pytest
import small_sets

from llmbench.report import pages
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.run import QUALITY_SCHEMA, PlannedRun, Quality, records_table
from llmbench.scenario.cases import Case

RATES, REPEATS = (4.0, 8.0), (1, 2, 3, 4, 5)
BUSY = Caveat("few-repeats", count=5)


def served(backend: str, rate: float) -> list[Record]:
    """Requests that ``small`` answers more slowly the more of them there are, beyond 4/s."""
    growth = 0.0625 if (backend, rate) == ("small", 8.0) else 0.0
    first = {"large": 0.125, "small": 0.25}[backend]
    firsts = [i / rate + first + i * growth for i in range(100)]
    return [
        Record(i, "measured", i / rate, i / rate, i / rate, (at, at + 0.25), (1, 1), 4, 2, "length")
        for i, at in enumerate(firsts)
    ]


def quality(backend: str) -> Quality:
    loss = {"large": 1.0, "small": 1.1}[backend]
    tokens = {"nll": loss, "reference_nll": 1.0, "kl_divergence": 0.1, "agrees": loss == 1,
              "logit_squared_error": 0.0}  # fmt: skip
    return Quality("large", pa.table({key: [x] * 4 for key, x in tokens.items()}, QUALITY_SCHEMA))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a sweep of the rate with two backends."""
    plan = []
    for rate, backend, repeat in product(RATES, ("large", "small"), REPEATS):
        spec = {"load": {"kind": "poisson", "rate": rate}, "slo": {"ttft_p99": 0.5},
                "backends": [{"name": backend}]}  # fmt: skip
        name, slug = f"{backend}, load.rate={rate:g}", f"{backend}-{rate:g}"
        plan.append(PlannedRun(Case(name, slug, "fake", {"load.rate": rate}, spec), repeat))
    runs = [
        small_sets.run_of(
            p,
            records=records_table(served(p.case.backend_name, p.case.point["load.rate"])),
            backend_report={"memory": {"weights": 12 * 2**20}},
            quality=quality(p.case.backend_name),
            caveats=(BUSY,),
        )
        for p in plan
    ]
    begun = small_sets.begun(tmp_path_factory.mktemp("questions") / "set", plan)
    return pages.report(replace(begun, runs=tuple(runs)))


@pytest.fixture(scope="module")
def answer(page: str) -> list[str]:
    shown = page[page.index('<div class="answer">') : page.index("</section>")]
    return [unescape(text) for text in re.findall(r"<p>([^<]*)</p>", shown)]


def test_sentences_answer(answer: list[str]) -> None:
    assert answer == [
        # does it meet my objective? at what load does it stop?
        "large meets the objectives up to 8/s, the highest tried.",
        (
            "small meets the objectives up to 4/s; at 8/s it misses TTFT p99 (6.38 s, objective "
            "500 ms) and answers 5.2 requests/s."
        ),
        # which is fastest? by how much?
        "TTFT p50: large is 2.00 to 26.7 times faster than small at every point.",
        "TPOT p50: no significant difference (equal in every repeat) at every point.",
        "E2E p50: large is 1.33 to 9.58 times faster than small at every point.",
        # what does it cost in quality, memory? (energy: not measured)
        "Quality of small compared with large: perplexity ratio 1.105; top-1 agreement 0.0 %.",
        "Memory: weights 12.0 MiB each.",
    ]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Can I trust it?", "Too few runs of this case for a confidence interval: 5."),
        ("Why is it slow?", "Slow requests"),
        ("At what load does it stop?", "Latency against load"),
        ("What differed?", "load.rate is swept: compare cases at the same point only."),
        ("How do I run it again?", "llmbench report set"),
        ("What was not measured?", "Add `energy` to `collect`"),
    ],
)
def test_a_click_answers(question: str, text: str, page: str) -> None:
    link = re.search(rf'<a href="#([\w-]+)">{re.escape(question)}</a>', page)
    assert link is not None
    section = page[page.index(f'id="{link[1]}"') :]
    assert text in section[: section.index("</section>")]

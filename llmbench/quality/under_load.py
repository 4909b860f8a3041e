"""Greedy answers under load, compared with those to the same prompts sent one at a time.

A batch changes the shapes of a step's products and with them the rounding of sums, so that another
token may become the most likely one. After the load, its prompts are sent one at a time, twice: the
difference between the two passes is what changes without any load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile

import numpy as np

from llmbench import models
from llmbench.analysis.stats import Floats
from llmbench.backends.base import NothingKept, OpenContext, Output, Server
from llmbench.loads.dispatch import RequestCycle
from llmbench.models.tokenizing import Tokenizer
from llmbench.quality.grading import grade
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact
from llmbench.runs.request import Request
from llmbench.runs.run import NOT_CHECKED, Compared, UnderLoad
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream


def compare(
    case: Case,
    server: Server,
    context: OpenContext,
    pool: Sequence[Request],
    records: Sequence[Record],
) -> UnderLoad:
    """Return how a load's answers differ from those to the same prompts sent one at a time.

    ``pool`` has the requests as they were sent. If the comparison fails, the result has the reason
    instead; the measurements of the load are kept.
    """
    options = case.scenario.quality
    if options is None or options.under_load is None:
        return NOT_CHECKED
    if case.scenario.load.kind == "mlperf":
        return UnderLoad(reason="LoadGen chooses the requests of an `mlperf` load")
    try:
        chosen = choose(pool, records, options.under_load, case.scenario.seed)
        return _compared(server, context, chosen, records)
    except Exception as error:  # noqa: BLE001 (stored with the run, whose load must not be lost)
        return UnderLoad(reason=redact(f"the comparison failed: {str(error) or repr(error)}"))


def choose(
    pool: Sequence[Request], records: Sequence[Record], count: int, seed: int
) -> list[Request]:
    """Return at most ``count`` requests with different prompts, drawn from the complete ones.

    Turns of sessions are left out, since their prompts contain earlier answers.
    """
    complete = [
        record.request_id
        for record in records
        if record.succeeded and record.phase == "measured" and record.session is None
    ]
    last = max(complete, default=-1)
    sent = {r.id: r for r in takewhile(lambda request: request.id <= last, RequestCycle(pool))}
    order = stream(seed, "answers under load").permutation(sorted(complete)).tolist()
    distinct: dict[tuple[object, ...], Request] = {}
    for request in (sent[number] for number in order):
        if len(distinct) == count:
            break
        distinct.setdefault((request.prompt, request.chat, request.constraint), request)
    return list(distinct.values())


def _compared(
    server: Server, context: OpenContext, chosen: Sequence[Request], records: Sequence[Record]
) -> UnderLoad:
    under_load = server.answers()
    if not chosen:
        return UnderLoad(reason="no measured request without a session is complete")
    alone = [
        replace(request, id=index, phase="measured", patience=None)
        for index, request in enumerate(chosen)
    ]
    context.on_stage(f"answering {len(chosen)} prompts one at a time")
    try:
        first = server.answer_alone(alone)
        context.on_stage(f"answering {len(chosen)} prompts one at a time, second pass")
        second = server.answer_alone(alone)
    except NothingKept as reason:
        return UnderLoad(reason=str(reason))
    comparison = _Comparison(models.load_tokenizer(context.model), _neighbors(records))
    answers = tuple(
        comparison.of(request, under_load[request.id], *pair)
        for request, *pair in zip(chosen, first, second, strict=True)
    )
    cached = [output.cached_tokens for output in first]
    known = [tokens for tokens in cached if tokens is not None]
    return UnderLoad(
        unit=first[0].unit,
        answers=answers,
        cached_tokens=sum(known) if known else None,
        prompt_tokens=sum(len(request.prompt) for request in chosen),
    )


def _neighbors(records: Sequence[Record]) -> Mapping[int, float]:
    """Return how many other requests were in flight during each request, on average.

    Σ over others of the time in which both were in flight / the request's time.
    """
    spans = {
        record.request_id: (record.sent, record.token_times[-1])
        for record in records
        if record.sent is not None and record.token_times
    }
    begins, ends = np.array(list(spans.values()), np.float64).reshape(-1, 2).T
    begins, ends = np.sort(begins), np.sort(ends)
    busy = partial(_integral, begins, ends)
    return {
        number: (busy(end) - busy(begin)) / (end - begin) - 1 if end > begin else 0.0
        for number, (begin, end) in spans.items()
    }


def _integral(begins: Floats, ends: Floats, time: float) -> float:
    """Return the seconds that all requests together were in flight up to a time."""
    return float(np.clip(time - begins, 0, None).sum() - np.clip(time - ends, 0, None).sum())


@dataclass(frozen=True, slots=True)
class _Comparison:
    tokenizer: Tokenizer
    neighbors: Mapping[int, float]

    def of(self, request: Request, under_load: Output, alone: Output, again: Output) -> Compared:
        return Compared(
            request_id=request.id,
            length=max(len(alone.symbols), len(under_load.symbols)),
            alike=common_prefix(alone.symbols, under_load.symbols),
            changes_alone=alone.symbols != again.symbols,
            neighbors=self.neighbors.get(request.id, 0.0),
            right_alone=self._grade(request, alone),
            right_under_load=self._grade(request, under_load),
        )

    def _grade(self, request: Request, output: Output) -> bool | None:
        if request.expected is None:
            return None
        text = output.text
        if text is None:
            text = self.tokenizer.decode([int(token) for token in output.symbols])
        return grade(text, request.expected)


def common_prefix(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the number of equal symbols before two answers first differ."""
    pairs = enumerate(zip(one, other, strict=False))
    shorter = min(len(one), len(other))
    return next((index for index, (a, b) in pairs if a != b), shorter)


def changes(under_load: UnderLoad) -> tuple[Caveat, ...]:
    """Return a caveat if answers change under load."""
    changed = sum(answer.is_changed for answer in under_load.answers)
    if not changed:
        return ()
    alone = sum(answer.changes_alone for answer in under_load.answers)
    total = len(under_load.answers)
    return (Caveat("answers-changed", changed=changed, total=total, alone=alone),)

"""Jobs of agents from OpenTelemetry's spans of generative AI.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/. A trace is a job, and each span of an
inference a request. Of spans under the same parent, one that began after another had ended waited
for it; all others ran in parallel. What is not an inference, such as ``execute_tool``, is the pause
before the next request.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmbench.errors import FileError, printable, shown
from llmbench.runs.request import Message
from llmbench.runs.tables import LeftOutError, Row, Table
from llmbench.workloads.jobs import MAX_REQUESTS, Job, RecordedJobs, Step, recorded
from llmbench.workloads.rows import MAX_TOKENS
from llmbench.workloads.span_contents import EVENT, prompt_of

INFERENCES = ("chat", "text_completion", "generate_content")
AGENTS = ("invoke_agent", "invoke_workflow", "execute_tool")  # with conversations of their own
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")  # the latter until v1.26
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
VALUES = ("stringValue", "intValue", "doubleValue", "boolValue")
MAX_LEVELS = 32  # of a structured value
LISTS = ("resourceSpans", "scopeSpans", "spans")  # of OTLP, from the outside in
NANOSECONDS = 1e9
LATEST = 2**63
NO_SPAN = "0" * 16
MAX_DEPTH = 100
MAX_ID = 64
WITHOUT_TOKENS = "requests without token counts"
WITHOUT_REQUESTS = "traces without requests"
WITHOUT_CONTENTS = "requests {} (their prompts are generated)"


@dataclass(slots=True, eq=False)
class Span:
    """A span with those below it; times are in nanoseconds.

    ``operation`` is its ``gen_ai.operation.name``, and ``tokens`` are those of the prompt and the
    output of an inference, ``messages`` its prompt if it is recorded, and ``unread`` why it cannot
    be used. ``end`` is the latest of its own and those of the spans below it.
    """

    where: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    operation: Any
    tokens: tuple[int, int] | None
    messages: tuple[Message, ...] = ()
    unread: str = ""
    below: list[Span] = field(default_factory=list)
    has_requests: bool = False

    @property
    def is_inference(self) -> bool:
        """Whether the span is a call of a model."""
        return self.operation in INFERENCES


def from_spans(table: Table) -> RecordedJobs:
    """Return a job per trace; raise FileError for missing parents, cycles and malformed spans."""
    traces: dict[str, list[Span]] = {}
    malformed: list[FileError] = []
    for row in table.rows:
        try:
            for span in spans_in(row):
                traces.setdefault(span.trace, []).append(span)
        except FileError as error:
            malformed.append(error)
    jobs = []
    for spans in traces.values():
        try:
            job = _job(spans, table)
        except FileError as error:
            malformed.append(error)
        else:
            jobs += [job] if job else []
    if malformed:
        raise FileError.of_all(malformed)
    return recorded(table.path, jobs, table.left_out)


def _job(spans: Sequence[Span], table: Table) -> Job | None:
    """Return the job of a trace, or None, counted as left out, if it has no requests."""
    roots = tree(spans)
    calls = [span for span in spans if span.is_inference]
    if len(calls) > MAX_REQUESTS:
        problem = f"trace {printable(spans[0].trace)} has {len(calls):,} requests"
        raise FileError(spans[0].where, problem, f"at most {MAX_REQUESTS:,}")
    if unknown := sum(span.tokens is None for span in calls):
        table.left_out.counts[WITHOUT_TOKENS] += unknown
    for reason in (span.unread for span in calls if span.unread and span.tokens):
        table.left_out.counts[WITHOUT_CONTENTS.format(reason)] += 1
    graph = _Graph()
    graph.add(roots, (), [])
    if not graph.requests:
        table.left_out.counts[WITHOUT_REQUESTS] += 1
        return None
    return Job(spans[0].where, graph.steps(), graph.begin / NANOSECONDS)


# -- spans -----------------------------------------------------------------------------------------


def spans_in(row: Row) -> Iterator[Span]:
    """Yield the spans in a row: one span, or a batch of OTLP."""
    outermost = next((name for name in LISTS if name in row.fields), None)
    if outermost is None:
        yield _span(row.value, row.where)
        return
    items = [row.value]
    for name in LISTS[LISTS.index(outermost) :]:
        items = [each for item in items for each in _listed(item, name, row.where)]
    for item in items:
        yield _span(item, row.where)


def _listed(item: Any, name: str, where: str) -> list[Any]:
    value = item.get(name, []) if isinstance(item, dict) else item
    if not isinstance(value, list):
        raise FileError(where, f"{name}: found {shown(value)}", "a list of objects")
    return value


def _span(value: Any, where: str) -> Span:
    if not isinstance(value, dict):
        raise FileError(where, f"found {shown(value)}", "a span")
    trace, name = _id(value, "traceId", where), _id(value, "spanId", where)
    where = f"{where}, span {printable(name)}"
    begin, end = (_time(value, key, where) for key in ("startTimeUnixNano", "endTimeUnixNano"))
    if end < begin:
        raise FileError(where, "ends before it begins", "endTimeUnixNano after startTimeUnixNano")
    attributes = _attributes(value.get("attributes") or {}, where)
    operation = attributes.get("gen_ai.operation.name")
    tokens = [_tokens(attributes, names, where) for names in (INPUT, OUTPUT)]
    counted = (tokens[0], tokens[1]) if tokens[0] and tokens[1] else None
    has_parent = value.get("parentSpanId") not in (None, "", NO_SPAN)
    parent = _id(value, "parentSpanId", where) if has_parent else ""
    span = Span(where, trace, name, parent, begin, end, operation, counted)
    if span.is_inference:
        try:
            span.messages = prompt_of(attributes | _details(value, where))
        except LeftOutError as reason:
            span.unread = str(reason)
    return span


def _details(value: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the attributes of a span's event with the contents of the request."""
    events = (event for event in _listed(value, "events", where) if isinstance(event, dict))
    found = next((event for event in events if event.get("name") == EVENT), {})
    return _attributes(found.get("attributes") or {}, where)


def _id(value: dict[str, Any], key: str, where: str) -> str:
    name = value.get(key)
    if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
        raise FileError(where, f"{key}: found {shown(name)}", "an id as text")
    return name


def _time(value: dict[str, Any], key: str, where: str) -> int:
    time = value.get(key)
    number = _whole(time)
    if number is None or not 0 <= number < LATEST:
        raise FileError(where, f"{key}: found {shown(time)}", "nanoseconds since 1970")
    return number


def _whole(value: Any) -> int | None:
    """Return a whole number, which JSON may have as text; None for anything else."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= MAX_ID:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _attributes(value: Any, where: str) -> dict[str, Any]:
    """Return attributes by key, which OTLP has as a list."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise FileError(where, f"attributes: found {shown(value)}", "a list of keys with values")
    return {str(each.get("key")): _value(each.get("value")) for each in value}


def _value(value: Any, levels: int = MAX_LEVELS) -> Any:
    """Return a value of OTLP as plain data; None for other kinds and below MAX_LEVELS."""
    match value if levels else None:
        case {"arrayValue": {"values": list(items)}}:
            return [_value(item, levels - 1) for item in items]
        case {"kvlistValue": {"values": list(items)}}:
            pairs = (item for item in items if isinstance(item, dict))
            return {str(pair.get("key")): _value(pair.get("value"), levels - 1) for pair in pairs}
        case dict(fields):
            return next((fields[name] for name in VALUES if name in fields), None)
    return None


def _tokens(attributes: dict[str, Any], names: Sequence[str], where: str) -> int | None:
    """Return a number of tokens, or None if it is not recorded, or 0."""
    name = next((name for name in names if attributes.get(name) is not None), None)
    if name is None:
        return None
    number = _whole(attributes[name])
    if number is None or not 0 <= number <= MAX_TOKENS:
        problem = f"{name}: found {shown(attributes[name])}"
        raise FileError(where, problem, f"a whole number from 0 to {MAX_TOKENS:,}")
    return number or None


# -- trees -----------------------------------------------------------------------------------------


def tree(spans: Sequence[Span]) -> list[Span]:
    """Link the spans of a trace to those below them; return those without a parent.

    Raises FileError for repeated ids, missing parents, cycles and too many levels.
    """
    by_id: dict[str, Span] = {}
    for span in spans:
        if by_id.setdefault(span.id, span) is not span:
            raise FileError(span.where, "another span has the same id", remedy="remove one of them")
    for span in spans:
        if span.parent:
            _parent(span, by_id).below.append(span)
    roots = [span for span in spans if not span.parent]
    if reached := _levels(roots):
        unreached = next((span for span in spans if span.id not in reached), None)
    else:
        unreached = spans[0]
    if unreached:
        raise FileError(unreached.where, "is its own ancestor", "spans without cycles")
    return roots


def _parent(span: Span, by_id: dict[str, Span]) -> Span:
    try:
        return by_id[span.parent]
    except KeyError:
        missing = f"parentSpanId: no span {shown(span.parent)} in trace {printable(span.trace)}"
        raise FileError(span.where, missing, remedy="export whole traces") from None


def _levels(roots: list[Span]) -> set[str]:
    """Complete the spans from the lowest level up; return the ids of all that are below roots."""
    levels, level = [], roots
    while level:
        levels.append(level)
        if len(levels) > MAX_DEPTH:
            raise FileError(level[0].where, f"is below {MAX_DEPTH} others", f"{MAX_DEPTH} levels")
        level = [span for upper in level for span in upper.below]
    for span in (span for level in reversed(levels) for span in level):
        span.end = max([span.end, *(lower.end for lower in span.below)])
        of_span = span.is_inference and span.tokens is not None
        span.has_requests = of_span or any(lower.has_requests for lower in span.below)
    return {span.id for level in levels for span in level}


# -- graphs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """A request of a job with the requests that it waits for, the one that it continues first."""

    span: Span
    tokens: tuple[int, int]
    parents: tuple[int, ...]
    continues: int | None


class _Graph:
    """The requests of a job, found from the outside in; one waits only for those found before."""

    def __init__(self) -> None:
        self.requests: list[_Request] = []

    @property
    def begin(self) -> int:
        """When the first request began, in nanoseconds."""
        return min(request.span.begin for request in self.requests)

    def add(
        self, spans: Sequence[Span], before: tuple[int, ...], talks: list[tuple[int, int]]
    ) -> tuple[int, ...]:
        """Add the requests of sibling spans, which wait for ``before``; return the last ones.

        ``talks`` has the end and the number of each request of the agent so far.
        """
        relevant = sorted(
            (span for span in spans if span.has_requests), key=lambda span: (span.begin, span.end)
        )
        ended: list[tuple[int, int, int]] = []  # end, begin and index of spans, by end
        last: list[tuple[int, ...]] = []
        for index, span in enumerate(relevant):
            previous = _latest(ended, span.begin)
            waits = tuple(dict.fromkeys(n for place in previous for n in last[place])) or before
            last.append(self._add(span, waits, talks))
            entry = (span.end, span.begin, index)
            ended.insert(bisect_right(ended, entry), entry)
        final = _latest(ended, LATEST)
        return tuple(dict.fromkeys(n for place in final for n in last[place])) or before

    def _add(
        self, span: Span, waits: tuple[int, ...], talks: list[tuple[int, int]]
    ) -> tuple[int, ...]:
        if any(lower.has_requests for lower in span.below):
            return self.add(span.below, waits, [] if span.operation in AGENTS else talks)
        assert span.tokens  # noqa: S101 (it has requests, and none below)
        number = len(self.requests)
        earlier = [(end, n) for end, n in talks if end <= span.begin]
        self.requests.append(self._request(span, span.tokens, waits, max(earlier, default=None)))
        talks.append((span.end, number))
        return (number,)

    def _request(
        self,
        span: Span,
        tokens: tuple[int, int],
        waits: tuple[int, ...],
        earlier: tuple[int, int] | None,
    ) -> _Request:
        """Return a request, which continues the agent's earlier one if its prompt is longer.

        A recorded prompt is complete.
        """
        if span.messages or earlier is None or tokens[0] <= sum(self.requests[earlier[1]].tokens):
            return _Request(span, tokens, waits, None)
        continued = earlier[1]
        others = tuple(n for n in waits if n != continued)
        return _Request(span, tokens, (continued, *others), continued)

    def steps(self) -> tuple[Step, ...]:
        """Return the requests as steps, in the order in which they began."""
        keys: list[int] = []
        for request in self.requests:
            keys.append(max([request.span.begin, *(keys[n] for n in request.parents)]))
        order = sorted(range(len(keys)), key=lambda n: (keys[n], n))
        numbers = {n: number for number, n in enumerate(order)}
        return tuple(self._step(self.requests[n], numbers) for n in order)

    def _step(self, request: _Request, numbers: dict[int, int]) -> Step:
        ends = [self.requests[n].span.end for n in request.parents]
        since = max(ends, default=self.begin)
        prompt, output = request.tokens
        if request.span.messages:
            prompt = 0
        if request.continues is not None:
            prompt -= sum(self.requests[request.continues].tokens)
        return Step(
            prompt,
            output,
            tuple(numbers[n] for n in request.parents),
            max(0, request.span.begin - since) / NANOSECONDS,
            is_fresh=request.continues is None,
            messages=request.span.messages,
        )


def _latest(ended: list[tuple[int, int, int]], moment: int) -> list[int]:
    """Return the spans that ended by a moment and that no other of these began after.

    ``ended`` has the end, begin and index of spans, ordered by end.
    """
    count = bisect_right(ended, (moment, LATEST, 0))
    begin = max((began for _, began, _ in ended[:count]), default=0)
    latest = []
    for end, began, index in reversed(ended[:count]):
        if end < begin:
            break
        if end > begin or began == begin:
            latest.append(index)
    return sorted(latest)

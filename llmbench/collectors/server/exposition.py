"""Prometheus and OpenMetrics texts from a server that is not trusted, as samples.

Only the lines of known metrics are parsed, so that a large text costs little and an unknown metric
that is malformed does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from llmbench.errors import Unavailable, one_line
from llmbench.runs.redaction import redact

BYTES = 10 * 2**20
LINES, LINE_LENGTH = 10_000, 8192  # of known metrics
REASON_LENGTH = 200
OPENMETRICS = "application/openmetrics-text"
END = "# EOF"
SUFFIXES = ("", "_total", "_bucket")
NAME = re.compile(r"[a-zA-Z_:][\w:]*", re.ASCII)

Labels = frozenset[tuple[str, str]]


class Sample(NamedTuple):
    """The value of a metric with one set of labels; the name of a counter lacks ``_total``."""

    metric: str
    labels: Labels
    value: float


def parse(content: bytes, content_type: str, metrics: Collection[str]) -> list[Sample]:
    """Return the samples of the given metrics, those of histograms with a label ``le``.

    Raises Unavailable if the text is not valid, or beyond a limit.
    """
    known = {f"{metric}{suffix}": metric for metric in metrics for suffix in SUFFIXES}
    try:
        lines = list(_lines(content.decode(), known))
        families = _parser(content, content_type)("\n".join(lines) + "\n")
        return [
            Sample(known[sample.name], frozenset(sample.labels.items()), sample.value)
            for family in families
            for sample in family.samples
            if sample.name in known
        ]
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 (of the parser, which names none)
        reason = one_line(redact(str(error)), REASON_LENGTH)
        raise Unavailable(f"not a Prometheus text: {type(error).__name__}: {reason}") from None


def _parser(content: bytes, content_type: str) -> Callable[[str], Iterable[Metric]]:
    if not content_type.strip().lower().startswith(OPENMETRICS):
        return text_string_to_metric_families
    if not content.rstrip().endswith(END.encode()):
        raise Unavailable("the OpenMetrics text is cut off")
    return lambda text: openmetrics.text_string_to_metric_families(  # type: ignore[no-untyped-call]
        f"{text}{END}\n"
    )


def _lines(text: str, known: Collection[str]) -> Iterator[str]:
    """Yield the types and samples of known metrics; raises Unavailable beyond a limit."""
    count = 0
    for line in text.split("\n"):
        if line.startswith("#"):
            words = line.split(maxsplit=3)
            is_known = len(words) > 3 and words[1] == "TYPE" and words[2] in known  # noqa: PLR2004
        else:
            name = NAME.match(line)
            is_known = name is not None and name[0] in known
        if not is_known:
            continue
        count += 1
        if len(line) > LINE_LENGTH or count > LINES:
            raise Unavailable(
                f"more than {LINES:,} series, or a line of more than {LINE_LENGTH:,} characters"
            )
        yield line.rstrip("\r")

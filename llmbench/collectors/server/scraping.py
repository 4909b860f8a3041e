"""Reading a server's metrics over HTTP, within limits, in a thread of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus

from llmbench.backends.endpoint.addresses import resolve
from llmbench.backends.endpoint.fetch import fetch
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.collectors.server.exposition import BYTES, OPENMETRICS, Sample, parse
from llmbench.errors import Unavailable

MOST_REASONS, OTHERS = 20, "other reasons"
ACCEPT = f"text/plain;version=0.0.4, {OPENMETRICS};version=1.0.0;q=0.5"


@dataclass(frozen=True, slots=True)
class Reading:
    """The samples of a server at a time of ``time.monotonic()``, and how long reading took."""

    moment: float
    seconds: float
    samples: list[Sample]


Scrape = Callable[[], Reading]


class Scraper:
    """Reads the metrics of one URL; raises InputError for a host or TLS settings of no use."""

    def __init__(
        self,
        options: EndpointOptions,
        headers: Mapping[str, str],
        metrics: Collection[str],
        seconds: float,
    ) -> None:
        self._url = options.base.geturl()
        self._address = resolve(options.base)
        self._tls = options.tls() if options.base.scheme == "https" else None
        self._headers = {"Accept": ACCEPT, **headers}
        self._metrics, self._seconds = metrics, seconds

    def __call__(self) -> Reading:
        """Return the current samples; raises Unavailable if they cannot be read in time."""
        began = time.monotonic()
        reply = fetch(
            self._url,
            self._address,
            headers=self._headers,
            tls=self._tls,
            seconds=self._seconds,
            max_bytes=BYTES,
        )
        moment = time.monotonic()
        if reply.status is None or reply.fault:
            raise Unavailable(f"no valid response: {reply.fault}")
        if reply.status != HTTPStatus.OK:
            raise Unavailable(f"HTTP {reply.status}; set `url` to the server's metrics")
        samples = parse(reply.content, reply.content_type, self._metrics)
        return Reading(moment, moment - began, samples)


class Background:
    """Runs a scrape in a thread, so that a slow server delays no other collector.

    ``failed`` counts the failures by reason.
    """

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape
        self._executor = ThreadPoolExecutor(1, "server-metrics")
        self._pending: Future[Reading] | None = None
        self.failed: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to read, unless a reading is in progress."""
        self._pending = self._pending or self._executor.submit(self._scrape)

    def take(self) -> Reading | None:
        """Return the reading that was started if it is complete; None also if it failed."""
        if self._pending is None or not self._pending.done():
            return None
        return self.wait()

    def settle(self) -> None:
        """Wait until the reading that was started is complete, to be taken later."""
        if self._pending:
            wait([self._pending])

    def wait(self) -> Reading | None:
        """Return the reading that was started once it is complete; None if it failed."""
        pending, self._pending = self._pending, None
        try:
            return pending.result() if pending else None
        except Unavailable as reason:
            is_new = str(reason) not in self.failed and len(self.failed) >= MOST_REASONS
            self.failed[OTHERS if is_new else str(reason)] += 1
            return None

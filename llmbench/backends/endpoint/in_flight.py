"""The requests in flight: their time limits, and the memory that their responses take together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.connection import Connection
from llmbench.backends.endpoint.exchange import Exchange

LoadConnection = Connection[Exchange]

CHECKED_AT_ONCE = 500  # requests, so that a check takes about a millisecond
GRACE_SECONDS = 1.0
LARGE_IN_FLIGHT = (
    f"the responses being read take more than {limits.IN_FLIGHT_BYTES:,} bytes of memory, and this "
    "is the largest of them"
)


class InFlight(dict[Exchange, LoadConnection | None]):
    """The exchanges in flight and their connections; None for one that is being opened."""

    def __init__(self, first_token_timeout: float, total_timeout: float) -> None:
        super().__init__()
        self._first_token_timeout = first_token_timeout
        self._total_timeout = total_timeout
        self._unchecked: Iterator[Exchange] = iter(())
        self._held_bytes: dict[Exchange, int] = {}

    def failed(self, now: float) -> list[Exchange]:
        """Check the next CHECKED_AT_ONCE connected exchanges and return those that failed.

        After the last one, those fail that hold the most memory, until the rest is below the limit.
        """
        checked = list(islice(self._unchecked, CHECKED_AT_ONCE))
        connected = [exchange for exchange in checked if self.get(exchange)]
        self._held_bytes |= {exchange: exchange.held_bytes for exchange in connected}
        failed = [exchange for exchange in connected if self._is_overdue(exchange, now)]
        if len(checked) < CHECKED_AT_ONCE:
            failed += self._largest()
            self._unchecked, self._held_bytes = iter(list(self)), {}
        return failed

    def _largest(self) -> Iterator[Exchange]:
        """Fail the responses that hold the most memory, until the rest is below the limit."""
        held = {
            exchange: size
            for exchange, size in self._held_bytes.items()
            if exchange in self and not exchange.over
        }
        excess = sum(held.values()) - limits.IN_FLIGHT_BYTES
        while excess > 0:
            largest = max(held, key=held.__getitem__)
            largest.fail("too-large", LARGE_IN_FLIGHT)
            excess -= held.pop(largest)
            yield largest

    def _is_overdue(self, exchange: Exchange, now: float) -> bool:
        waited = now - exchange.begun
        if exchange.done_at is not None:
            return now > exchange.done_at + GRACE_SECONDS  # no end of response after [DONE]
        if not exchange.stamps and waited > self._first_token_timeout:
            exchange.fail("timeout-first-token", f"no token within {self._first_token_timeout:g} s")
        elif waited > self._total_timeout:
            exchange.fail("timeout-total", f"no complete response within {self._total_timeout:g} s")
        return exchange.fault is not None

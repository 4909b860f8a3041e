"""Users who give up: which requests are abandoned, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmbench.runs.request import Patience, Request
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario

BLOCK = 4096  # draws at once


@dataclass(frozen=True, slots=True)
class Abandonment:
    """The ``share`` of a load's requests whose users give up, and their ``patience``.

    Whether request i is abandoned is the i-th draw of a stream of the seed: u[i] < share, with
    u uniform in [0, 1). It is the same for all cases, and for any number of clients.
    """

    seed: int
    share: float
    patience: Patience

    def draw(self) -> Callable[[Request], Request]:
        """Return the function that sets the patience of the requests that are abandoned.

        A response with no more than the tolerated tokens is complete when its user gives up.
        """
        rng = stream(self.seed, "abandonment")
        is_abandoned = bytearray()
        tokens = self.patience.tokens or 0

        def drawn(request: Request) -> Request:
            while request.id >= len(is_abandoned):
                is_abandoned.extend((rng.random(BLOCK) < self.share).tobytes())
            if is_abandoned[request.id] and tokens < request.max_new_tokens:
                return replace(request, patience=self.patience)
            return request

        return drawn


def abandonment_of(scenario: Scenario) -> Abandonment | None:
    """Return the abandonment of a scenario's `abandon`, or None."""
    options = scenario.abandon
    if options is None:
        return None
    return Abandonment(scenario.seed, options.share, Patience(options.after, options.tokens))

"""The queue policies of the local engine, as a scenario names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from llmbench import plugins
from llmbench.scenario.route import Names
from llmbench.units import Seconds

MAX_WAIT = 366 * 86_400.0

Bound = Annotated[Seconds | None, Field(gt=0, le=MAX_WAIT)]
BOUND = "a request that has waited for this long goes before all others (default: no bound)"


class QueuePolicy(plugins.Options):
    """A policy; by default it names no request classes, and preempts nothing."""

    @property
    def classes(self) -> list[str]:
        """The request classes that it names."""
        return []

    @property
    def preempts(self) -> bool:
        """Whether running requests may lose their slots."""
        return False

    @property
    def reads_priorities(self) -> bool:
        """Whether its order is that of the classes' own ``priority``."""
        return False


class FifoQueue(QueuePolicy):
    """First come, first served."""

    policy: Literal["fifo"] = Field(default="fifo", description="first come, first served")


class PriorityQueue(QueuePolicy):
    """Request classes by strict levels, or by weights."""

    policy: Literal["priority"] = Field(
        default="priority", description="request classes by level or by weight"
    )
    levels: Names | None = Field(
        default=None,
        description="request classes, the first one served first; others come last (default: by"
        " the classes' `priority`, lower numbers first)",
    )
    weights: Annotated[dict[str, PositiveFloat] | None, Field(min_length=1)] = Field(
        default=None,
        description="relative rates at which waiting requests of each class get slots, instead of"
        " levels; 1 for others",
    )
    preempt: bool = Field(
        default=False,
        description="running requests of lower levels lose their slots, and are recomputed later",
    )
    max_wait: Bound = Field(default=None, description=BOUND)

    @model_validator(mode="after")
    def _has_one_order(self) -> PriorityQueue:
        if self.weights and self.levels:
            raise ValueError("expected `levels` or `weights`, found both; remove one of them")
        if self.weights and self.preempt:
            raise ValueError("`preempt` needs levels; remove it, or replace `weights` by `levels`")
        return self

    @property
    def classes(self) -> list[str]:
        """The request classes that it names."""
        return self.levels or list(self.weights or ())

    @property
    def preempts(self) -> bool:
        """Whether running requests of lower levels lose their slots."""
        return self.preempt

    @property
    def reads_priorities(self) -> bool:
        """Whether it has neither levels nor weights of its own."""
        return not self.levels and not self.weights


class ShortestQueue(QueuePolicy):
    """Requests with the fewest tokens first."""

    policy: Literal["shortest"] = Field(
        default="shortest", description="requests with the fewest tokens first"
    )
    by: Literal["prompt", "output", "both"] = Field(
        default="both",
        description="the tokens to compare: prompt, requested output (`max_new_tokens`) or both",
    )
    max_wait: Bound = Field(default=None, description=BOUND)


class FairQueue(QueuePolicy):
    """Equal shares of the service for all that wait: a virtual token counter of each."""

    policy: Literal["fair"] = Field(
        default="fair", description="equal shares of the service, by virtual token counters"
    )
    by: Literal["session", "class"] = Field(
        default="class",
        description="what gets a share: each request class (tenant), or each session; a request"
        " outside sessions is one of its own",
    )
    prompt_weight: PositiveFloat = Field(default=1.0, description="service per prompt token")
    output_weight: PositiveFloat = Field(default=2.0, description="service per output token")
    max_wait: Bound = Field(default=None, description=BOUND)


QueueOptions = FifoQueue | PriorityQueue | ShortestQueue | FairQueue


def _shorthand(value: Any) -> Any:
    if not isinstance(value, str | dict | QueuePolicy):
        message = "expected a policy, such as `shortest` or {policy: priority, levels: [chat]}"
        raise ValueError(message)  # noqa: TRY004 (pydantic reports it)
    return {"policy": value} if isinstance(value, str) else value


Queue = Annotated[
    Annotated[QueueOptions, Field(discriminator="policy")], BeforeValidator(_shorthand)
]

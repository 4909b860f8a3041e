"""The messages between the process that balances a load and its replicas."""

from __future__ import annotations

from typing import Any

import msgspec

from llmbench.backends.base import BackendReport, LoadShape, OpenContext
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.route import Route
from llmbench.scenario.schema import EngineOptions, ModelOptions, SamplingOptions


class Place(msgspec.Struct, frozen=True):
    """Where a replica runs.

    ``gpu`` is the one of `replicas.devices`; ``index`` selects one of the GPUs otherwise.
    ``is_alone``: there are no others.
    """

    index: int
    cores: tuple[int, ...]
    gpu: str | None = None
    is_alone: bool = False


class Job(msgspec.Struct, frozen=True):
    """What a replica opens, and where: the first message to it."""

    kind: str
    options: dict[str, Any]
    model: dict[str, Any]
    engine: dict[str, Any]
    sampling: dict[str, Any]
    priorities: dict[str, int]
    load_shape: LoadShape
    seed: int
    stop_at_eos: bool
    keep_outputs: bool
    slowdown: float
    place: Place

    @classmethod
    def of(cls, backend: Any, context: OpenContext, place: Place) -> Job:
        """Return the job of a replica of a backend, given its options."""
        # the options of a scenario also have `kind` and `name`
        own = set(type(backend).model_fields) - {"kind", "name"}
        return cls(
            kind=backend.kind,
            options=backend.model_dump(mode="json", include=own),
            model=context.model.model_dump(mode="json"),
            engine=context.engine.model_dump(mode="json"),
            sampling=context.sampling.model_dump(mode="json"),
            priorities=context.priorities,
            load_shape=context.load_shape,
            seed=context.seed,
            stop_at_eos=context.stop_at_eos,
            keep_outputs=context.keep_outputs or context.keep_answers,
            slowdown=context.slowdown,
            place=place,
        )

    def context(self, model: ModelOptions) -> OpenContext:
        """Return the context in which the replica opens its backend."""
        return OpenContext(
            model=model,
            engine=EngineOptions(**self.engine),
            sampling=SamplingOptions(**self.sampling),
            routes={name: Route(priority=number) for name, number in self.priorities.items()},
            load_shape=self.load_shape,
            seed=self.seed,
            stop_at_eos=self.stop_at_eos,
            keep_outputs=self.keep_outputs,
            slowdown=self.slowdown,
        )


class Due(msgspec.Struct, frozen=True):
    """A request to serve now; ``wants_answer`` if the dispatch needs its output."""

    request: Request
    due: float
    wants_answer: bool


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message to a replica: the begin of a load, a request of it, or its end.

    ``origin`` is that of the load's clock, in seconds of CLOCK_MONOTONIC.
    """

    origin: float | None = None
    due: Due | None = None


END = Order()


class Finished(msgspec.Struct, frozen=True):
    """A finished request; its record has the times of its tokens, which the outcome lacks then."""

    request_id: int
    at: float
    outcome: RequestOutcome
    record: Record | None


class Failed(msgspec.Struct, frozen=True):
    """Why a replica ends: ``kind`` is that of a MeasurementError, or ``bad-input``."""

    kind: str
    message: str


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message from a replica.

    ``records`` are those that were not sent with their requests, at the end of a load, with the
    ``report``.
    """

    stage: str | None = None
    is_ready: bool = False
    finished: tuple[Finished, ...] = ()
    records: tuple[Record, ...] = ()
    report: BackendReport | None = None
    failed: Failed | None = None

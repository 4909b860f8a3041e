"""Records of what happened to each request of a run.

Times are in seconds on the run's clock, which reads 0 at the start of the load.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

from llmbench.runs.request import Phase, Request

Finish = Literal["length", "eos", "ended", "error", "unfinished", "abandoned", "rejected"]
SUCCEEDED: tuple[Finish, ...] = ("length", "eos", "ended")


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one request, from its due time to its last token.

    ``due`` is the scheduled time, ``sent`` when the request reached the backend (None: never), and
    ``started`` when the backend began to process it. ``token_times`` and ``token_counts`` have one
    entry per chunk of the response.

    In runs imported from other tools, a time is NaN if it is unknown but between its neighbors,
    ``finish`` may be ``ended`` (complete, for an unknown reason), and the requested lengths may be
    None. ``output_ids`` are stored only with ``keep_outputs``. For endpoints, ``connect_seconds``
    is the duration of opening a connection, ``first_content`` the time of the first token that is
    not reasoning, and ``retries`` the number of retries; ``first_stamp_lag`` and
    ``last_stamp_lag`` are the most that the client may have stamped the first and the last chunk
    late. What the server reports is None if it does not: ``cached_tokens`` that it took from its
    prompt cache, its ``response_id``, ``reasoning_tokens`` among the output, ``drafted_tokens`` of
    speculative decoding and how many of them were ``accepted_tokens``, and by its own clock the
    seconds in its queue, until the first token, of prefill and of decode. ``turn`` counts from 0
    within a ``session``, which the job of an agent is, too: then ``parents`` are the turns that the
    request waited for, ``delay_seconds`` is the pause after their last response, which the agent's
    tools took, and ``job_requests`` the number of requests of the job. ``abandoned_at`` is when the
    user of an abandoned request gave up; it has the tokens that were received until then. A request
    is ``rejected`` if it found the engine's bounded queue full; it has no tokens. ``preemptions``
    is how often it lost its slot to a request of an earlier level; None if that is not reported.
    ``constraint`` is the kind of form that the answer must have, ``valid`` whether it has it, and
    ``invalid_reason`` why it does not, or why that is unknown. ``model`` is the model that the
    request names if its class has its own, ``url`` the server that it was sent to if there are
    several, ``replica`` the number of the replica of a local backend.
    """

    request_id: int
    phase: Phase
    due: float
    sent: float | None
    started: float | None
    token_times: tuple[float, ...]
    token_counts: tuple[int, ...]
    prompt_tokens: int | None
    max_new_tokens: int | None
    finish: Finish
    error_kind: str | None = None
    error_message: str | None = None
    prompt_id: str | None = None
    tokenize_seconds: float | None = None
    output_ids: tuple[int, ...] | None = None
    connect_seconds: float | None = None
    first_content: float | None = None
    retries: int = 0
    first_stamp_lag: float | None = None
    last_stamp_lag: float | None = None
    cached_tokens: int | None = None
    response_id: str | None = None
    reasoning_tokens: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    server_queue_seconds: float | None = None
    server_ttft_seconds: float | None = None
    server_prefill_seconds: float | None = None
    server_decode_seconds: float | None = None
    request_class: str | None = None
    session: int | None = None
    turn: int = 0
    abandoned_at: float | None = None
    parents: tuple[int, ...] | None = None
    delay_seconds: float | None = None
    job_requests: int | None = None
    constraint: str | None = None
    valid: bool | None = None
    invalid_reason: str | None = None
    model: str | None = None
    url: str | None = None
    preemptions: int | None = None
    replica: int | None = None

    @classmethod
    def of(
        cls,
        request: Request,
        due: float,
        sent: float | None,
        finish: Finish,
        *,
        prompt_tokens: int | None = None,
        started: float | None = None,
        token_times: Iterable[float] = (),
        token_counts: Iterable[int] = (),
        **outcome: Any,
    ) -> Self:
        """Return the record of a request; ``outcome`` sets fields that have a default."""
        return cls(
            request_id=request.id,
            phase=request.phase,
            due=due,
            sent=sent,
            started=started,
            token_times=tuple(token_times),
            token_counts=tuple(token_counts),
            prompt_tokens=len(request.prompt) if prompt_tokens is None else prompt_tokens,
            max_new_tokens=request.max_new_tokens,
            finish=finish,
            prompt_id=request.prompt_id,
            tokenize_seconds=request.tokenize_seconds,
            request_class=request.request_class,
            session=request.session,
            turn=request.turn,
            parents=request.parents,
            delay_seconds=request.think_seconds if request.is_in_job else None,
            job_requests=request.job_requests,
            constraint=request.constraint.kind if request.constraint else None,
            model=request.model,
            **outcome,
        )

    @property
    def output_tokens(self) -> int:
        """The number of generated tokens."""
        return sum(self.token_counts)

    @property
    def succeeded(self) -> bool:
        """Whether the response is complete: not failed, rejected, unfinished or abandoned."""
        return self.finish in SUCCEEDED

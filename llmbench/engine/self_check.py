"""Self-check of a local backend: a short greedy run, compared with the model's own forward.

The engine serves a few requests on the backend's own runner: prompts of different lengths, which
join and leave between steps, the first two of them together, and the first once more in the last
slot. The model's own
forward then runs each prompt and answer as a whole, without a cache. At each token of an answer,
two distances are compared with a tolerance t:

* d₁ = (max(m) − m[token]) / (4 s): how far the engine's token is from the model's most likely one;
* d₂ = std(e − m) / s: how far the logits are apart, where the steps show them,

where m are the model's logits at that position, e the engine's and s = std(m), all over the
vocabulary. t = √ε, for the ε of the coarsest number format in the steps: 3.5e-4 for float32, 0.031
for float16, 0.088 for bfloat16 and for activations of 8 bits. Some models, mostly with random
weights, amplify rounding: if a distance exceeds √ε, t is 16 times the largest d₂ that changing the
embeddings by about ε makes, in four draws for each answer, if that is more. If t exceeds 0.5,
rounding hides any fault, and the check is undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from llmbench.engine.check_requests import Capacity, affordable_tokens, plan
from llmbench.engine.engine import BatchRunner, ChunkRunner, Engine, ModelRunner, batched
from llmbench.engine.own_forward import Reference
from llmbench.engine.sampling import Sampler
from llmbench.errors import InputError
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request

GAP = 4.0
AMPLIFIED = 16.0
DRAWS = 4  # of changed embeddings
UNDECIDABLE = 0.5
MASKED = 1e4  # a model masks tokens with logits that are lower than the largest by more than this
SMALLEST = torch.finfo(torch.float32).tiny
STEPS_APART = 3.0  # between two requests

Result = Literal["equal", "undecided"]


class CheckedRunner(ModelRunner, Protocol):
    """A runner whose ``sampler`` can be exchanged between steps if it ``shows_logits``."""

    sampler: Sampler
    shows_logits: bool


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """The result of a self-check, and what was compared: ``longest`` is a sequence in tokens."""

    result: Result
    requests: int
    tokens: int
    longest: int

    def __add__(self, other: SelfCheck) -> SelfCheck:
        """Return the result of two checks of one backend."""
        return SelfCheck(
            "equal" if self.result == other.result == "equal" else "undecided",
            self.requests + other.requests,
            self.tokens + other.tokens,
            max(self.longest, other.longest),
        )


@torch.inference_mode()
def check(
    runner: CheckedRunner,
    reference: Reference,
    capacity: Capacity,
    batching: str = "continuous",
    prefill_tokens: int = 1,
    *,
    chunk_runner: ChunkRunner | None = None,
) -> SelfCheck:
    """Compare a short greedy run of ``runner`` with the model's own forward.

    ``batching`` and ``prefill_tokens`` are those of the engine; ``chunk_runner`` is the same runner
    if it is to prefill behind cached tokens. Raise InputError if they differ by more than rounding.
    """
    affordable = affordable_tokens(reference.device, reference.parameters)
    requests = plan(capacity, reference.vocabulary, reference.borders, affordable)
    answers = _answers(
        runner, requests, capacity.slots, batching, prefill_tokens, chunk_runner=chunk_runner
    )
    return SelfCheck(
        judge([_Comparison.of(answer, reference) for answer in answers], reference),
        requests=len(answers),
        tokens=sum(len(answer.tokens) for answer in answers),
        longest=max(len(answer.prompt) + len(answer.tokens) for answer in answers),
    )


def total(checks: Iterator[SelfCheck]) -> SelfCheck | None:
    """Return the result of all checks of a backend, or None if there are none."""
    first = next(checks, None)
    return None if first is None else sum(checks, start=first)


# -- the engine's run ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    """The engine's tokens for a prompt, and their logits [tokens, vocabulary] if it shows them."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: Tensor | None

    @property
    def sequence(self) -> list[int]:
        """The token ids that predict the answer: the prompt and all tokens but the last."""
        return [*self.prompt, *self.tokens[:-1]]


class _Recorder(Sampler):
    """A greedy sampler that keeps the logits of the last step."""

    logits: Tensor

    def choose(self, logits: Tensor) -> Tensor:
        """Return the most likely tokens."""
        self.logits = logits
        return logits.argmax(dim=-1)


@dataclass(slots=True)
class _Recorded:
    """A runner whose steps take a virtual second, with the logits of each request's tokens.

    ``logits`` are in the order of prefills.
    """

    runner: BatchRunner
    clock: VirtualClock
    recorder: _Recorder | None
    logits: list[list[Tensor]] = field(default_factory=list)
    _by_slot: dict[int, list[Tensor]] = field(default_factory=dict)

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Run a prompt of a new request."""
        self.clock.advance(1.0)
        token = self.runner.prefill(slot, prompt)
        self.joined([slot])
        return token

    def prefill_batch(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Sequence[int]:
        """Run the prompts of new requests in one step."""
        self.clock.advance(1.0)
        tokens = self.runner.prefill_batch(slots, prompts)
        self.joined(slots)
        return tokens

    def computed_tokens(self, prompts: Sequence[int]) -> float:
        """Return the tokens that a step computes for prompts of these lengths."""
        return self.runner.computed_tokens(prompts)

    def joined(self, slots: Sequence[int]) -> None:
        """Begin the logits of requests whose prompts the last step ran."""
        for row, slot in enumerate(slots):
            self._by_slot[slot] = []
            self.logits.append(self._by_slot[slot])
            if self.recorder:
                self._by_slot[slot].append(self.recorder.logits[row].clone())

    def decode(self, slots: Sequence[int]) -> Sequence[Sequence[int]]:
        """Run a decode step."""
        self.clock.advance(1.0)
        chunks = self.runner.decode(slots)
        if self.recorder:
            for slot in slots:
                self._by_slot[slot].append(self.recorder.logits[slot].clone())
        return chunks


def _answers(
    runner: CheckedRunner,
    requests: Sequence[Request],
    slots: int,
    batching: str,
    prefill_tokens: int,
    *,
    chunk_runner: ChunkRunner | None,
) -> list[_Answer]:
    """Serve requests that are due one after another, and the first once more in the last slot.

    The first two are due together. With a ``chunk_runner``, the longest that can be split is served
    once more, behind a copy of the first half of its prompt.
    """
    clock, recorder = VirtualClock(), _Recorder() if runner.shows_logits else None
    recorded = _Recorded(batched(runner), clock, recorder)
    engine = Engine(
        recorded,
        clock,
        slots=slots,
        batching=batching,
        prefill_tokens=prefill_tokens,
        keep_outputs=True,
    )
    due = Scheduled(STEPS_APART * np.arange(-1.0, len(requests) - 1).clip(min=0))
    sampler = runner.sampler
    sampler.be_greedy()
    try:
        if recorder:
            runner.sampler = recorder
        records = engine.serve(Dispatch(requests, due, Stop(requests=len(requests))))
        again = [(requests[0], _in_slot(slots - 1, recorded, requests[0]))]
        longest = max(requests, key=lambda request: len(request.prompt))
        if chunk_runner and len(longest.prompt) > 1:
            again.append((longest, _behind_a_copy(slots - 1, chunk_runner, recorded, longest)))
    finally:
        runner.sampler = sampler
    by_id = {record.request_id: record.output_ids or () for record in records}
    served = [*((request, by_id[request.id]) for request in requests), *again]
    return [
        _Answer(request.prompt, tokens, torch.stack(logits) if logits else None)
        for (request, tokens), logits in zip(served, recorded.logits, strict=True)
    ]


def _in_slot(slot: int, runner: ModelRunner, request: Request) -> tuple[int, ...]:
    """Answer a request in a slot that the scheduler may not reach, in a batch of that size."""
    return _continued(runner.prefill(slot, request.prompt), slot, runner, request)


def _behind_a_copy(
    source: int, chunk_runner: ChunkRunner, recorded: _Recorded, request: Request
) -> tuple[int, ...]:
    """Answer a request in the first slot, behind the first half of its prompt from another one."""
    cached = len(request.prompt) // 2
    chunk_runner.prefill(source, request.prompt[:cached])
    if source:
        chunk_runner.copy_prefix(source, 0, cached)
    (token,) = chunk_runner.prefill_chunks([0], [request.prompt[cached:]], [cached])
    recorded.joined([0])
    return _continued(token, 0, recorded, request)


def _continued(first: int, slot: int, runner: ModelRunner, request: Request) -> tuple[int, ...]:
    """Return a request's answer, decoded alone after its first token."""
    tokens = [first]
    while len(tokens) < request.max_new_tokens:
        tokens += runner.decode([slot])[0]
    return tuple(tokens[: request.max_new_tokens])


# -- the comparison --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Comparison:
    """An answer, the model's own logits [tokens, vocabulary] and the distances [tokens] to them.

    A reference may have the logits of the last tokens only.
    """

    answer: _Answer
    own: Tensor
    distances: Tensor

    @classmethod
    def of(cls, answer: _Answer, reference: Reference) -> _Comparison:
        """Run the model's own forward; raise InputError if its logits are not finite."""
        own = reference.forward(answer.sequence, len(answer.tokens)).float().cpu()
        if not own.amax(dim=-1).isfinite().all():
            raise InputError(
                f"{reference.key}: {reference.architecture} has logits that are not finite, even "
                "in its own forward; use another `model.dtype`, or check the weights"
            )
        distances = _token_distances(torch.tensor(answer.tokens[-len(own) :]), own)
        if answer.logits is not None:
            logits = answer.logits[-len(own) :].float().cpu()
            distances = distances.maximum(_logit_distances(logits, own))
        return cls(answer, own, distances)

    def exceeding(self, tolerance: float) -> list[int]:
        """Return the positions whose distance exceeds a tolerance or is not a number."""
        positions: list[int] = (~(self.distances <= tolerance)).nonzero()[:, 0].tolist()
        return positions


def judge(comparisons: Sequence[_Comparison], reference: Reference) -> Result:
    """Return whether all answers are the model's own, or rounding hides it.

    Raise InputError if one differs.
    """
    tolerance = reference.epsilon**0.5
    if not any(comparison.exceeding(tolerance) for comparison in comparisons):
        return "equal"
    amplified = (_amplified(comparison, reference) for comparison in comparisons)
    tolerance = max(tolerance, AMPLIFIED * max(amplified))
    if tolerance > UNDECIDABLE:
        return "undecided"
    for comparison in comparisons:
        if positions := comparison.exceeding(tolerance):
            raise _difference(comparison, positions[0], tolerance, reference)
    return "equal"


def _difference(
    comparison: _Comparison, position: int, tolerance: float, reference: Reference
) -> InputError:
    """Return the error for a difference at a position of the model's own logits."""
    answer, own = comparison.answer, comparison.own
    number = len(answer.tokens) - len(own) + position
    return InputError(
        f"{reference.key}: {reference.architecture} differs between this backend's engine and its "
        f"own forward: after a prompt of {len(answer.prompt)} tokens, token {number + 1} is "
        f"{answer.tokens[number]}, the model's own is {int(own[position].argmax())} (distance "
        f"{float(comparison.distances[position]):.2g}; rounding explains {tolerance:.2g}); the "
        f"backend does not support its layers ({reference.layers}); use another backend"
    )


def _token_distances(tokens: Tensor, own: Tensor) -> Tensor:
    """Return (max(m) − m[token]) / (4 s) at each position."""
    gaps = own.amax(dim=-1) - own.gather(-1, tokens[:, None])[:, 0]
    return gaps / (GAP * _std(own, own)).clamp(min=SMALLEST)


def _logit_distances(logits: Tensor, own: Tensor) -> Tensor:
    """Return std(e − m) / s at each position."""
    return _std(logits - own, own) / _std(own, own).clamp(min=SMALLEST)


def _std(values: Tensor, own: Tensor) -> Tensor:
    """Return the standard deviation of each row, without the tokens that the model masks."""
    is_usable = own > own.amax(dim=-1, keepdim=True) - MASKED
    count = is_usable.sum(dim=-1, keepdim=True)
    mean = values.where(is_usable, 0.0).sum(dim=-1, keepdim=True) / count
    squares = (values - mean).square().where(is_usable, 0.0)
    return (squares.sum(dim=-1) / count[:, 0]).sqrt()


def _amplified(comparison: _Comparison, reference: Reference) -> float:
    """Return the largest distance of logits that changing the embeddings by about ε makes."""
    if reference.disturbed is None:
        return 0.0
    sequence, own = comparison.answer.sequence, comparison.own
    disturbed = (reference.disturbed(sequence, len(own)).float().cpu() for _ in range(DRAWS))
    return max(float(_logit_distances(logits, own).max()) for logits in disturbed)

"""Requests to a backend, and the later turns of their sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Phase = Literal["warmup", "measured", "drain"]
SPOKEN = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a chat, with a role and further ``fields`` of OpenAI's API.

    These are ``tool_calls`` of an assistant, and ``tool_call_id`` and ``name`` of a tool.
    """

    role: str
    content: str
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def plain(self) -> str:
        """The message as text: its content, or its tool calls as JSON.

        A blank line follows messages of other roles than user and assistant.
        """
        calls = self.fields.get("tool_calls")
        text = self.content or (json.dumps(calls, ensure_ascii=False) if calls else "")
        return text if self.role in SPOKEN else f"{text}\n\n"

    def as_dict(self) -> dict[str, Any]:
        """Return the message as OpenAI's API takes it."""
        return {"role": self.role, "content": self.content, **self.fields}


@dataclass(frozen=True, slots=True)
class Turn:
    """A later turn of a session, due ``think_seconds`` after the last response it waits for.

    ``parents`` are the numbers of the turns that it waits for; None: the previous turn. It
    continues the conversation of the first of them, unless ``is_fresh``: then its prompt is
    complete. Without parents, it is due ``think_seconds`` after the session began.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    think_seconds: float
    text: str | None = None
    messages: tuple[Message, ...] = ()
    parents: tuple[int, ...] | None = None
    is_fresh: bool = False

    def waits_for(self, number: int) -> tuple[int, ...]:
        """Return the numbers of the turns that this turn ``number`` waits for."""
        return (number - 1,) if self.parents is None else self.parents

    def continues(self, number: int) -> int | None:
        """Return which turn's conversation this turn ``number`` continues; None: its own."""
        return None if self.is_fresh else next(iter(self.waits_for(number)), None)


ConstraintKind = Literal["json_object", "json_schema", "tools"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form that an answer must have, which ``fields`` of the request's body ask for.

    These are OpenAI's: ``response_format``, or ``tools`` and ``tool_choice``.
    """

    kind: ConstraintKind
    fields: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Expected:
    """The right answer: a number, one of ``choices``, or what a regular expression matches."""

    kind: Literal["number", "choice", "regex"]
    value: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Patience:
    """When a user gives up: ``after`` seconds from the due time, or after output ``tokens``."""

    after: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and the number of tokens to generate.

    ``prompt`` contains token ids; ``tokenize_seconds`` is the time spent tokenizing it, before the
    run's clock starts. ``text`` is the prompt's text, for backends that send text; None for random
    ids. ``messages`` are its parts by role, by default one message of the user. ``prompt_id``
    identifies the text, and ``request_class`` a group of requests with its own objectives.
    ``shared`` is the number of leading tokens that the workload shares between requests on purpose,
    and ``has_exact_length`` whether the prompt is made to a length instead of being a text of its
    own. ``patience`` is set if the user gives up on this request, ``constraint`` if its answer must
    have a form, and ``expected`` if the right answer is known. ``model`` is the model that it names
    if its class has its own.

    In a session, ``turn`` counts from 0 and ``prompt`` includes the earlier turns; ``history`` has
    their messages and responses, for backends that send text. ``turns`` are all turns after the
    first, which are numbered from 1, and ``think_seconds`` the pause before this turn. ``parents``
    are the turns of an agent's job that it waited for; None outside jobs. Requests of the phase
    ``drain`` belong to jobs that had begun when the load stopped.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    phase: Phase = "measured"
    text: str | None = None
    messages: tuple[Message, ...] = ()
    prompt_id: str | None = None
    tokenize_seconds: float | None = None
    request_class: str | None = None
    shared: int = 0
    has_exact_length: bool = False
    session: int | None = None
    turn: int = 0
    history: tuple[Message, ...] = ()
    turns: tuple[Turn, ...] = ()
    think_seconds: float = 0.0
    parents: tuple[int, ...] | None = None
    patience: Patience | None = None
    constraint: Constraint | None = None
    expected: Expected | None = None
    model: str | None = None

    def gives_up_at(self, due: float) -> float | None:
        """Return when the user gives up on the request due at ``due``; None if not by time."""
        after = self.patience.after if self.patience else None
        return None if after is None else due + after

    @property
    def chat(self) -> tuple[Message, ...]:
        """The messages of the earlier turns and of this one."""
        return (*self.history, *(self.messages or (Message("user", self.text or ""),)))

    @property
    def whole_text(self) -> str:
        """The text of the earlier turns and of this one."""
        return "".join(message.plain for message in self.chat)

    @property
    def first_id(self) -> int:
        """The id of the session's first request; the others have the ids after it."""
        return self.id - self.turn

    @property
    def is_in_job(self) -> bool:
        """Whether the request belongs to the job of an agent."""
        return self.parents is not None

    @property
    def job_requests(self) -> int | None:
        """The number of requests of the job of an agent; None outside jobs."""
        return 1 + len(self.turns) if self.is_in_job else None

    @property
    def is_continued(self) -> bool:
        """Whether a later turn continues the conversation of this one."""
        later = enumerate(self.turns, start=1)
        return any(turn.continues(number) == self.turn for number, turn in later)

    def next_turn(self, number: int, answer_ids: Sequence[int], answer_text: str) -> Request:
        """Return the request of turn ``number``, which continues this one given its response.

        Backends that send text know the response only as text, so ``prompt`` lacks its tokens.
        """
        turn = self.turns[number - 1]
        return replace(
            self.fresh_turn(number),
            prompt=(*self.prompt, *answer_ids, *turn.prompt),
            history=(*self.chat, Message("assistant", answer_text)),
        )

    def fresh_turn(self, number: int) -> Request:
        """Return the request of turn ``number`` of the session, without any history."""
        turn = self.turns[number - 1]
        return replace(
            self,
            id=self.first_id + number,
            prompt=turn.prompt,
            max_new_tokens=turn.max_new_tokens,
            phase="measured",
            text=turn.text,
            messages=turn.messages,
            tokenize_seconds=None,
            turn=number,
            history=(),
            think_seconds=turn.think_seconds,
            parents=turn.parents,
            patience=None,
        )

    def lengths(self) -> Iterator[tuple[int, int]]:
        """Return the prompt and output lengths of every turn, assuming outputs of full length."""
        known = [(len(self.prompt), self.max_new_tokens)]
        for number, turn in enumerate(self.turns, start=1):
            before = turn.continues(number)
            history = 0 if before is None else sum(known[before])
            known.append((history + len(turn.prompt), turn.max_new_tokens))
        return iter(known)

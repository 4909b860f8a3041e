"""Writes prompts in the form in which a server receives them, with the requested lengths."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from llmbench.backends.endpoint.prompt_cache import SALT_LETTERS
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Message, Request, Turn

Part = TypeVar("Part", Request, Turn)
LETTERS = np.array(list(string.ascii_lowercase))
ROUNDS = 12
MAX_SCALE = 20  # of the tokens of two tokenizers; a token of text is shorter than 20 bytes
PADDING = "x"  # of a text that is nothing but white space
INCOMPLETE = "\ufffd"  # the decoded part of a character


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How a server counts the tokens of a prompt: p = template + scale · n.

    where n is the model's tokenizer's count of the text. ``takes_ids``: the server takes lists of
    token ids instead of text, and counts each as one token.
    """

    template: int = 0
    scale: float = 1.0
    takes_ids: bool = False

    @classmethod
    def of(cls, probes: Sequence[tuple[int, int | None]]) -> TokenCount:
        """Return the count that follows from two prompts: each n and p, the shorter one first.

        A server that reports no p, or one whose growth with n is implausible, is taken to
        count as the tokenizer.
        """
        (short, counted_short), (long, counted_long) = probes
        if counted_short is None or counted_long is None:
            return cls()
        if long <= short:
            return cls()
        scale = (counted_long - counted_short) / (long - short)
        if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
            return cls()
        return cls(max(0, round(counted_short - scale * short)), scale)

    @property
    def is_exact(self) -> bool:
        """Whether the server's tokenizer is that of the model."""
        return self.scale == 1

    def text_tokens(self, tokens: int) -> int:
        """Return the tokenizer's count of a text that has ``tokens`` tokens on the server."""
        return max(1, round((tokens - self.template) / self.scale))


class PromptWriter:
    """Writes prompts as text or token ids, with a salt at the front that no other run has.

    The salt of a prompt is its own; prompts that share a prefix with others have that of the run,
    so that they still share it. Without ``salts``, a random stream, there is none.
    """

    def __init__(
        self, tokenizer: Tokenizer, salts: np.random.Generator | None, count: TokenCount
    ) -> None:
        self._tokenizer = tokenizer
        self._salts = salts
        self._count = count
        self._salt_of_run = self._salt()

    def written(self, request: Request) -> Request:
        """Return a request with its salt, and with its text unless the server takes its ids.

        The salt takes the place of the first tokens of a prompt that is made to a length, and comes
        before the text of any other.
        """
        salt = self._salt_of_run if request.shared else self._salt()
        takes_ids = self._count.takes_ids and all(turn.is_fresh for turn in request.turns)
        first = self._complete(request, salt, takes_ids=takes_ids)
        turns = tuple(self._turn(turn, salt, takes_ids=takes_ids) for turn in request.turns)
        return replace(first, turns=turns, has_exact_length=not request.text)

    def _turn(self, turn: Turn, salt: str, *, takes_ids: bool) -> Turn:
        """Return a later turn as it is sent; a complete prompt has the salt of the session.

        The template around any other prompt comes in addition to its length.
        """
        if turn.is_fresh:
            return self._complete(turn, salt, takes_ids=takes_ids)
        if turn.text:
            return turn
        target = max(1, round(len(turn.prompt) / self._count.scale))
        return replace(turn, text=fitted(self._tokenizer, "", turn.prompt, target))

    def _complete(self, part: Part, salt: str, *, takes_ids: bool) -> Part:
        """Return a request or a turn whose prompt is complete, with a salt."""
        ids: tuple[int, ...] = tuple(self._tokenizer.encode_more(salt))
        if part.text:
            messages = _salted(part.messages, salt)
            text, prompt = salt + part.text, (*ids, *part.prompt)
            return replace(part, prompt=prompt, text=text, messages=messages)
        length = len(part.prompt)
        prompt = (*ids, *part.prompt[len(ids) :])[:length]
        if takes_ids:
            return replace(part, prompt=prompt)
        target = self._count.text_tokens(length)
        text = fitted(self._tokenizer, salt, prompt[len(ids) :], target)
        return replace(part, prompt=prompt, text=text)

    def _salt(self) -> str:
        return "" if self._salts is None else random_letters(self._salts)


def _salted(messages: tuple[Message, ...], salt: str) -> tuple[Message, ...]:
    if not messages:
        return ()
    first, *others = messages
    return (replace(first, content=salt + first.content), *others)


def random_letters(rng: np.random.Generator) -> str:
    """Return a salt: random letters and a space."""
    return "".join(rng.choice(LETTERS, SALT_LETTERS)) + " "


def fitted(tokenizer: Tokenizer, salt: str, ids: Sequence[int], target: int) -> str:
    """Return a text of ``target`` tokens that begins with a salt and the text of token ids.

    The decoded text of ids may be encoded into other ids, and more or fewer of them. It is cut at
    its end, or parts of it are added there, until its count is right, or as near to that as found
    in ROUNDS attempts. White space at its end, which chat templates may remove, is left out.
    """
    text = best = (salt + tokenizer.decode(ids)).rstrip()
    least, rng = target + 1, np.random.default_rng(0)
    for _ in range(ROUNDS):
        encoded = tokenizer.encode_more(text)
        excess = len(encoded) - target
        if abs(excess) < least:
            least, best = abs(excess), text
        if not excess:
            break
        if excess > 0:
            text = tokenizer.decode(encoded[:target])
        else:
            more = np.resize(np.roll(ids, rng.integers(target)), -excess).tolist() if ids else []
            text += tokenizer.decode(more).rstrip() or PADDING * -excess
        text = text.rstrip().rstrip(INCOMPLETE).rstrip()
    return best

"""Writes prompts in the form in which a server receives them."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np

from llmbench.backends.endpoint.prompt_cache import SALT_LETTERS
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request

LETTERS = np.array(list(string.ascii_lowercase))


class PromptWriter:
    """Writes prompts as text, with a salt at the front that no other run has.

    The salt of a prompt is its own; prompts that share a prefix with others have that of the run,
    so that they still share it. Without ``salts``, a random stream, there is none.
    """

    def __init__(self, tokenizer: Tokenizer, salts: np.random.Generator | None) -> None:
        self._tokenizer = tokenizer
        self._salts = salts
        self._salt_of_run = self._salt()

    def written(self, request: Request) -> Request:
        """Return a request with its text and its salt.

        The salt takes the place of the first tokens of a prompt that is made to a length, and comes
        before the text of any other.
        """
        salt = self._salt_of_run if request.shared else self._salt()
        ids = self._tokenizer.encode_more(salt)
        if request.text:
            return replace(request, prompt=(*ids, *request.prompt), text=salt + request.text)
        decode = self._tokenizer.decode
        prompt = (*ids, *request.prompt[len(ids) :])[: len(request.prompt)]
        turns = tuple(replace(turn, text=decode(turn.prompt)) for turn in request.turns)
        text = salt + decode(prompt[len(ids) :])
        return replace(request, prompt=prompt, text=text, turns=turns)

    def _salt(self) -> str:
        if self._salts is None:
            return ""
        return "".join(self._salts.choice(LETTERS, SALT_LETTERS)) + " "

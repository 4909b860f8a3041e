"""The lengths of prompts by the server's count, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cache_servers import REQUESTS, SYNTHETIC, cache_server, measured
from tokenizers import Tokenizer, models, pre_tokenizers

from llmbench.runs.run import Run


@pytest.fixture
def server() -> Iterator[Any]:
    with cache_server() as serving:
        yield serving


@pytest.fixture
def bytes_tokenizer(tmp_path: Path) -> Path:
    """The file of a tokenizer with a token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "bytes.json"))
    return tmp_path / "bytes.json"


def lengths(run: Run) -> list[int]:
    return run.records["prompt_tokens"].to_pylist()  # type: ignore[no-any-return]


def caveat(run: Run) -> str:
    return " ".join(c.message for c in run.caveats if c.kind == "prompt-lengths")


def sent(server: Any) -> list[Any]:
    """The prompts of the load, without those that found out how the server counts."""
    return server.log[-REQUESTS:]  # type: ignore[no-any-return]


@pytest.mark.parametrize("contents", ["text", "code", "ids"])
def test_a_chat_prompt_has_the_requested_length_with_its_template(
    server: Any, tmp_path: Path, contents: str
) -> None:
    (run,) = measured(server, tmp_path, workload={**SYNTHETIC, "contents": contents}).runs
    assert lengths(run) == [160] * REQUESTS
    assert caveat(run) == ""


def test_token_ids_are_sent_as_ids_where_the_server_takes_them(server: Any, tmp_path: Path) -> None:
    (run,) = measured(server, tmp_path, api="completions").runs
    assert {len(prompt) for prompt in sent(server)} == {160}
    assert all(isinstance(token, int) for prompt in sent(server) for token in prompt)
    assert lengths(run) == [160] * REQUESTS
    assert run.backend_report["effective"]["prompts"] == "token ids"


def test_text_is_sent_where_the_server_rejects_token_ids(tmp_path: Path) -> None:
    with cache_server(text_only=True) as server:
        (run,) = measured(server, tmp_path, api="completions").runs
        assert all(isinstance(prompt, str) for prompt in sent(server))
    assert lengths(run) == [160] * REQUESTS
    assert run.backend_report["effective"]["prompts"] == "text"


def test_prompts_are_english_text_by_default(server: Any, tmp_path: Path) -> None:
    measured(server, tmp_path)
    words = " ".join(messages[0]["content"] for messages in sent(server)).split()
    assert {"the", "of", "and"} <= set(words)


def test_texts_of_their_own_have_no_requested_length(server: Any, tmp_path: Path) -> None:
    workload = {"kind": "prompts", "task": "question-answering", "output_tokens": 2}
    (run,) = measured(server, tmp_path, workload=workload).runs
    assert caveat(run) == ""


def test_another_tokenizer_is_allowed_for_and_its_error_is_a_caveat(
    bytes_tokenizer: Path, tmp_path: Path
) -> None:
    with cache_server(tokenizer=bytes_tokenizer) as server:
        (run,) = measured(server, tmp_path, model="served:").runs
    # a byte per token is about 600 without the allowance, which comes from one sampled text
    assert sum(lengths(run)) / REQUESTS == pytest.approx(160, rel=0.5)
    assert f"of {REQUESTS} prompts do not have the requested length" in caveat(run)


def test_a_prompt_shorter_than_the_template_is_a_caveat(server: Any, tmp_path: Path) -> None:
    (run,) = measured(server, tmp_path, workload={**SYNTHETIC, "prompt_tokens": 6}).runs
    assert "off by +50.0 % on average" in caveat(run)


def test_the_first_turn_of_a_session_has_the_requested_length(server: Any, tmp_path: Path) -> None:
    workload = {"kind": "sessions", "turns": 2, "prompt_tokens": 40, "output_tokens": 3}
    (run,) = measured(server, tmp_path, workload=workload).runs
    turns = zip(run.records["turn"].to_pylist(), lengths(run), strict=True)
    assert {length for turn, length in turns if turn == 0} == {40}
    assert caveat(run) == ""

"""Conversations of several turns."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.sessions import Sessions

CHATS = [
    {
        "conversations": [
            {"from": "human", "value": "Hello"},
            {"from": "gpt", "value": "Hi!"},
            {"from": "human", "value": "More"},
            {"from": "gpt", "value": "Enough."},
        ]
    },
    {"messages": [{"role": "system", "content": "Be."}, {"role": "user", "content": "Why"}]},
]


def draw(count: int, seed: int = 0, **options: Any) -> list[Request]:
    workload = Sessions(Sessions.Options.model_validate(options))
    return list(islice(workload.requests(ByteTokenizer(256), seed), count))


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, CHATS)))
    return path


def test_a_session_has_the_requested_number_of_turns() -> None:
    assert {1 + len(request.turns) for request in draw(50, turns={"uniform": [2, 4]})} == {2, 3, 4}


def test_each_turn_adds_its_prompt_to_the_history() -> None:
    (request,) = draw(1, turns=3, prompt_tokens=10, output_tokens=5)
    assert list(request.lengths()) == [(10, 5), (25, 5), (40, 5)]


def test_the_system_prompt_is_the_same_for_every_session() -> None:
    first, second = draw(2, prompt_tokens=4, system_tokens=6)
    assert first.prompt[:6] == second.prompt[:6]
    assert first.prompt[6:] != second.prompt[6:]
    assert len(first.prompt) == 10


def test_every_turn_but_the_first_has_a_think_time() -> None:
    requests = draw(2000, turns=2, think_time="3 s")
    pauses = [turn.think_seconds for request in requests for turn in request.turns]
    assert sum(pauses) / len(pauses) == pytest.approx(3.0, rel=0.05)
    assert {request.think_seconds for request in requests} == {0.0}


def test_think_times_are_0_by_default() -> None:
    assert {turn.think_seconds for request in draw(5) for turn in request.turns} == {0.0}


def test_equal_seeds_give_equal_sessions() -> None:
    assert draw(5, seed=3, think_time=1) == draw(5, seed=3, think_time=1)
    assert draw(5, seed=3) != draw(5, seed=4)


def test_recorded_conversations_are_sent_turn_by_turn(chats: Path) -> None:
    texts = {
        request.text: [turn.text for turn in request.turns] for request in draw(2, path=str(chats))
    }
    assert texts == {"Hello": ["More"], "Be.\n\nWhy": []}


def test_later_turns_have_the_messages_before_them(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    said = [("system", "S"), ("user", "A"), ("assistant", "B"), ("tool", "T"), ("user", "C")]
    said = [*said, ("assistant", "D"), ("system", "E"), ("user", "F")]
    chat = [{"role": role, "content": content} for role, content in said]
    path.write_text(json.dumps({"messages": chat}))
    (request,) = draw(1, path=str(path))
    turns = [request.messages, *(turn.messages for turn in request.turns)]
    contents = [[message.content for message in messages] for messages in turns]
    assert contents == [["S", "A", "B", "T", "C"], ["E", "F"]]
    later = request.next_turn(1, (), "answer")
    roles = [message.role for message in later.chat]
    assert roles == ["system", "user", "assistant", "tool", "user", "assistant", "system", "user"]
    assert later.whole_text == "S\n\nABT\n\nCanswerE\n\nF"


def test_answers_have_the_length_of_recorded_ones(chats: Path) -> None:
    long = next(request for request in draw(2, path=str(chats)) if request.turns)
    assert [answer for _, answer in long.lengths()] == [len("Hi!"), len("Enough.")]


def test_requested_lengths_override_recorded_ones(chats: Path) -> None:
    requests = draw(2, path=str(chats), output_tokens=9, turns=1)
    assert [list(request.lengths()) for request in requests] == [
        [(len(request.prompt), 9)] for request in requests
    ]


def test_a_conversation_without_a_question_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    unusable = {"messages": [{"role": "assistant", "content": "Hi"}]}
    path.write_text(json.dumps(unusable))
    with pytest.raises(InputError, match="no row can be used: 1 without a question"):
        Sessions(Sessions.Options(path=path)).check()
    path.write_text("\n".join(map(json.dumps, [*CHATS, unusable, {"conversations": None}])))
    (caveat,) = Sessions(Sessions.Options(path=path)).caveats()
    assert caveat.parameters["reasons"] == ["1 without a question", "1 without a conversation"]
    assert {request.text for request in draw(2, path=str(path))} == {"Hello", "Be.\n\nWhy"}


def test_a_file_without_conversations_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "Hi"}')
    with pytest.raises(InputError, match=r"bad\.jsonl:1: found prompt; expected conversations"):
        Sessions(Sessions.Options(path=path)).check()


def test_prompts_cannot_be_both_drawn_and_recorded(chats: Path) -> None:
    with pytest.raises(ValueError, match="remove `prompt_tokens`"):
        Sessions.Options.model_validate({"path": str(chats), "prompt_tokens": 5})


def test_lengths_of_whole_sessions_are_known_before_prompts_are_made() -> None:
    options = {"turns": {"uniform": [1, 4]}, "prompt_tokens": {"uniform": [3, 9]}}
    sessions = Sessions(Sessions.Options.model_validate({**options, "system_tokens": 5}))
    made = [sum(list(r.lengths())[-1]) for r in draw(20, seed=1, **options, system_tokens=5)]
    assert list(islice(sessions.sequence_lengths(1), 20)) == made


def test_the_lengths_of_recorded_conversations_are_unknown(chats: Path) -> None:
    assert list(Sessions(Sessions.Options(path=chats)).sequence_lengths(0)) == []

"""The limits of what is read from a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.limits import MESSAGE_BYTES, brief

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "endpoints.md"
NAMES = [name for name in vars(limits) if name.isupper() and name != "CUT"]


@given(st.text(st.characters()) | st.text().map(lambda text: text * 999))
def test_a_stored_message_is_short_printable_and_valid_utf8(text: str) -> None:
    message = brief(text)
    assert len(message.encode()) <= MESSAGE_BYTES
    assert "".join(message.split("\n")).isprintable()


def test_a_cut_message_says_so() -> None:
    assert brief("a" * 5000).endswith("a […]")
    assert brief("a" * MESSAGE_BYTES) == "a" * MESSAGE_BYTES


def test_a_message_is_redacted_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-" + "0123456789" * 9)
    message = brief("a" * (MESSAGE_BYTES - 20) + "sk-" + "0123456789" * 9)
    assert "sk-" not in message


def shown(name: str) -> str:
    value: int = getattr(limits, name)
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if "BYTES" in name and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,}"


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_is_in_the_documentation_with_its_value(name: str) -> None:
    assert f"| `{name}` | {shown(name)} |" in DOCUMENTATION.read_text("utf-8")


def test_limits_grow_with_the_requested_tokens() -> None:
    for limit in (limits.response_bytes, limits.events, limits.text_length):
        assert limit(1000) > limit(1) > 0
    assert limits.text_length(10, may_exceed=False) == 10 * limits.TEXT_LENGTH_PER_TOKEN

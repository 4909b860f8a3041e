"""Secrets of the environment are found in texts in whatever form, and literals in scenarios."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.runs.redaction import (
    find_literal,
    find_secret,
    is_secret,
    masked,
    redact,
    redact_all,
    redacted,
)

KEY = "sk-canary/0123+456=789~Zq"

Encode = Callable[[str], str]


def in_base64(offset: int) -> Encode:
    return lambda key: base64.b64encode(b"x" * offset + key.encode() + b"yz").decode()


FORMS: dict[str, Encode] = {
    "plain": str,
    "cut": lambda key: key[:-9],
    "cut before": lambda key: key[9:],
    "padded": lambda key: f"\t {key} \n",
    "JSON": lambda key: "".join(f"\\u{ord(character):04X}" for character in key),
    "JSON in JSON": lambda key: json.dumps(json.dumps(f'"{key}"')),
    "JSON with escaped slashes": lambda key: json.dumps(key).replace("/", "\\/"),
    "bytes": lambda key: "".join(f"\\x{ord(character):02x}" for character in key),
    "percent": lambda key: quote(key, safe=""),
    "percent throughout": lambda key: "".join(f"%{ord(character):02x}" for character in key),
    "percent of percent": lambda key: quote(quote(key, safe=""), safe=""),
    "entities": lambda key: "".join(f"&#{ord(character)};" for character in key),
    "hex": lambda key: key.encode().hex(),
    "base64": in_base64(0),
    "base64 after one": in_base64(1),
    "base64 after two": in_base64(2),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "base64 in percent": lambda key: quote(base64.b64encode(key.encode()).decode()),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)


def leaks(text: str, secret: str = KEY, size: int = 8) -> bool:
    """Return whether a text contains ``size`` consecutive characters of a secret."""
    return any(secret[at : at + size] in text for at in range(len(secret) - size + 1))


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_redacted_in_every_form(form: str) -> None:
    written = FORMS[form](KEY)
    text = redact(f"HTTP 401 for <{written}> here")
    assert not leaks(text, written.strip())
    assert text.startswith("HTTP 401 for <")
    assert text.endswith("> here")
    assert "***" in text


@given(before=st.text(), after=st.text(), form=st.sampled_from(list(FORMS)))
def test_a_secret_is_redacted_whatever_is_around_it(before: str, after: str, form: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", KEY)
        written = FORMS[form](KEY)
        assert not leaks(redact(before + written + after), written.strip())


@given(text=st.text(alphabet="abc \\u%0x&;#'\"/", max_size=60))
def test_a_text_without_a_secret_is_not_changed(text: str) -> None:
    assert redact(text) == text


@given(st.lists(st.text() | st.sampled_from([encode(KEY) for encode in FORMS.values()])))
def test_many_texts_are_redacted_like_each_alone(texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_API_KEY", KEY)
        assert redact_all(texts) == [redact(text) for text in texts]


def test_a_secret_that_begins_another_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdefgh1234")
    monkeypatch.setenv("Z_TOKEN", "abcdefgh1234-and-more-5678")
    assert redact("<abcdefgh1234-and-more-5678>") == "<***>"


def test_white_space_around_a_secret_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B_TOKEN", "  qwertyuiop-1234 \n")
    assert redact("Bearer qwertyuiop-1234.") == "Bearer ***."


def test_a_short_secret_is_redacted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C_PASSWORD", "hunter")
    assert redact("hunter, hunte and hunting") == "***, hunte and hunting"


@pytest.mark.parametrize("value", ["true", "/usr/bin", "http://localhost:8000/v1", ""])
def test_flags_paths_and_addresses_are_no_secrets(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("D_KEY", value)
    assert redact(f"see {value}/x") == f"see {value}/x"


def test_the_user_and_password_of_a_url_are_redacted() -> None:
    assert redact("at http://me:pa@ss@host:80/v1!") == "at http://***@host:80/v1!"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<https://b/k?X-Amz-Signature=ab12&n=1>", "<https://b/k?X-Amz-Signature=***&n=1>"),
        ("https://b/k?a=1&x-goog-signature=ab12", "https://b/k?a=1&x-goog-signature=***"),
        ("https://b/k?X-Amz-Security-Token=a%2Fb", "https://b/k?X-Amz-Security-Token=***"),
        ("https://b/k?sv=1&sig=a%2Fb%3D", "https://b/k?sv=1&sig=***"),
        ("https://b/k?size=1&config=2", "https://b/k?size=1&config=2"),
    ],
)
def test_the_signature_of_a_url_is_redacted(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact_all([text, "plain"]) == [expected, "plain"]


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "Proxy-Authorization",
        "cookie",
        "DB_PASS",
        "GITHUB_PAT",
        "X-Auth",
        "SUPER_TOKEN",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "TOKENIZERS_PARALLELISM",
        "GIT_AUTHOR_NAME",
        "XAUTHORITY",
        "PWD",
        "PRICE_PER_TOKEN",
        "MAX_TOKENS",
    ],
)
def test_names_of_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_plain_data_is_redacted_throughout() -> None:
    data = {"a": [KEY, 1, None, {"b": (f"x {KEY}",)}], "c": 0.5}
    assert redacted(data) == {"a": ["***", 1, None, {"b": ["x ***"]}], "c": 0.5}


def test_the_variable_of_a_secret_in_a_text_is_found() -> None:
    assert find_secret(f"name: {KEY}") == "SOME_API_KEY"
    assert find_secret(f"name: {KEY[1:]}") is None


# -- literals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"Cookie": "session=0123456789"}, "Cookie"),
        ({"Cookie": "a=${A_TOKEN}; session=0123456789"}, "Cookie"),
        ({"Authorization": "Bearer 0123456789"}, "Authorization"),
        ({"X-Custom": "Bearer 0123456789"}, "X-Custom"),
        ({"user": {"apiKey": "0123456789"}}, "apiKey"),
        ({"tools": [{"client_secret": "0123456789"}]}, "client_secret"),
        ({"password": 123456}, "password"),
        ({"DB": "postgres://me:0123456@host/db"}, "DB"),
        ({"path": "https://b/k?n=1&X-Amz-Signature=0123456789"}, "path"),
        ({"HF_TOKEN": "${HOME_TOWN}"}, "HF_TOKEN"),
        ({"hf_token": "0123456789"}, "hf_token"),
        ({"token": "0123456789"}, "token"),
        ({"super_token": "0123456789"}, "super_token"),
        ({"bearer": "0123456789"}, "bearer"),
    ],
)
def test_a_literal_secret_is_found_by_its_name_or_form(options: Any, name: str) -> None:
    assert find_literal(options) == name


@pytest.mark.parametrize(
    "options",
    [
        {"Cookie": "session=${A_TOKEN}; Path=/"},
        {"Authorization": "Bearer ${A_TOKEN}"},
        {"max_tokens": 4096, "min_tokens": "4096000"},
        {"tokenizer": "some/name", "stop_token_ids": [1234567]},
        {"prompt_cache_key": "my-prompts", "pad_token": "<|endoftext|>"},
        {"HTTP_PROXY": "http://me:${A_PASSWORD}@proxy"},
        {"TOKENIZERS_PARALLELISM": "false", "api_key": "EMPTY"},
        {"api_key": None, "auth": True},
        {"per_token": "0.000012", "price_per_token": 1234567, "output-token": "0.000002 USD"},
    ],
)
def test_what_is_no_literal_secret_is_not_found(options: Any) -> None:
    assert find_literal(options) is None


@pytest.mark.parametrize(
    "value",
    [
        {"Authorization": "Bearer 0123456789"},
        ["X-Api-Key: 0123456789"],
        "./serve --api-key 0123456789 --port 1",
        {"Cookie": "a=b; session=0123456789"},
        "http://me:0123456789@host",
        "token 0123456789",
        "super token 0123456789",
        "super_token=0123456789",
        "token=0123456789",
    ],
)
def test_a_message_shows_plain_data_without_its_secrets(value: object) -> None:
    assert "0123456789" not in str(masked(value))


@pytest.mark.parametrize(
    "value",
    [
        {"per_token": "0.000012 USD", "prefill_per_token": 1234567},
        "0.30 EUR per token 1000000",
        "price_per_token: 0.000012",
    ],
)
def test_a_message_shows_prices_and_times_of_tokens(value: object) -> None:
    assert masked(value) == value

"""The prompt cache of a server: options, and hits that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.prompt_cache import SALT_TOKENS, CacheOptions, unasked_tokens
from llmbench.runs.request import Request

URL = "http://localhost:8000"


def options(**fields: Any) -> EndpointOptions:
    return EndpointOptions.model_validate({"url": URL, **fields})


@pytest.mark.parametrize(
    ("cache", "mode"),
    [
        ({}, "unique prompts"),
        ({"prompts": "same"}, "same prompts"),
        (
            {"before": "reset", "reset": "vllm", "prime": 0.5},
            "unique prompts, emptied before, 50 % primed",
        ),
    ],
)
def test_a_mode_has_the_state_of_the_cache(cache: dict[str, Any], mode: str) -> None:
    assert CacheOptions.model_validate(cache).mode == mode


def test_a_reset_of_an_unknown_server_needs_a_path() -> None:
    with pytest.raises(ValueError, match=r"needs `cache\.reset`: vllm, sglang, llama\.cpp"):
        options(cache={"before": "reset"})
    with pytest.raises(ValueError, match="or a URL path"):
        options(cache={"before": "reset", "reset": "flush"})


@pytest.mark.parametrize(
    ("reset", "path"), [("sglang", "/flush_cache"), ("/admin/drop", "/admin/drop")]
)
def test_a_reset_is_known_by_the_server_or_its_path(reset: str, path: str) -> None:
    known = options(cache={"before": "reset", "reset": reset}).reset
    assert known
    assert known.path == path


def test_a_started_server_is_started_with_what_its_reset_needs() -> None:
    server = {"preset": "vllm", "arguments": "--seed 1", "environment": {"A": "b"}}
    reset = options(url=None, server=server, cache={"before": "reset"}).launched
    assert reset
    assert reset.environment == {"VLLM_SERVER_DEV_MODE": "1", "A": "b"}
    plain = options(url=None, server=server).launched
    assert plain
    assert plain.environment == {"A": "b"}


def test_hits_of_the_template_and_of_equal_letters_are_not_counted() -> None:
    request = Request(0, (1,) * 100, 4)
    assert unasked_tokens(request, 120, 20 + SALT_TOKENS, template=20) == 0
    assert unasked_tokens(request, 120, 96, template=20) == 96 - 20 - SALT_TOKENS


def test_hits_of_a_shared_prefix_are_asked_for_in_the_tokens_of_the_server() -> None:
    request = Request(0, (1,) * 100, 4, shared=50)
    assert unasked_tokens(request, 200, 100, template=0) == 0
    assert unasked_tokens(request, 200, 200, template=0) == 100 - SALT_TOKENS

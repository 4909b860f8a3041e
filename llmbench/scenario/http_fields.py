"""The types of options that describe HTTP requests: URLs, headers, and fields of the body."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from llmbench.runs.redaction import is_secret
from llmbench.scenario.secrets import (
    FROM_ENVIRONMENT,
    check_variable,
    literal_error,
    without_secrets,
)


def check_url(text: str) -> str:
    """Return a URL without its last slash; raises ValueError unless it is http, without secrets."""
    url = urlsplit(text)
    if "@" in text:
        message = "expected no credentials; use `api_key_env` or `headers`"
        raise PydanticCustomError("secret", "{message}", {"message": message})
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("expected http://host:port or https://host, e.g. http://localhost:8000")
    if re.search(r"[\s,]", url.netloc):
        raise ValueError("expected one host; write several URLs as a list: [http://a, http://b]")
    if url.query or url.fragment:
        raise ValueError("expected no query or fragment; set extra fields in `body`")
    return text.rstrip("/")


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not HEADER.fullmatch(name) or re.search(r"[\r\n\0]", value):
            raise ValueError(f"{name!r} is not a valid HTTP header")
        variables = FROM_ENVIRONMENT.findall(value)
        for variable in variables:
            check_variable(variable)
        if is_secret(name) and not variables:
            raise literal_error(name)
    return without_secrets(headers)


def _body(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("n", 1) not in (1, None):
        raise ValueError(f"`n` is {body['n']!r:.20}; expected 1, since each request has one answer")
    return without_secrets(body)


HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+")  # a header's name
Url = Annotated[str, AfterValidator(check_url)]
Headers = Annotated[dict[str, str], AfterValidator(_headers)]
Body = Annotated[dict[str, Any], AfterValidator(_body)]
ApiKeyEnv = Annotated[str, AfterValidator(check_variable)]


def base_url(url: str) -> str:
    """Return the URL of an OpenAI-compatible API: with the path /v1 if it has none."""
    parts = urlsplit(url)
    return url if parts.path else parts._replace(path="/v1").geturl()

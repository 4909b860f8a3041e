r"""Redaction of secrets in everything that is stored or shown.

The secrets are the values of environment variables with names such as ``MY_API_KEY``. A text is
searched for every run of WINDOW characters that a secret or its base64 contains, so that a secret
is also found where it was cut, and where one secret begins like another. Escapes (``\u0041``,
``\x41``, ``%41``, ``&#65;``), also of escapes, are decoded for the search.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any

_Fragments = Mapping[int, frozenset[str]]  # of secrets, by length

HIDDEN = "***"
WINDOW = 8
MOST_SHOWN, MOST_CHARACTERS = 7, 300  # items of a list or mapping, and of a text
SHORTEST = 6  # shorter values would match common words
TELLING = 12  # characters, with a digit among them, that no text has by chance

_NAMES = re.compile(
    r"(?<!\bPER_)(?<!_PER_)(?<!\bMAX_)(?<!_MAX_)TOKEN(?!IZ)|KEY|SECRET|PASSW|CREDENTIAL|COOKIE"
    r"|AUTH(?!OR(?!IZ))|_(PASS|PAT|PWD)$",
    re.IGNORECASE,
)
_ESCAPE = re.compile(
    r"""\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2})|(["'/\\]))|%(?:25)*([0-9a-f]{2})|(&\#?\w+;)""",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=://)[^\s/]+(?=@)")  # of a URL: user:password
# of a URL that grants access by itself: of S3, Google Cloud and Azure
_SIGNED = r"X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)=|[?&]sig(?:nature)?="
_SIGNATURE = re.compile(rf"({_SIGNED})[^&\s\"'<>\\]+", re.IGNORECASE)

# -- secrets of the environment --------------------------------------------------------------------


@lru_cache(maxsize=1000)  # the variables of the environment, for every text
def is_secret(name: str) -> bool:
    """Return whether an environment variable or a header is a secret, judging by its name."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """Replace secrets, and users, passwords and signatures of URLs, in a text with ``***``."""
    return _redacted(text, _fragments(_secrets()))


def _redacted(text: str, fragments: _Fragments) -> str:
    return _SIGNATURE.sub(rf"\1{HIDDEN}", _USER.sub(HIDDEN, _without_secrets(text, fragments)))


def redact_all(texts: Sequence[str]) -> list[str]:
    """Redact many texts, such as a million ids; fast if none of them has a secret."""
    joined = "\n".join(texts)
    fragments = _fragments(_secrets())
    is_suspect = any(fragment in joined for fragment in chain.from_iterable(fragments.values()))
    if is_suspect or any(kind.search(joined) for kind in (_ESCAPE, _USER, _SIGNATURE)):
        return [_redacted(text, fragments) for text in texts]
    return list(texts)


def find_secret(text: str) -> str | None:
    """Return the environment variable whose secret is part of a text as it is, or None.

    Only long values with a digit count, which no text has by chance.
    """
    for name, value in os.environ.items():
        secret = value.strip()
        is_long = len(secret) >= TELLING and any(map(str.isdigit, secret))
        if is_secret(name) and is_long and secret in text and not _is_address(secret):
            return name
    return None


def redacted(value: Any) -> Any:
    """Return plain data with every text in it redacted, except for keys."""
    return _redacted_data(value, _fragments(_secrets()))


def _redacted_data(value: Any, fragments: _Fragments) -> Any:
    match value:
        case str():
            return _redacted(value, fragments)
        case Mapping():
            return {key: _redacted_data(inner, fragments) for key, inner in value.items()}
        case list() | tuple():
            return [_redacted_data(inner, fragments) for inner in value]
    return value


def _without_secrets(text: str, fragments: _Fragments) -> str:
    covered = bytearray(len(text))
    for begin, end in _secret_spans(text, fragments):
        covered[begin:end] = b"x" * (end - begin)
    kept, end = [], 0
    for match in re.finditer(b"x+", covered):
        kept += [text[end : match.start()], HIDDEN]
        end = match.end()
    return "".join([*kept, text[end:]])


def _secret_spans(text: str, fragments: _Fragments) -> Iterator[tuple[int, int]]:
    """Yield begin and end of every fragment of a secret in a text, as written and decoded."""
    yield from _spans(text, fragments)
    if _ESCAPE.search(text):
        decoded, positions = _decoded(text)
        for begin, end in _spans(decoded, fragments):
            yield positions[begin], positions[end]


def _spans(text: str, fragments: _Fragments) -> Iterator[tuple[int, int]]:
    for size, known in fragments.items():
        for begin in range(len(text) - size + 1):
            if text[begin : begin + size] in known:
                yield begin, begin + size


def _decoded(text: str) -> tuple[str, list[int]]:
    """Return a text with its escapes decoded, and where each character and the end lay in it."""
    parts: list[str] = []
    positions: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        character = _character(match)
        parts += [text[end : match.start()], character]
        positions += [*range(end, match.start()), *([match.start()] * len(character))]
        end = match.end()
    return "".join([*parts, text[end:]]), [*positions, *range(end, len(text) + 1)]


def _character(escape: re.Match[str]) -> str:
    code_point, byte, quoted, percent, entity = escape.groups()
    if hexadecimal := code_point or byte or percent:
        return chr(int(hexadecimal, 16))
    return quoted or html.unescape(entity)


def _secrets() -> tuple[str, ...]:
    """Return the secrets of the environment, without surrounding white space."""
    values = {value.strip() for name, value in os.environ.items() if is_secret(name)}
    return tuple(sorted(v for v in values if len(v) >= SHORTEST and not _is_address(v)))


def _is_address(value: str) -> bool:
    """Return whether a value is an existing path, or a URL without a password: no secret."""
    if value.startswith(("/", "~", ".")):
        return os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111 (never raise)
    return "://" in value and not _USER.search(value)


@lru_cache(maxsize=4)
def _fragments(secrets: tuple[str, ...]) -> dict[int, frozenset[str]]:
    """Return every WINDOW characters of all forms of the secrets, by length; short forms whole."""
    fragments: dict[int, set[str]] = {}
    for form in {form for secret in secrets for form in _forms(secret)}:
        size = min(WINDOW, len(form))
        windows = (form[begin : begin + size] for begin in range(len(form) - size + 1))
        fragments.setdefault(size, set()).update(windows)
    return {size: frozenset(known) for size, known in fragments.items()}


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as written, decoded, as the characters of its bytes, in hex and base64.

    Base64 depends on the position in groups of three bytes; only digits that the secret alone
    determines are part of the form.
    """
    data = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield _decoded(secret)[0]
    yield data.decode("latin-1")
    yield data.hex()
    for offset in range(3):
        bits = 8 * (offset + len(data))
        digits = base64.b64encode(bytes(offset) + data).decode()[-(-8 * offset // 6) : bits // 6]
        if len(digits) >= SHORTEST:
            yield digits
            yield digits.translate(str.maketrans("+/", "-_"))


# -- secrets written in a scenario -----------------------------------------------------------------

# before `token` or `key`: a price, a count or a word of a tokenizer, not a secret
_HARMLESS = (
    "per", "input", "output", "prompt", "completion", "cached", "cache", "pad", "bos", "eos", "unk",
    "sep", "cls", "mask", "stop",
)  # fmt: skip
_NOT_HARMLESS = "".join(f"(?<!_{word}_)" for word in _HARMLESS)
_LITERAL_NAMES = re.compile(
    r"_(?:secret|passw(?:or)?d|passphrase|credentials?|cookie\d?|auth|authorization|bearer"
    r"|api_?key)(?:_|$)"
    rf"|_(?:{_NOT_HARMLESS}(?:key|token)|pwd|pass|pat)(?:_?\d+)?$"
)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SCHEME = re.compile(r"\b(?:Bearer|Basic|Token|Digest|ApiKey)\s", re.IGNORECASE)
_PART = re.compile(r"(?:[\w-]+=(?=[^=\s;,]))?([^\s;,]+)")  # of a header: a value, perhaps named
_CREDENTIAL = re.compile(
    rf"\b(?:Bearer|Basic)\s+[^\s$]{{8,}}|://[^\s/$:]*:[^\s/$]+@|(?:{_SIGNED})[^\s$]{{8,}}",
    re.IGNORECASE,
)  # a secret, whatever its name
_NAMED = re.compile(
    r"""((?<![\w-])(?<!\bper\s)[\w-]*(?<!\bper[_-])(?<!_per[_-])
    (?:key|token|secret|passw(?:or)?d|passphrase|credentials?|cookie|auth(?:orization)?)
    ['"]?[:=\s]\s*)((['"]).*?\3|['"]?(?:(?:bearer|basic)\s+)?[^\s'",}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def find_literal(value: Any, name: str = "") -> str | None:
    """Return the name under which plain data contains a secret, or None if there is none.

    A secret should be referred to by its environment variable: ``${MY_API_KEY}``.
    """
    match value:
        case Mapping():
            names = (find_literal(inner, str(key)) for key, inner in value.items())
        case list() | tuple():
            names = (find_literal(inner, name) for inner in value)
        case str() | int() if not isinstance(value, bool):
            return name if _is_literal(name, str(value)) else None
        case _:
            return None
    return next((literal for literal in names if literal is not None), None)


def _is_literal(name: str, text: str) -> bool:
    if _CREDENTIAL.search(text):
        return True
    if not _names_secret(name):
        return False
    rest = _VARIABLE.sub(lambda variable: "$" if is_secret(variable[1]) else variable[0], text)
    parts = _PART.findall(_SCHEME.sub("", rest))
    return any(len(part.replace("$", "")) >= SHORTEST for part in parts)


def _names_secret(name: str) -> bool:
    """Return whether a key of a scenario names a secret: ``api_key``, but not ``max_tokens``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")
    return _LITERAL_NAMES.search(f"_{words}") is not None


def masked(value: Any, name: str = "", depth: int = 4) -> Any:
    """Return the begin of plain data for a message, with the secrets in it replaced by ``***``."""
    match value:
        case Mapping() | list() | tuple() if not depth:
            return ...
        case Mapping():
            items = islice(value.items(), MOST_SHOWN)
            return {key: masked(inner, str(key), depth - 1) for key, inner in items}
        case list() | tuple():
            return [masked(inner, name, depth - 1) for inner in islice(value, MOST_SHOWN)]
        case str():
            text = value[:MOST_CHARACTERS]
            is_secret_itself = _is_literal(name, text)
            return HIDDEN if is_secret_itself else redact(_NAMED.sub(rf"\1{HIDDEN}", text))
    return HIDDEN if isinstance(value, int) and _names_secret(name) else value

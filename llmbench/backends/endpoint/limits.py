"""The most that is read from a server; docs/endpoints.md has what happens beyond each limit.

Limits of a load's responses grow with the requested tokens, so that correct responses of any length
stay below them.
"""

from __future__ import annotations

from llmbench.runs.redaction import redact

# of one response of a load
HEADER_BYTES = 64 * 2**10  # with interim responses and trailers
HEADERS = 256
EVENT_BYTES = 2**20
DOCUMENT_BYTES = 4 * 2**20
ERROR_BODY_BYTES = 64 * 2**10
RESPONSE_BYTES, RESPONSE_BYTES_PER_TOKEN = 32 * 2**20, 16 * 2**10
EVENTS, EVENTS_PER_TOKEN = 100_000, 16
# of the text of a response, in characters; a chunk counts as CHUNK_LENGTH more
TEXT_LENGTH, TEXT_LENGTH_PER_TOKEN, CHUNK_LENGTH = 2**20, 64, 8

# of all responses of a client, in memory
IN_FLIGHT_BYTES = 64 * 2**20  # incomplete events, and text beyond TEXT_BYTES_PER_TOKEN
EXCESS_BYTES = 32 * 2**20  # text beyond TEXT_BYTES_PER_TOKEN, after the responses ended
TEXT_BYTES_PER_TOKEN = 160
UNREQUESTED_TOKENS = 8192  # that reasoning, or no length, may add
CHUNK_BYTES, CHARACTER_BYTES = 96, 4  # of a chunk's time and text object, and of a character

# of what is read outside a load
REPLY_BYTES = 4 * 2**20
MODELS, MODEL_NAME_LENGTH = 10_000, 1000
LOG_BYTES = 16 * 2**20

MESSAGE_BYTES = 2000  # of a stored error message, in UTF-8
CUT = " […]"


class Refused(Exception):  # noqa: N818 (of a response, not an error of the program)
    """A response is too large, or not what was requested; ``kind`` is the error's kind."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def response_bytes(tokens: int) -> int:
    """Return the most bytes of a response to a request for ``tokens`` tokens."""
    return RESPONSE_BYTES + RESPONSE_BYTES_PER_TOKEN * tokens


def events(tokens: int) -> int:
    """Return the most events of a response to a request for ``tokens`` tokens."""
    return EVENTS + EVENTS_PER_TOKEN * tokens


def text_length(tokens: int, *, may_exceed: bool = True) -> int:
    """Return the most characters of a text; ``may_exceed``: beyond the requested ``tokens``."""
    return may_exceed * TEXT_LENGTH + TEXT_LENGTH_PER_TOKEN * tokens


def brief(message: str) -> str:
    """Return a message as it is stored: redacted, printable and at most MESSAGE_BYTES long."""
    printable = "".join(
        letter if letter.isprintable() or letter == "\n" else " "
        for letter in redact(message[: 2 * MESSAGE_BYTES])
    )
    encoded = printable.strip().encode("utf-8", "replace")
    if len(encoded) <= MESSAGE_BYTES:
        return encoded.decode()
    return encoded[: MESSAGE_BYTES - len(CUT.encode())].decode(errors="ignore") + CUT

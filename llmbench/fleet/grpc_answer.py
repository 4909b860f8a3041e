"""A bounded check that a gRPC server, such as Ray's, answers at an address.

Ray itself waits for minutes, and then ends the process.
"""

from __future__ import annotations

import socket
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, section 3.4
SETTINGS = 4  # the type of the first frame that either side sends, here without settings
EMPTY_SETTINGS = bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0])
HEAD_BYTES = 4  # length and type of a frame


def why_silent(host: str, port: int, seconds: float) -> str | None:
    """Return why no gRPC server answers within ``seconds``, or None if one does."""
    deadline = time.monotonic() + seconds
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(PREFACE + EMPTY_SETTINGS)
            head = _first_bytes(connection, deadline)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return None if head[3:] == bytes([SETTINGS]) else "what answers there is not Ray"


def _first_bytes(connection: socket.socket, deadline: float) -> bytes:
    """Return the head of the first frame, or less if the connection is closed before."""
    head = b""
    while len(head) < HEAD_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        if not (data := connection.recv(HEAD_BYTES - len(head))):
            break
        head += data
    return head

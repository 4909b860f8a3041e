"""The HTTP server of a read-only site."""

from __future__ import annotations

import re
import socket
import sys
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import BoundedSemaphore
from typing import Any

from llmbench.errors import InputError
from llmbench.report.serve.site import Answer, Site, message_page

IDLE_SECONDS = 30
HEAD_SECONDS = 10  # until the whole head of a request has arrived
MOST_CONNECTIONS = 64  # at a time
MOST_PORT = 65_535
LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the pages declare the rest
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def started(site: Site, host: str, port: int) -> Server:
    """Return a server bound to a port (0: any free one); ``serve_forever`` runs it.

    Raise InputError if the host is unknown or the port is unavailable.
    """
    if not 0 <= port <= MOST_PORT:
        raise InputError(f"--port {port}: expected 0 to {MOST_PORT}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return Server(site, family, address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"--host {host} --port {port}: {reason}; change them, or use --port 0 for any free port"
        ) from None


class Server(ThreadingHTTPServer):
    """An HTTP server of a site's pages, with one thread per connection, for MOST_CONNECTIONS.

    A connection has HEAD_SECONDS to send its request.
    """

    def __init__(self, site: Site, family: socket.AddressFamily, address: Any) -> None:
        self.site = site
        self.address_family = family
        self._free = BoundedSemaphore(MOST_CONNECTIONS)
        self._awaited: dict[socket.socket, float] = {}  # until when
        super().__init__(address, _Handler)

    @property
    def is_private(self) -> bool:
        """Whether the server listens on loopback only."""
        return ip_address(str(self.server_address[0])).is_loopback

    @property
    def url(self) -> str:
        """The URL of the index page."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def accepts_host(self, host: str) -> bool:
        """Return whether to serve a request with this Host header.

        A server on loopback accepts only local names, to prevent DNS rebinding: a remote page can
        make its own host name resolve to this machine but cannot send a local one. Any port is
        accepted, since tunnels may change it.
        """
        return not self.is_private or bool(LOOPBACK.fullmatch(host))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread, or close it if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._awaited[request] = time.monotonic() + HEAD_SECONDS
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.has_arrived(request)
            self._free.release()

    def has_arrived(self, request: Any) -> None:
        """Stop waiting for the request of a connection."""
        self._awaited.pop(request, None)

    def service_actions(self) -> None:
        """Close the connections whose request has not arrived in time."""
        now = time.monotonic()
        for connection in [c for c, until in list(self._awaited.items()) if now > until]:
            self.has_arrived(connection)
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the error to stderr, unless a browser closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "llmbench", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self.server.has_arrived(self.request)
        if not self.server.accepts_host(self.headers.get("Host", "")):
            message = "This server accepts requests to localhost only."
            self._send(message_page(HTTPStatus.MISDIRECTED_REQUEST, message))
            return
        if self.headers.get("Sec-Fetch-Site") == "cross-site":
            message = "This server accepts no requests from pages of other sites."
            self._send(message_page(HTTPStatus.FORBIDDEN, message))
            return
        try:
            answer = self.server.site.answer(self.path)
        except Exception:  # noqa: BLE001 (printed to stderr; other pages still work)
            self.server.handle_error(self.request, self.client_address)
            message = "This page could not be rendered; see the error in the server's terminal."
            answer = message_page(HTTPStatus.INTERNAL_SERVER_ERROR, message)
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 (the same)

    def _refuse(self) -> None:
        self._send(message_page(HTTPStatus.METHOD_NOT_ALLOWED, "This server is read-only."))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Respond to an invalid request with an HTML page."""
        del explain
        self._send(message_page(HTTPStatus(code), message or ""))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Log nothing, for privacy."""

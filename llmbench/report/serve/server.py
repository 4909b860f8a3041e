"""The HTTP server of a read-only site."""

from __future__ import annotations

import re
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from llmbench.errors import InputError
from llmbench.report.serve.site import Answer, Site, message_page

IDLE_SECONDS = 30
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
    """An HTTP server of a site's pages, with one thread per connection."""

    def __init__(self, site: Site, family: socket.AddressFamily, address: Any) -> None:
        self.site = site
        self.address_family = family
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the error to stderr, unless a browser closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "llmbench", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        if not self.server.accepts_host(self.headers.get("Host", "")):
            message = "This server accepts requests to localhost only."
            self._send(message_page(HTTPStatus.MISDIRECTED_REQUEST, message))
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

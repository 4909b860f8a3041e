"""The addresses of a server: all are tried, and one that accepts comes first."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from llmbench.backends.endpoint.addresses import Address, connect, resolve
from llmbench.errors import InputError

OTHER, HOME = "127.0.0.2", "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which only 127.0.0.1 accepts connections."""
    with socket.create_server((HOME, 0)) as listening:
        yield listening.getsockname()[1]


def named(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Resolve localhost to these addresses."""

    def infos(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        known = hosts if host == "localhost" else [host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, port)) for one in known]

    monkeypatch.setattr(socket, "getaddrinfo", infos)


def test_an_address_that_accepts_comes_before_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    named(monkeypatch, OTHER, HOME, HOME)
    address = resolve(urlsplit(f"http://localhost:{port}"))
    assert address == Address((HOME, OTHER), port)


def test_the_order_is_kept_where_no_address_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, OTHER, HOME)
    assert resolve(urlsplit("http://localhost:1")).hosts == (OTHER, HOME)


def test_an_unknown_name_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be resolved"):
        resolve(urlsplit("http://no.such.host.invalid"))
    with pytest.raises(InputError, match="cannot be resolved"):
        resolve(urlsplit(f"http://{'a' * 70}.example"))


def connected(address: Address, seconds: float = 5.0) -> str:
    """Return the IP address of the server that a connection reached."""

    async def reach() -> str:
        protocol = await connect(address, Peer, tls=None, server_name=None, seconds=seconds)
        protocol.transport.abort()
        return protocol.peer

    return asyncio.run(reach())


class Peer(asyncio.Protocol):
    """A protocol that keeps the address of its peer."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.peer: str = transport.get_extra_info("peername")[0]


def test_the_next_address_is_tried_when_one_refuses(port: int) -> None:
    assert connected(Address((OTHER, HOME), port)) == HOME


def test_all_refusals_are_in_the_message() -> None:
    with pytest.raises(OSError, match=rf"{OTHER}: .*; {HOME}: "):
        connected(Address((OTHER, HOME), 1))


def test_an_address_that_does_not_respond_takes_only_its_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    real = asyncio.BaseEventLoop.create_connection

    async def silent(self: Any, make: Any, host: str, *rest: Any, **options: Any) -> Any:
        if host == OTHER:
            await asyncio.sleep(60)
        return await real(self, make, host, *rest, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", silent)
    assert connected(Address((OTHER, HOME), port), seconds=0.4) == HOME
    with pytest.raises(TimeoutError, match=r"no connection within 0\.1 s"):
        connected(Address((OTHER, OTHER), port), seconds=0.1)


def test_only_addresses_of_this_machine_are_local() -> None:
    assert Address((HOME,), 1).is_local
    assert Address(("::1",), 1).is_local
    assert not Address(("192.0.2.1",), 1).is_local  # reserved for documentation (RFC 5737)


def used_up(monkeypatch: pytest.MonkeyPatch, *sources: str | None) -> None:
    """Use up the local ports of these source addresses; None is the default one."""
    real = asyncio.BaseEventLoop.create_connection

    async def refused(self: Any, *rest: Any, local_addr: Any, **options: Any) -> Any:
        if (local_addr and local_addr[0]) in sources:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return await real(self, *rest, local_addr=local_addr, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refused)


def test_a_loopback_connection_comes_from_the_next_address_with_a_free_port(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    used_up(monkeypatch, None, "127.0.0.2")

    async def source() -> str:
        address = Address((HOME,), port)
        protocol = await connect(address, Peer, tls=None, server_name=None, seconds=5.0)
        protocol.transport.abort()
        name: str = protocol.transport.get_extra_info("sockname")[0]
        return name

    assert asyncio.run(source()) == "127.0.0.3"


def test_a_connection_fails_with_advice_when_no_port_is_free(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    used_up(monkeypatch, None)
    with pytest.raises(OSError, match=rf"{OTHER}: no local port is free; reuse connections"):
        connected(Address((OTHER,), port))

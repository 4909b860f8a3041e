"""The addresses of a server: resolve its name once, and connect to the first that accepts."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar
from urllib.parse import SplitResult

import psutil

from llmbench.errors import InputError

PORTS = {"http": 80, "https": 443}
PROBE_SECONDS = 2.0
ROUND_TRIPS = 5
NO_FREE_PORT = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)
LOOPBACK = "127.0.0.1"
OTHER_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 18))
ADVICE = {
    errno.EADDRNOTAVAIL: "no local port is free; reuse connections, or lower the load",
    errno.EMFILE: "too many open files; raise the limit of this process (ulimit -Hn)",
}

P = TypeVar("P", bound=asyncio.BaseProtocol)


class NoLocalResourceError(OSError):
    """A connection cannot be opened for want of ports or file descriptors on this machine."""


@dataclass(frozen=True, slots=True)
class Address:
    """The IP addresses of a server, in the order in which they are tried, and its port."""

    hosts: tuple[str, ...]
    port: int

    @property
    def is_local(self) -> bool:
        """Whether the first IP address is one of this machine's."""
        known = chain.from_iterable(psutil.net_if_addrs().values())
        own = {interface.address for interface in known}
        return ipaddress.ip_address(self.hosts[0]).is_loopback or self.hosts[0] in own


def resolve(url: SplitResult) -> Address:
    """Resolve a server's name, once, so that no request waits for DNS.

    Of several addresses, such as ::1 and 127.0.0.1, one that accepts connections comes first.
    Raises InputError for an unknown name.
    """
    host, port = url.hostname or "", url.port or PORTS[url.scheme]
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"endpoint: {host}: cannot be resolved: {reason}; check the `url`"
        ) from None
    hosts = dict.fromkeys(str(info[4][0]) for info in infos)
    first = next((host for host in hosts if _accepts(host, port)), None) if len(hosts) > 1 else None
    return Address(tuple(dict.fromkeys([first, *hosts] if first else hosts)), port)


async def connect(
    address: Address,
    make: Callable[[], P],
    *,
    tls: ssl.SSLContext | None,
    server_name: str | None,
    seconds: float,
) -> P:
    """Return the protocol of a connection to the first address that accepts one.

    Each address gets its share of the remaining time. Connections to 127.0.0.1 come from other
    loopback addresses when the ports of the first are used up. Raises TimeoutError if none responds
    in time, NoLocalResourceError if this machine lacks ports or files, else OSError.
    """
    loop, failures, timed_out = asyncio.get_running_loop(), [], True
    kind: type[OSError] = OSError
    deadline = loop.time() + seconds
    for left, host in zip(range(len(address.hosts), 0, -1), address.hosts, strict=True):
        try:
            async with asyncio.timeout((deadline - loop.time()) / left):
                return await _connected(make, host, address.port, tls, server_name)
        except TimeoutError:
            failures.append(f"{host}: no response")
        except OSError as error:
            failures.append(f"{host}: {ADVICE.get(error.errno or 0, error)}")
            timed_out = False
            kind = NoLocalResourceError if error.errno in ADVICE else kind
    if timed_out:
        raise TimeoutError(f"no connection within {seconds:g} s")
    raise kind("; ".join(failures))


async def _connected(
    make: Callable[[], P], host: str, port: int, tls: ssl.SSLContext | None, name: str | None
) -> P:
    async def connected(source: str | None) -> P:
        _, protocol = await asyncio.get_running_loop().create_connection(
            make,
            host,
            port,
            ssl=tls,
            server_hostname=name,
            local_addr=(source, 0) if source else None,
        )
        return protocol

    *sources, last = (None, *OTHER_SOURCES) if host == LOOPBACK else (None,)
    for source in sources:
        try:
            return await connected(source)
        except OSError as error:
            if error.errno not in NO_FREE_PORT:
                raise
    return await connected(last)


def round_trip(address: Address) -> float | None:
    """Return the least seconds that opening a connection took, of several; None if one failed."""
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        if not _accepts(address.hosts[0], address.port):
            return None
        times.append(time.perf_counter() - began)
    return min(times)


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False

"""The socket that listens, and how many connections it takes."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from aiohttp import web

from .access import key_of

BACKLOG = 32
SEND_BUFFER = 256 * 1024  # bytes, of the kernel for a connection; what lies there grows old
REQUEST_S = 15.0  # for a whole request and its answer
REST_S = 0.2  # after a failed accept, for example without file descriptors


class ServerError(RuntimeError):
    """The server cannot start; the text says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ServerError: the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and address[0] == "::"
        listening = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both and socket.has_dualstack_ipv6()
        )
    except (OSError, UnicodeError) as error:
        raise ServerError(_reason(host, port, error)) from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
    listening.setblocking(False)
    return listening


def _reason(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: end what listens there, or choose another port"
    if number == errno.EACCES:
        return f"port {port} is for root alone: choose one above 1023"
    if number == errno.EADDRNOTAVAIL or isinstance(error, (socket.gaierror, UnicodeError)):
        return (
            f"host = {host!r} is no address of this machine: accepted is one of its own, or 0.0.0.0 for all"
        )
    return f"cannot listen on port {port} of {host}: {error}"


class Listener:
    """Accepts connections, up to a bound for all and for each address, and ends those that take too long."""

    def __init__(
        self,
        server: web.Server,
        most: int,
        most_of_one: int,
        is_kept: Callable[[asyncio.BaseTransport], bool],
        refused: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            most, most_of_one: connections that are open at a time, in all and of one address.
            is_kept: whether a connection may last longer than REQUEST_S.
            refused: is told a reason and an address.
        """
        self._server, self._most, self._most_of_one = server, most, most_of_one
        self._is_kept, self._refused = is_kept, refused

    async def accept(self, listening: socket.socket) -> None:
        """Accept connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(REST_S)
                continue
            if reason := self._refusal(address[0]):
                self._refused(reason, address[0])
                connection.close()
                continue
            try:
                transport, _ = await loop.connect_accepted_socket(self._server, connection)
            except OSError:  # it is gone already
                connection.close()
                continue
            loop.call_later(REQUEST_S, self._end, transport)

    def _refusal(self, address: str) -> str:
        transports = [each.transport for each in self._server.connections if each.transport is not None]
        if len(transports) >= self._most:
            return f"{self._most} connections are open"
        peers = [transport.get_extra_info("peername") for transport in transports]
        if sum(key_of(peer[0]) == key_of(address) for peer in peers if peer) >= self._most_of_one:
            return f"{self._most_of_one} connections of one address are open"
        return ""

    def _end(self, transport: asyncio.Transport) -> None:
        if not self._is_kept(transport):
            transport.abort()

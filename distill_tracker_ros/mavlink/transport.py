"""Bytes to and from the other side of a MAVLink link: UDP, TCP or a serial port, none of which ever blocks.

The connections of pymavlink are not used: they remember every sender of a datagram for ever, miss the end of
a TCP connection, sleep, print, and need another package for serial ports.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import socket
import termios
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from ..core.texts import shown

MOST_BYTES = 65_536  # that are read at once, or wait to be sent
MOST_PEERS = 16  # of a UDP port that is listened on
PEER_SILENT_S = 60.0  # after which nothing is sent there any more
CONNECT_TIMEOUT_S = 2.0
TCP_TIMEOUT_MS = 10_000  # without an acknowledgement, after which a connection is broken
ACCEPTED = "udpout:HOST:PORT, udpin:HOST:PORT, tcp:HOST:PORT, tcpin:HOST:PORT or a serial DEVICE:BAUD"
_DEFAULT_BAUD = "57600"


class Transport(Protocol):
    """One open connection. An OSError says that it is broken."""

    def read(self, timeout_s: float) -> bytes:
        """What has come; empty if nothing comes in time."""

    def write(self, data: bytes) -> None:
        """Send one message; it is left out where there is no room for it."""

    def close(self) -> None: ...


def opener(connection: str) -> Callable[[], Transport]:
    """What opens a connection that is described like pymavlink's; it raises OSError if that fails.

    Raises:
        ValueError: there is no such connection; the text says what is accepted.
    """
    kinds: dict[str, Callable[[str, int], Transport]] = {
        "udpout": UdpOut,
        "udpin": UdpIn,
        "tcp": connect,
        "tcpin": TcpIn,
    }
    kind, _, rest = connection.partition(":")
    if kind in kinds:
        host, _, port = rest.rpartition(":")
        if host and ":" not in host and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536:
            return partial(kinds[kind], host, int(port))
    elif match := re.fullmatch(r"(/[^:,]+)(?:[:,](\d{1,7}))?", connection):
        device, baud = match[1], match[2] or _DEFAULT_BAUD
        speed = getattr(termios, f"B{baud}", None)
        if speed:
            return partial(open_serial, device, speed)
        raise ValueError(f"connection = {shown(connection)}: {baud} is no baud rate of a serial port")
    raise ValueError(f"connection = {shown(connection)}: accepted is {ACCEPTED}")


class UdpOut:
    """Datagrams to one host and port, and those that come back from that host."""

    def __init__(self, host: str, port: int) -> None:
        self._peer = (socket.gethostbyname(host), port)
        # Not connected to it: the own address may change while it is open.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def read(self, timeout_s: float) -> bytes:
        data, source = _datagram(self._socket, timeout_s)
        return data if source and source[0] == self._peer[0] else b""

    def write(self, data: bytes) -> None:
        _send(self._socket, data, self._peer)

    def close(self) -> None:
        self._socket.close()


class UdpIn:
    """A UDP port that is listened on; what is sent goes to all who sent something of late."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._heard_s: dict[tuple[str, int], float] = {}  # in the order of time
        try:
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def read(self, timeout_s: float) -> bytes:
        data, source = _datagram(self._socket, timeout_s)
        if source:
            self._heard_s.pop(source, None)
            if len(self._heard_s) >= MOST_PEERS:
                del self._heard_s[next(iter(self._heard_s))]
            self._heard_s[source] = time.monotonic()
        return data

    def write(self, data: bytes) -> None:
        oldest_s = time.monotonic() - PEER_SILENT_S
        self._heard_s = {peer: at_s for peer, at_s in self._heard_s.items() if at_s > oldest_s}
        for peer in self._heard_s:
            _send(self._socket, data, peer)

    def close(self) -> None:
        self._socket.close()


class Stream:
    """A TCP connection or a serial port."""

    def __init__(self, descriptor: int) -> None:
        """It takes the file descriptor over."""
        self._descriptor = descriptor
        self._unsent = bytearray()
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, timeout_s: float) -> bytes:
        self._flush()
        readable, _, _ = select.select([self], [], [], timeout_s)
        if not readable:
            return b""
        try:
            data = os.read(self._descriptor, MOST_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionError("the other side has closed it")
        return data

    def write(self, data: bytes) -> None:
        if len(self._unsent) + len(data) <= MOST_BYTES:
            self._unsent += data
            self._flush()

    def close(self) -> None:
        os.close(self._descriptor)

    def _flush(self) -> None:
        with suppress(BlockingIOError):  # the rest goes later
            while self._unsent:
                del self._unsent[: os.write(self._descriptor, self._unsent)]


class TcpIn:
    """A TCP port that is listened on, for one at a time: whoever comes takes the place of the one before."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.create_server((host, port))
        self._listener.setblocking(False)
        self._client: Stream | None = None

    def read(self, timeout_s: float) -> bytes:
        waiting: list[socket.socket | Stream] = [self._listener, *([self._client] if self._client else [])]
        readable, _, _ = select.select(waiting, [], [], timeout_s)
        if self._listener in readable:
            self._accept()
        elif self._client:
            try:
                return self._client.read(0)
            except OSError:
                self._leave()
        return b""

    def write(self, data: bytes) -> None:
        if self._client:
            try:
                self._client.write(data)
            except OSError:
                self._leave()

    def close(self) -> None:
        self._leave()
        self._listener.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        self._leave()
        self._client = _stream(accepted)

    def _leave(self) -> None:
        if self._client:
            self._client.close()
            self._client = None


def connect(host: str, port: int) -> Stream:
    """A TCP connection to a port that somebody listens on."""
    return _stream(socket.create_connection((host, port), CONNECT_TIMEOUT_S))


def open_serial(device: str, speed: int) -> Stream:
    """A serial port with 8 data bits, no parity and no flow control, for this process alone.

    Args:
        speed: a constant of termios.
    """
    descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(descriptor)
        attributes = termios.tcgetattr(descriptor)
        attributes[2] = attributes[2] & ~(termios.CRTSCTS | termios.CSTOPB) | termios.CLOCAL | termios.CREAD
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        fcntl.ioctl(descriptor, termios.TIOCEXCL)
    except termios.error as error:
        os.close(descriptor)
        raise OSError(error.args[0], f"{device} is no serial port: {error.args[1]}") from error
    except OSError:
        os.close(descriptor)
        raise
    return Stream(descriptor)


def _stream(connected: socket.socket) -> Stream:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_TIMEOUT_MS)
    return Stream(connected.detach())


def _datagram(source: socket.socket, timeout_s: float) -> tuple[bytes, tuple[str, int] | None]:
    readable, _, _ = select.select([source], [], [], timeout_s)
    if not readable:
        return b"", None
    try:
        return source.recvfrom(MOST_BYTES)
    except (BlockingIOError, ConnectionError):  # a datagram with a wrong checksum; nobody listened there
        return b"", None


def _send(sender: socket.socket, data: bytes, peer: tuple[str, int]) -> None:
    """A datagram; it may be lost, and so may one that finds no network."""
    with suppress(OSError):
        sender.sendto(data, peer)

"""MAVLink messages from bytes, whatever is between them."""

from __future__ import annotations

from typing import Any

from .dialect import mavlink

_V1, _V2 = 0xFE, 0xFD  # first byte of a message
_SIGNED = 0x01  # of the flags that a reader has to know
UNFINISHED_S = 0.5  # a message has not come as a whole by then: it is none


class Reader:
    """Finds the messages, versions 1 and 2, in what comes.

    pymavlink's own parser passes over all that a broken length claims, and keeps what it has read while more
    comes. This one looks for the next message behind each byte that begins none, and holds one message.
    """

    def __init__(self) -> None:
        self.bad_bytes = 0
        self._codec = mavlink.MAVLink(None)
        self._buffer = bytearray()
        self._fed_s = 0.0

    def feed(self, data: bytes, now_s: float) -> list[Any]:
        """The messages that are whole now."""
        if self._buffer and now_s - self._fed_s > UNFINISHED_S:
            self.bad_bytes += len(self._buffer)
            self._buffer.clear()
        self._fed_s = now_s
        buffer, found = self._buffer, []
        buffer += data
        at = 0
        while at < len(buffer):
            if buffer[at] not in (_V1, _V2):
                self.bad_bytes += 1
                at += 1
                continue
            length = _length(buffer, at)
            if length is None or at + length > len(buffer):
                break
            message = self._decoded(buffer, at, length)
            if message is None:
                self.bad_bytes += 1
                at += 1
                continue
            at += length
            if message is not _FOREIGN:
                found.append(message)
        del buffer[:at]
        return found

    def _decoded(self, buffer: bytearray, at: int, length: int) -> Any:
        """The message, _FOREIGN for one that is not in the dialect, None if it is none."""
        if buffer[at] == _V2 and buffer[at + 2] & ~_SIGNED:
            return None
        message_id = buffer[at + 5]
        if buffer[at] == _V2:
            message_id = int.from_bytes(buffer[at + 7 : at + 10], "little")
        if message_id not in mavlink.mavlink_map:
            # Its checksum cannot be computed; another message or nothing behind it speaks for it.
            return _FOREIGN if at + length == len(buffer) or buffer[at + length] in (_V1, _V2) else None
        try:
            return self._codec.decode(buffer[at : at + length])
        except mavlink.MAVError:
            return None


_FOREIGN = object()


def _length(buffer: bytearray, at: int) -> int | None:
    """Of the message that begins here, bytes; None if that cannot be told yet."""
    if len(buffer) < at + 3:
        return None
    if buffer[at] == _V1:
        return 8 + buffer[at + 1]
    return 12 + buffer[at + 1] + (13 if buffer[at + 2] & _SIGNED else 0)

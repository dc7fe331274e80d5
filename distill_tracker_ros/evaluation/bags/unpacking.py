"""What is compressed in a bag, unpacked in bounds: a few kB can stand for gigabytes."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

import apsw
import lz4.frame
from rosbags.rosbag1 import reader as rosbag1_reader
from rosbags.rosbag2 import reader as rosbag2_reader
from rosbags.rosbag2 import storage_mcap, storage_sqlite3

try:
    from compression import zstd as zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # before Python 3.14
    from backports import zstd as zstd

LARGEST = 2**28  # bytes of a chunk or a message, unpacked: a raw image of 64 million pixels and more
MOST_RATIO = 1000  # by which a whole file shrinks; recordings of cameras do by ten
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_BLOCK = 1 << 20
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "bz2": bz2.BZ2Decompressor,
}


class BrokenError(Exception):
    """Nothing can be read from here on; the text says why."""


def unpacked(kind: str, data: bytes, size: int | None = None) -> bytes:
    """A chunk or a message, of which no more is unpacked than it may have.

    Args:
        kind: zstd, lz4, bz2, or none (also empty).
        size: bytes that it has by its own account; None = it says nothing.

    Raises:
        BrokenError: it has another size, or more than LARGEST.
        Exception: whatever the library raises for damaged data.
    """
    most = LARGEST if size is None else size
    if most > LARGEST:
        raise BrokenError(f"a chunk claims {size} bytes: accepted are up to {LARGEST}")
    if kind in ("", "none"):
        content = data
    elif kind in _DECOMPRESSORS:
        content = _DECOMPRESSORS[kind]().decompress(data, most + 1)
    else:
        raise BrokenError(f"a chunk has the unknown compression {kind!r}")
    if len(content) > most:
        raise BrokenError(f"a chunk is damaged: it has more than {most} bytes")
    if size is not None and len(content) != size:
        raise BrokenError(f"a chunk is damaged: it has {len(content)} bytes in place of {size}")
    return content


def unpacked_file(packed: BinaryIO, packed_bytes: int) -> Iterator[bytes]:
    """The blocks of a file that is compressed as a whole (zstd).

    Raises:
        BrokenError: it becomes MOST_RATIO times as large.
        zstd.ZstdError, EOFError: it is damaged or ends.
    """
    decompressor, left = zstd.ZstdDecompressor(), MOST_RATIO * packed_bytes
    while not decompressor.eof:
        block = packed.read(_BLOCK) if decompressor.needs_input else b""
        if decompressor.needs_input and not block:
            return
        content = decompressor.decompress(block, _BLOCK)
        left -= len(content)
        if left < 0:
            raise BrokenError(f"unpacked it has more than {MOST_RATIO} times its {packed_bytes} bytes")
        yield content


def bound_rosbags() -> None:
    """Give the readers of rosbags, which unpack whatever comes, the bounds of this module.

    They look up how to unpack in these tables; there is no other way to tell them.
    """
    for kind in storage_mcap.DECOMPRESSORS:
        storage_mcap.DECOMPRESSORS[kind] = partial(unpacked, kind)
    for kind in rosbag1_reader.decompressors:
        rosbag1_reader.decompressors[kind] = partial(unpacked, kind)
    if _harden not in apsw.connection_hooks:
        apsw.connection_hooks.append(_harden)


@contextmanager
def without_qos() -> Iterator[None]:
    """Around the opening of a reader: the quality of service, YAML of any size in the bag, is not read."""
    modules: list[Any] = [rosbag2_reader, storage_mcap, storage_sqlite3]
    parse = modules[0].parse_qos
    for module in modules:
        module.parse_qos = lambda profiles: []
    try:
        yield
    finally:
        for module in modules:
            module.parse_qos = parse


def _harden(database: apsw.Connection) -> None:
    """A bag is plain tables: a view or a virtual table can count for ever, or make gigabytes of nothing."""
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    database.limit(apsw.SQLITE_LIMIT_LENGTH, LARGEST)

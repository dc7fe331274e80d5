"""What is left of a broken bag: its messages, in the order in which they were written, up to the break.

A library needs an index at the end of a file, or all pages of a database; a recorder that lost its power
leaves neither. Here files are read from their beginning, by the published formats:

    MCAP      https://mcap.dev/spec: records, or chunks of records
    ROS 1     https://wiki.ros.org/Bags/Format/2.0: chunks of records
    SQLite    the tables `topics` and `messages` of rosbag2, by row number
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import apsw
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)

from ...core.texts import one_line
from ...runtime.plain_yaml import read_yaml
from .unpacking import ZSTD_MAGIC, BrokenError, bound_rosbags, unpacked, unpacked_file, zstd

Message = tuple[Connection, int, bytes]  # topic, recording time (ns), serialised message

# What the parts of a damaged file raise in those who read them.
_DAMAGE = (
    struct.error,
    KeyError,
    IndexError,
    ValueError,
    OSError,
    EOFError,
    OverflowError,
    RuntimeError,  # lz4
    zstd.ZstdError,
)
bound_rosbags()


class Salvage:
    """A broken bag with the face of a reader of rosbags: `connections`, `messages` and `close`."""

    def __init__(self, path: Path) -> None:
        """Read all of it once, to see what is there. `path`: a file, or a folder with a metadata.yaml."""
        self.broken = ""  # why it ends before it should; empty if every message is there
        self._files = _storage_files(path) if path.is_dir() else [path]
        self._unpacked: dict[Path, Path] = {}  # compressed files
        found: dict[tuple[str, str], Connection] = {}
        try:
            for connection, _, _ in self._all():
                found.setdefault(_key(connection), connection)
        except BaseException:  # Ctrl-C: this can take long
            self.close()
            raise
        self.connections = list(found.values())

    def messages(self, connections: Collection[Connection], start: int = 0) -> Iterator[Message]:
        """The messages of some topics that were recorded at `start` (ns) or later, up to the break."""
        wanted = set(map(_key, connections))
        for connection, recorded_ns, raw in self._all():
            if recorded_ns >= start and _key(connection) in wanted:
                yield connection, recorded_ns, raw

    def close(self) -> None:
        for file in self._unpacked.values():
            file.unlink(missing_ok=True)

    def _all(self) -> Iterator[Message]:
        for path in self._files:
            try:
                for connection, recorded_ns, raw in _FORMATS[_suffix(path)](self._plain(path)):
                    # The mode of compression stands in metadata.yaml, which may be damaged too.
                    whole = unpacked("zstd", raw) if raw.startswith(ZSTD_MAGIC) else raw
                    yield connection, recorded_ns, whole
            except BrokenError as error:
                self.broken = one_line(f"{path.name}: {error}")
                return
            except _DAMAGE as error:
                self.broken = one_line(f"{path.name} is damaged: {error!r}")
                return

    def _plain(self, path: Path) -> Path:
        """The file, or as much of a compressed file as can be unpacked."""
        if path.suffix == ".zstd" and path not in self._unpacked:
            with path.open("rb") as packed, tempfile.NamedTemporaryFile(prefix="bag_", delete=False) as file:
                self._unpacked[path] = Path(file.name)
                with suppress(zstd.ZstdError, EOFError):  # what is missing shows in the unpacked file
                    for block in unpacked_file(packed, path.stat().st_size):
                        file.write(block)
        return self._unpacked.get(path, path)


def _key(connection: Connection) -> tuple[str, str]:
    return connection.topic, connection.msgtype


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".zstd" else path.suffix


def _storage_files(folder: Path) -> list[Path]:
    """The files of a bag in their order: as metadata.yaml says, or by the numbers in their names."""
    try:
        content = read_yaml(folder / "metadata.yaml")
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return [folder / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError):
        found = [path for path in folder.iterdir() if _suffix(path) in _FORMATS]
        return sorted(found, key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.stem)])


class _Fields:
    """Little-endian numbers, texts and blocks of bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def __bool__(self) -> bool:
        return bool(self._rest)

    @property
    def rest(self) -> bytes:
        return bytes(self._rest)

    def numbers(self, format: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{format}", self.take(struct.calcsize(f"<{format}")))

    def block(self) -> bytes:
        """Bytes with their number (32 bits) before them."""
        return self.take(*self.numbers("I"))

    def text(self) -> str:
        return self.block().decode()

    def take(self, size: int) -> bytes:
        if len(self._rest) < size:
            raise BrokenError("a record is damaged: it is shorter than it says")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


_CUT_OFF = "it ends at byte {} in the middle of a record: it was cut off"


def _read(file: BinaryIO, size: int) -> bytes:
    """As many bytes. What is left is looked at first, for a damaged size may be any number."""
    at = file.tell()
    end = file.seek(0, 2)
    if end - at < size:
        raise BrokenError(_CUT_OFF.format(end))
    file.seek(at)
    return file.read(size)


# MCAP

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


def _mcap_messages(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        if file.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC:
            raise BrokenError("it does not begin as an MCAP file does")
        schemas = {0: ("", _NO_DEFINITION)}
        channels: dict[int, Connection] = {}
        for kind, content in _mcap_records(file):
            fields = _Fields(content)
            if kind == _SCHEMA:
                (number,) = fields.numbers("H")
                schemas[number] = fields.text(), _mcap_definition(fields.text(), fields.block())
            elif kind == _CHANNEL:
                number, schema = fields.numbers("HH")
                channels[number] = _connection(number, fields.text(), *schemas[schema])
            else:
                number, _, recorded_ns, _ = fields.numbers("HIQQ")
                yield channels[number], recorded_ns, fields.rest


def _mcap_records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Schemas, channels and messages, out of their chunks, up to the end of the data."""
    for kind, content in _mcap_all_records(file):
        if kind == _DATA_END:
            return
        if kind == _CHUNK:
            yield from _mcap_all_records(BytesIO(_mcap_chunk(content)))
        elif kind in (_SCHEMA, _CHANNEL, _MESSAGE):
            yield kind, content
    raise BrokenError("it has no end mark: the recording was cut off")


def _mcap_all_records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    while head := file.read(1):
        (size,) = struct.unpack("<Q", _read(file, 8))
        yield head[0], _read(file, size)


def _mcap_chunk(content: bytes) -> bytes:
    """The records of a chunk."""
    fields = _Fields(content)
    _, _, size, checksum = fields.numbers("QQQI")
    compression = fields.text()
    records = unpacked(compression, fields.take(*fields.numbers("Q")), size)
    if checksum and crc32(records) != checksum:
        raise BrokenError("a chunk is damaged: its checksum is another one")
    return records


def _mcap_definition(encoding: str, text: bytes) -> MessageDefinition:
    if encoding == "ros2msg":
        return MessageDefinition(MessageDefinitionFormat.MSG, text.decode())
    return _NO_DEFINITION


def _connection(number: int, topic: str, msgtype: str, definition: MessageDefinition) -> Connection:
    return Connection(number, topic, msgtype, definition, "", 0, ConnectionExtRosbag2("cdr", []), None)


# SQLite


class _WholeFile(apsw.VFSFile):
    """A database that has the size that its header says; to read what is missing is an error.

    SQLite itself does not open such a file, and would take what is missing for zeros.
    """

    def __init__(self, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        header = super().xRead(100, 0)
        page_bytes, pages = struct.unpack(">H10xI", header[16:32]) if len(header) == 100 else (0, 0)
        self._size: int = max(super().xFileSize(), pages * (65536 if page_bytes == 1 else page_bytes))

    def xFileSize(self) -> int:
        return self._size

    def xRead(self, amount: int, offset: int) -> bytes:
        data = super().xRead(amount, offset)
        if len(data) < amount:
            raise apsw.IOError(f"it has no byte {offset + amount - 1}")
        return data


class _WholeFiles(apsw.VFS):
    def __init__(self) -> None:
        super().__init__("whole_files", "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _WholeFile(name, flags)


_whole_files = cache(_WholeFiles)  # once it is made, SQLite knows it


def _sqlite_messages(path: Path) -> Iterator[Message]:
    _whole_files()
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    uri = f"{path.resolve().as_uri()}?immutable=1"
    try:
        with closing(apsw.Connection(uri, flags=flags, vfs="whole_files")) as database:
            topics = {
                number: _connection(number, name, msgtype, _NO_DEFINITION)
                for number, name, msgtype in database.execute("SELECT id, name, type FROM topics")
                if isinstance(name, str) and isinstance(msgtype, str)
            }
            # By row, as the index of times may be missing.
            rows = "SELECT topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id"
            for number, recorded_ns, raw in database.execute(rows):
                if not (isinstance(recorded_ns, int) and isinstance(raw, bytes)):
                    raise BrokenError("a row of the database is damaged")
                yield topics[number], recorded_ns, raw
    except apsw.Error as error:
        raise BrokenError(f"the database is cut off or damaged ({error})") from error


# ROS 1

_ROS1_MAGIC = b"#ROSBAG V2.0\n"
_OP_MESSAGE, _OP_CHUNK, _OP_CHUNK_INFO, _OP_CONNECTION = 2, 5, 6, 7


def _ros1_messages(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        if file.read(len(_ROS1_MAGIC)) != _ROS1_MAGIC:
            raise BrokenError("it does not begin as a ROS 1 bag does")
        connections: dict[int, Connection] = {}
        for fields, content in _ros1_records(file):
            (number,) = struct.unpack("<I", fields["conn"])
            if fields["op"][0] == _OP_CONNECTION:
                connections[number] = _ros1_connection(number, fields, _ros1_fields(content))
            elif fields["op"][0] == _OP_MESSAGE:
                seconds, nanoseconds = struct.unpack("<II", fields["time"])
                yield connections[number], seconds * 1_000_000_000 + nanoseconds, content


def _ros1_records(file: BinaryIO) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """The records in the chunks, up to the index at the end."""
    for fields, content in _ros1_all_records(file):
        if fields["op"][0] in (_OP_CONNECTION, _OP_CHUNK_INFO):  # in the open, they are the index
            return
        if fields["op"][0] == _OP_CHUNK:
            (size,) = struct.unpack("<I", fields["size"])
            records = unpacked(fields["compression"].decode(), content, size)
            yield from _ros1_all_records(BytesIO(records))
    raise BrokenError("it has no index at its end: the recording was cut off")


def _ros1_all_records(file: BinaryIO) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """The fields in the header of each record, an `op` among them, and its content."""
    while head := file.read(4):
        if len(head) < 4:
            raise BrokenError(_CUT_OFF.format(file.tell()))
        fields = _ros1_fields(_read(file, *struct.unpack("<I", head)))
        yield fields, _read(file, *struct.unpack("<I", _read(file, 4)))


def _ros1_fields(data: bytes) -> dict[str, bytes]:
    fields, reader = {}, _Fields(data)
    while reader:
        name, _, value = reader.block().partition(b"=")
        fields[name.decode()] = value
    return fields


def _ros1_connection(number: int, fields: dict[str, bytes], about: dict[str, bytes]) -> Connection:
    package, _, name = about["type"].decode().rpartition("/")
    definition = MessageDefinition(MessageDefinitionFormat.MSG, about["message_definition"].decode())
    topic, msgtype = fields["topic"].decode(), f"{package}/msg/{name}"
    return Connection(number, topic, msgtype, definition, "", 0, ConnectionExtRosbag1(None, None), None)


_FORMATS: dict[str, Callable[[Path], Iterator[Message]]] = {
    ".mcap": _mcap_messages,
    ".db3": _sqlite_messages,
    ".bag": _ros1_messages,
}

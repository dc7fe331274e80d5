"""Bags of all formats whose bytes, records, rows, chunks and messages are wrong."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import lz4.frame
import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import NUMBERS, applied, changes, mutated, odd_texts, odd_values
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys.store import Typestore

from distill_tracker_ros.evaluation.bags.reading import open_bag
from distill_tracker_ros.evaluation.bags.types import DETECTION, IMAGE, ros1_types, ros2_types
from distill_tracker_ros.evaluation.bags.unpacking import zstd
from distill_tracker_ros.evaluation.sequences import SequenceError

Message = tuple[str, str, int, bytes]
MAGIC = b"\x89MCAP0\r\n"
CHUNK, DATA_END = 0x06, 0x0F
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
    "bzip": bytes,
}
BOMBS = {name: pack(bytes(100_000_000)) for name, pack in PACK.items() if name in ("zstd", "lz4")}


def read(path: Path) -> None:
    """As a replay does it: all images, one of them again."""
    bag = open_bag(path)
    for index in [*range(len(bag.frames)), 0]:
        frame = bag.frames.view(index)
        assert frame.cut(0, 0, frame.width, frame.height).shape == (frame.height, frame.width, 3)


def messages(store: Typestore) -> list[Message]:
    """Three small images and their boxes."""
    make, old = store.types, store is ros1_types()
    write = store.serialize_ros1 if old else store.serialize_cdr
    found = []
    for second in range(1, 4):
        stamp = make["builtin_interfaces/msg/Time"](second, 0)
        header = make["std_msgs/msg/Header"](*((0,) if old else ()), stamp, "cam")
        image = make[IMAGE](header, 4, 6, "bgr8", 0, 18, np.arange(72, dtype=np.uint8))
        found.append(("/image", IMAGE, second * 10**9, bytes(write(image, IMAGE))))
        if not old:
            point = make["vision_msgs/msg/Point2D"](2.0, 2.0)
            box = make["vision_msgs/msg/BoundingBox2D"](make["vision_msgs/msg/Pose2D"](point, 0.0), 2.0, 2.0)
            detection = make[DETECTION](header, [], box, "1")
            found.append(("/ground_truth", DETECTION, second * 10**9 + 1, bytes(write(detection, DETECTION))))
    return found


def write_ros2(folder: Path, storage: StoragePlugin, mode: CompressionMode = CompressionMode.NONE) -> Path:
    writer = Writer(folder, version=8, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for topic, kind, at_ns, raw in messages(ros2_types()):
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=ros2_types())
            writer.write(topics[topic], at_ns, raw)
    return folder


def write_ros1(path: Path, compression: Any = None) -> bytes:
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        topic = writer.add_connection("/image", IMAGE, typestore=ros1_types())
        for _, _, at_ns, raw in messages(ros1_types()):
            writer.write(topic, at_ns, raw)
    return path.read_bytes()


def storage_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.name != "metadata.yaml")


def records(content: bytes) -> list[tuple[int, bytes]]:
    """Of an MCAP file or of a chunk, without its magic."""
    found, at = [], 0
    while at + 9 <= len(content):
        kind, size = struct.unpack_from("<BQ", content, at)
        found.append((kind, content[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def record(kind: int, content: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<BQ", kind % 256, len(content) if claimed is None else claimed) + content


def places(content: bytes) -> list[int]:
    """Where the records of an MCAP file begin, and the fields at their beginnings."""
    found, at = [], len(MAGIC)
    for kind, body in records(content[len(MAGIC) : -len(MAGIC)]):
        found += [at + k for k in range(60 if kind == CHUNK else 30)]
        at += 9 + len(body)
    return found


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    mcap, stored = StoragePlugin.MCAP, CompressionMode.STORAGE
    return {
        "mcap": storage_file(write_ros2(folder / "a", mcap)).read_bytes(),
        "mcap.zstd": storage_file(write_ros2(folder / "b", mcap, stored)).read_bytes(),
        "db3": storage_file(write_ros2(folder / "c", StoragePlugin.SQLITE3)).read_bytes(),
        "bag": write_ros1(folder / "d.bag"),
        "bag.lz4": write_ros1(folder / "e.bag", Ros1Writer.CompressionFormat.LZ4),
        "bag.bz2": write_ros1(folder / "f.bag", Ros1Writer.CompressionFormat.BZ2),
    }


def test_mcap(fuzz: Callable[..., None], samples: dict[str, bytes], tmp_path: Path) -> None:
    """Bytes of the file; and records of a chunk, which is put together again, so that they are looked at."""
    whole = samples["mcap"]
    kept = [(kind, body) for kind, body in records(whole[len(MAGIC) :]) if kind == 1]
    (chunk,) = (body for kind, body in records(whole[len(MAGIC) :]) if kind == CHUNK)
    inner = records(chunk[28 + 4 + 8 :])
    numbers = st.sampled_from(NUMBERS)

    @st.composite
    def rebuilt(draw: Any) -> bytes:
        parts = []
        for kind, body in inner:
            what = draw(st.integers(0, 9))
            new = applied(body, draw(changes(range(40), 2))) if what == 0 else body
            claimed = draw(numbers) % 2**64 if what == 1 else None
            parts += [record(draw(st.integers(0, 255)) if what == 2 else kind, new, claimed)] * (what != 3)
        content = b"".join(parts)
        packing = draw(st.sampled_from(sorted(PACK)))
        is_bomb = packing in BOMBS and draw(st.integers(0, 49)) == 0
        packed = BOMBS[packing] if is_bomb else PACK[packing](content)
        size = draw(st.just(len(content)) | st.integers(-2, 2).map(lambda n: n + len(content)) | numbers)
        name = packing.encode()
        head = struct.pack("<QQQI", 0, 2**62, size % 2**64, draw(st.sampled_from((0, crc32(content)))))
        body = head + struct.pack("<I", len(name)) + name + struct.pack("<Q", len(packed)) + packed
        if draw(st.integers(0, 9)) == 0:
            body = applied(body, draw(changes(range(60), 2)))
        end = record(DATA_END, bytes(4)) if draw(st.booleans()) else b""
        return MAGIC + record(*kept[0]) + record(CHUNK, body) + end

    changed = [mutated([samples[name]], places(samples[name])) for name in ("mcap", "mcap.zstd")]
    path = tmp_path / "a.mcap"
    fuzz(
        "mcap",
        "MCAP bags",
        st.one_of(rebuilt(), *changed, st.sampled_from([whole, b"", MAGIC])),
        lambda content: (path.write_bytes(content), read(path)),
        SequenceError,
        share=0.035,
        most_mb=300.0,
    )


def test_sqlite(fuzz: Callable[..., None], samples: dict[str, bytes], tmp_path: Path) -> None:
    """Bytes of the file, and rows of any type."""
    path = tmp_path / "a.db3"
    cells = st.one_of(
        st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), odd_texts(), st.binary(max_size=99)
    )
    columns = {
        "topics": ["id", "name", "type", "serialization_format"],
        "messages": ["topic_id", "timestamp", "data"],
    }
    images = mutated([raw for _, kind, _, raw in messages(ros2_types()) if kind == IMAGE], range(60))

    @st.composite
    def rows(draw: Any) -> list[tuple[str, Any]]:
        steps = []
        for _ in range(draw(st.integers(1, 3))):
            table = draw(st.sampled_from(sorted(columns)))
            column = draw(st.sampled_from(columns[table]))
            value = draw(images if column == "data" else cells)
            steps.append(
                (f"UPDATE OR REPLACE {table} SET {column} = ? WHERE id = {draw(st.integers(1, 6))}", value)
            )
        return steps

    def attempt(case: bytes | list[tuple[str, Any]]) -> None:
        path.write_bytes(case if isinstance(case, bytes) else samples["db3"])
        if not isinstance(case, bytes):
            database = sqlite3.connect(path)
            try:
                for statement, value in case:
                    database.execute(statement, [_utf8(value)])
                database.commit()
            except sqlite3.IntegrityError:
                pass
            finally:
                database.close()
        read(path)

    page = len(samples["db3"]) // 4096
    at = [4096 * n + k for n in range(page) for k in range(16)] + list(range(100))
    fuzz("sqlite", "SQLite bags", rows() | mutated([samples["db3"]], at), attempt, SequenceError, share=0.03)


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def test_ros_1_bags(fuzz: Callable[..., None], samples: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.bag"
    whole = [samples[name] for name in ("bag", "bag.lz4", "bag.bz2")]
    fields = [b"op=", b"size=", b"conn=", b"time=", b"index_pos=", b"chunk_pos=", b"count=", b"compression="]
    at = sorted({content.find(f) + k for content in whole for f in fields for k in range(-4, 16)})
    fuzz(
        "ros1",
        "ROS 1 bags",
        mutated(whole, at) | mutated(whole),
        lambda content: (path.write_bytes(content), read(path)),
        SequenceError,
        share=0.04,
    )


def test_folders(fuzz: Callable[..., None], samples: dict[str, bytes], tmp_path: Path) -> None:
    """metadata.yaml of wrong text and values, compressed files and messages."""
    wholes = {}
    for storage in StoragePlugin:
        for mode in (CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE):
            folder = write_ros2(tmp_path / f"{storage.name}_{mode.name}", storage, mode)
            wholes[folder] = ((folder / "metadata.yaml").read_bytes(), storage_file(folder).read_bytes())
    lines = st.sampled_from(
        ["compression_mode: file", "compression_mode: MESSAGE", "version: 99", "- a: &a [*a]"]
    )
    values = odd_values().map(str)

    @st.composite
    def broken(draw: Any) -> tuple[Path, bytes, bytes]:
        folder = draw(st.sampled_from(sorted(wholes)))
        text, content = wholes[folder]
        what = draw(st.integers(0, 3))
        if what == 0:
            text = applied(text, draw(changes()))
        elif what == 1:
            content = applied(content, draw(changes()))
        else:
            rows = text.decode().splitlines()
            at = draw(st.integers(0, len(rows) - 1))
            key = rows[at].partition(":")[0]
            rows[at] = draw(lines | values.map(lambda value: f"{key}: {value}"))
            text = "\n".join(rows).encode("utf-8", "replace")
        return folder, text, content

    def attempt(case: tuple[Path, bytes, bytes]) -> None:
        folder, text, content = case
        (folder / "metadata.yaml").write_bytes(text)
        storage_file(folder).write_bytes(content)
        read(folder)

    fuzz("bag_folders", "bags with metadata, compressed as a whole or by message", broken(), attempt,
         SequenceError, share=0.015)  # fmt: skip

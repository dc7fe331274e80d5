"""Messages from bytes: versions, pieces, and whatever else is on the line."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import command, gcs_heartbeat
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.mavlink.reader import UNFINISHED_S, Reader


def packed(message: Any, *, old: bool = False, key: bytes = b"") -> bytes:
    codec = mavlink.MAVLink(None, 255, 190)
    if key:
        codec.signing.secret_key, codec.signing.sign_outgoing = key, True
    return bytes(message.pack(codec, force_mavlink1=old))


HEARTBEAT, COMMAND = packed(gcs_heartbeat()), packed(command(2005, 0.1, 0.2, 0.3, 0.4, 0, 0, 1e-30))
OLD = packed(command(512, 259), old=True)
SIGNED = packed(gcs_heartbeat(), key=b"k" * 32)
# A message that is not in the dialect, with the right length; its checksum cannot be known.
FOREIGN = bytes([0xFD, 5, 0, 0, 1, 1, 1, 0x11, 0x22, 0x33, *b"abcde", 0x12, 0x34])
FOREIGN_OLD = bytes([0xFE, 3, 0, 1, 1, 171, *b"abc", 0x12, 0x34])


def names(messages: list[Any]) -> list[str]:
    return [message.get_type() for message in messages]


def test_both_versions_and_signed_ones() -> None:
    reader = Reader()
    found = reader.feed(HEARTBEAT + OLD + SIGNED + COMMAND, 0.0)
    assert names(found) == ["HEARTBEAT", "COMMAND_LONG", "HEARTBEAT", "COMMAND_LONG"]
    assert (found[1].param1, found[3].command) == (259.0, 2005)
    assert {(m.get_srcSystem(), m.get_srcComponent()) for m in found} == {(255, 190)}
    assert reader.bad_bytes == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13, 50])
def test_in_pieces_of_any_size(size: int) -> None:
    reader, stream = Reader(), (HEARTBEAT + FOREIGN + OLD + FOREIGN_OLD + SIGNED + COMMAND) * 20
    found = [m for at in range(0, len(stream), size) for m in reader.feed(stream[at : at + size], at / 1e4)]
    assert names(found) == ["HEARTBEAT", "COMMAND_LONG", "HEARTBEAT", "COMMAND_LONG"] * 20


def test_messages_of_other_dialects_are_passed_over() -> None:
    reader = Reader()
    assert names(reader.feed(FOREIGN + FOREIGN_OLD + COMMAND + FOREIGN, 0.0)) == ["COMMAND_LONG"]
    assert reader.bad_bytes == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"\xfd",
        b"\xfe",
        b"\xfd\xff\x00",  # claims 267 bytes
        b"\xfd\x05\x02" + b"\0" * 20,  # flags that nobody knows
        b"\xfe\x02\x00\x01\x01\x00\x00",
        HEARTBEAT[:-1],  # cut off
        HEARTBEAT[:-1] + bytes([HEARTBEAT[-1] ^ 1]),  # damaged
        FOREIGN[:-1],
        bytes(range(256)),
    ],
)
def test_what_is_behind_garbage_is_found(garbage: bytes) -> None:
    reader = Reader()
    found = reader.feed(garbage + COMMAND, 0.0)
    for number in range(1, 14):  # what comes next completes what the garbage may have claimed to be
        found += reader.feed(HEARTBEAT, number / 100)
    assert names(found) == ["COMMAND_LONG"] + ["HEARTBEAT"] * 13
    assert reader.bad_bytes == len(garbage)


def test_a_message_with_a_flag_that_nobody_knows_is_none() -> None:
    unknown = bytearray(HEARTBEAT)
    unknown[2] |= 0x02
    extra = bytes([mavlink.mavlink_map[0].crc_extra])
    unknown[-2:] = mavlink.x25crc(bytes(unknown[1:-2]) + extra).crc.to_bytes(2, "little")
    assert Reader().feed(bytes(unknown), 0.0) == []


def test_what_does_not_get_finished_does_not_keep_the_next_message_waiting() -> None:
    reader = Reader()
    assert reader.feed(b"\xfd\xff\x00", 0.0) == []
    assert names(reader.feed(COMMAND, UNFINISHED_S + 0.1)) == ["COMMAND_LONG"]
    assert reader.bad_bytes == 3


def test_a_line_that_is_never_clean_takes_no_memory() -> None:
    reader, dice = Reader(), random.Random(0)
    for number in range(3000):
        reader.feed(dice.randbytes(40) + COMMAND[:-1] + b"\xfd\xff\x00", number / 1e4)
        assert len(reader._buffer) <= 280


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([HEARTBEAT, COMMAND, OLD])), max_size=30))
def test_any_bytes_are_read_without_an_error(pieces: list[bytes]) -> None:
    reader = Reader()
    for number, piece in enumerate(pieces):
        for message in reader.feed(piece, number / 100):
            assert message.get_type()
        assert len(reader._buffer) <= 280
    # A quiet moment later it reads as if nothing had been.
    assert names(reader.feed(COMMAND, 100.0)) == ["COMMAND_LONG"]

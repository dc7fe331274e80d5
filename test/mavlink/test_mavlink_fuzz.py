"""Whatever comes, in bytes or in fields: the camera lives, and each command for it gets one final answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import CAMERA, VEHICLE, Desk, Said, command, gcs_heartbeat, results
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.mavlink.camera import MOST_SENDERS
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.mavlink.options import VideoConfig
from distill_tracker_ros.mavlink.reader import Reader

IN_PROGRESS = 5
OURS = (511, 512, 521, 522, 2004, 2005, 2010, 2504, 2505)

any_float = st.floats(width=32, allow_nan=True, allow_infinity=True)
likely = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.25, 0.5, 0.75, 100.0, 259.0, 269.0, 275.0]), any_float)
byte = st.integers(0, 255)
number = st.integers(-(2**31), 2**31 - 1)
ids = st.one_of(st.sampled_from(OURS), st.integers(0, 65_535))
systems, components = st.sampled_from([VEHICLE, 0, 8]), st.sampled_from([CAMERA, 0, 1, 101])
senders = st.tuples(st.integers(1, 255), byte).filter(lambda sender: sender != (VEHICLE, CAMERA))

long_commands = st.builds(mavlink.MAVLink_command_long_message, systems, components, ids, byte, *[likely] * 7)
int_commands = st.builds(
    mavlink.MAVLink_command_int_message,
    *(systems, components, byte, ids, byte, byte),
    *[likely] * 4,
    *(number, number, likely),
)
answers = st.builds(Said, st.booleans(), st.sampled_from(["", "no", "é" * 200, "a\nb"]), st.booleans())
states = st.sampled_from(list(TrackState))
boxes = st.tuples(*[st.floats(-1e4, 1e4)] * 4)
steps = st.one_of(
    st.tuples(st.just("command"), st.one_of(long_commands, int_commands), senders),
    st.tuples(st.just("answer"), answers),
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("sees"), st.lists(st.tuples(st.sampled_from(["mavlink", "web"]), states, boxes))),
    st.tuples(st.just("silent"), st.sampled_from([0.0, 2.0, math.inf])),
)


def camera_of(sent: Any) -> float:
    """The target camera that a command names."""
    params = [sent.param1, sent.param2, sent.param3, sent.param4]
    fifth = sent.param5 if sent.get_type() == "COMMAND_LONG" else float(sent.x)
    fifth = math.nan if fifth == 0x7FFFFFFF else fifth
    return {2004: params[3], 2005: fifth, 2010: params[0]}.get(sent.command, 0.0)


def expects_an_answer(sent: Any) -> bool:
    if sent.target_system not in (VEHICLE, 0) or sent.target_component not in (CAMERA, 0):
        return False
    named = camera_of(sent)
    return sent.target_component == CAMERA or math.isnan(named) or named in (0, CAMERA)


@settings(max_examples=400, deadline=None)
@given(st.lists(steps, max_size=25))
def test_every_command_for_it_gets_one_final_answer(script: list[tuple[Any, ...]]) -> None:
    desk = Desk(video=VideoConfig(uri="5600"))
    desk.meet()
    due, sent = 0, []
    waiting: list[Any] = []
    for step, *what in script:
        if step == "command":
            direct = desk.send(*what)
            sent += direct
            is_repeat = results(direct) == [IN_PROGRESS]
            due += expects_an_answer(what[0]) and not is_repeat
        elif step == "answer" and waiting:
            waiting.pop(0).set_result(what[0])
        elif step == "wait":
            sent += desk.wait(what[0])
        elif step == "sees":
            desk.tracker.sees(*what[0])
        elif step == "silent":
            desk.tracker.silent_s = what[0]
        waiting = [future for *_, future in desk.tracker.calls if not future.done()]
        assert len(waiting) <= 2
    for future in waiting:
        future.set_result(Said(True))
    sent += desk.wait(0.1)
    assert len([result for result in results(sent) if result != IN_PROGRESS]) == due
    assert not desk.camera._pending and len(desk.camera._finished) <= MOST_SENDERS
    assert all(math.isfinite(box) for call in desk.tracker.calls if call[0] == "follow" for box in call[1][1])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=300), long_commands, int_commands), max_size=20))
def test_random_bytes_between_random_commands_leave_it_as_it_was(pieces: list[Any]) -> None:
    desk, reader = Desk(), Reader()
    desk.meet()
    codec = mavlink.MAVLink(None, 255, 190)
    for place, piece in enumerate(pieces):
        data = piece if isinstance(piece, bytes) else piece.pack(codec)
        for message in reader.feed(data, place / 100):
            desk.camera.receive(message, desk.now_s)
        desk.wait(0.05)
        for *_, future in desk.tracker.calls:
            if not future.done():
                future.set_result(Said(False, "no"))
    desk.wait(0.1)
    answer = desk.send(command(512, 259))
    assert results(answer) == [0] and answer[1].flags & 1024
    assert len(desk.wait(2.0)) >= 2  # heartbeats


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(mavlink.mavlink_map)), st.binary(max_size=255), senders)
def test_any_message_of_the_dialect_with_any_content(
    id: int, payload: bytes, sender: tuple[int, int]
) -> None:
    """With a right checksum: what a hostile peer can send."""
    desk, reader = Desk(system_id=0), Reader()
    header = bytes([0xFD, len(payload), 0, 0, 0, *sender]) + id.to_bytes(3, "little")
    checksum = mavlink.x25crc(header[1:] + payload + bytes([mavlink.mavlink_map[id].crc_extra])).crc
    for message in reader.feed(header + payload + checksum.to_bytes(2, "little"), 0.0):
        desk.camera.receive(message, desk.now_s)
        desk.wait(0.1)
    desk.send(gcs_heartbeat())
    assert desk.wait(2.0)

"""The camera as a state machine: every message's fields, every refusal, retries, times."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import (
    CAMERA,
    HEIGHT,
    STATION,
    VEHICLE,
    WIDTH,
    Desk,
    command,
    command_int,
    fields,
    gcs_heartbeat,
    kinds,
    results,
    texts,
    vehicle_heartbeat,
)

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.mavlink import descriptions
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.mavlink.options import CameraConfig, VideoConfig
from distill_tracker_ros.mavlink.tracker import Report

ACCEPTED, TEMPORARILY_REJECTED, DENIED, UNSUPPORTED, IN_PROGRESS = 0, 1, 2, 3, 5
POINT, RECTANGLE, STOP, INTERVAL, REQUEST = 2004, 2005, 2010, 511, 512
INFORMATION, SETTINGS, STREAM, STREAM_STATUS, TRACKING = 259, 260, 269, 270, 275
OTHER = (254, 190)
NAN = math.nan
BOX = (0.25, 0.25, 0.5, 0.75)
BOX_PX = (160.0, 120.0, 160.0, 240.0)


def video(**options: Any) -> VideoConfig:
    return VideoConfig(**{"uri": "rtsp://10.0.0.2:8554/main", **options})


@pytest.fixture
def desk() -> Desk:
    desk = Desk(video=video())
    desk.meet()
    return desk


# Who it is, and whom it hears.


def test_heartbeat_once_a_second_as_a_camera_of_the_vehicle() -> None:
    desk = Desk()
    beats = desk.wait(10.0)
    assert kinds(beats) == ["HEARTBEAT"] * len(beats) and len(beats) in (10, 11)
    assert {(m.get_srcSystem(), m.get_srcComponent()) for m in beats} == {(VEHICLE, CAMERA)}
    assert fields(beats[0]) == {
        "type": 30,
        "autopilot": 8,
        "base_mode": 0,
        "custom_mode": 0,
        "system_status": 4,
        "mavlink_version": 3,
    }


def test_the_system_id_is_learned_from_the_autopilot_alone() -> None:
    desk = Desk(system_id=0, component_id=103)
    for sender, message in (
        (STATION, gcs_heartbeat()),
        ((9, 1), gcs_heartbeat()),  # a ground station that took the autopilot's number
        ((9, 154), vehicle_heartbeat()),  # another device
        ((9, 1), descriptions.heartbeat()),  # no autopilot
        ((0, 1), vehicle_heartbeat()),  # no system
    ):
        desk.send(message, sender)
    assert {m.get_srcSystem() for m in desk.wait(3.0)} == {0}
    assert desk.send(command(REQUEST, INFORMATION, system=0, component=0)) == []
    desk.send(vehicle_heartbeat(), (9, 1))
    desk.send(vehicle_heartbeat(), (11, 1))  # the first one counts
    beats = desk.wait(2.0)
    assert {(m.get_srcSystem(), m.get_srcComponent()) for m in beats} == {(9, 103)}
    assert results(desk.send(command(REQUEST, INFORMATION, system=9, component=103))) == [ACCEPTED]
    assert ("camera", "camera 103 of vehicle 9") in desk.log.lines


@pytest.mark.parametrize(
    ("system", "component", "is_heard"),
    [
        (VEHICLE, CAMERA, True),
        (VEHICLE, 0, True),
        (0, CAMERA, True),
        (0, 0, True),
        (VEHICLE, 101, False),
        (VEHICLE, 1, False),
        (8, CAMERA, False),
        (8, 0, False),
    ],
)
@pytest.mark.parametrize("make", [command, command_int])
def test_only_commands_to_it_or_to_all_are_answered(
    desk: Desk, make: Any, system: int, component: int, is_heard: bool
) -> None:
    for id in (REQUEST, RECTANGLE, 400):
        answers = desk.send(make(id, INFORMATION, system=system, component=component))
        assert bool(answers) is is_heard, id
    assert not desk.tracker.calls


def test_its_own_messages_that_a_router_sends_back_are_passed_over(desk: Desk) -> None:
    assert desk.send(command(REQUEST, INFORMATION), (VEHICLE, CAMERA)) == []


def test_the_link_is_found_lost_and_found_in_the_log_and_the_facts() -> None:
    desk = Desk()
    desk.wait(10.0)
    assert not desk.log.lines[1:]  # nobody was there that could be lost
    desk.send(vehicle_heartbeat(), (VEHICLE, 1))
    desk.wait(4.0)
    desk.send(gcs_heartbeat())
    desk.wait(4.0)
    assert desk.camera.facts(desk.now_s).peers == (STATION,)
    desk.wait(2.0)
    desk.send(gcs_heartbeat())
    desk.wait(0.1)
    events = [event for event, _ in desk.log.lines]
    assert events == ["camera", "link_found", "link_lost", "link_found"]
    assert desk.log.lines[1][1].endswith(f"{VEHICLE}/1") and desk.log.lines[3][1].endswith("255/190")
    assert desk.camera.facts(desk.now_s).heartbeats == 3


def test_peers_and_senders_are_remembered_within_bounds(desk: Desk) -> None:
    for system in range(1, 255):
        desk.send(gcs_heartbeat(), (system, 190))
        desk.send(command(INTERVAL, TRACKING, 1e6), (system, 190))
    assert len(desk.camera.facts(desk.now_s).peers) == 32
    assert len(desk.camera._intervals_s) == 16


# What it says of itself.


def test_camera_information_in_full() -> None:
    described = CameraConfig("Maker", "Model é" + "x" * 40, 4.5, 6.25, 0.0)
    desk = Desk(camera=described, video=video())
    ack, message = desk.send(command(REQUEST, INFORMATION))
    assert fields(ack) == {
        "command": REQUEST,
        "result": ACCEPTED,
        "progress": 0,
        "result_param2": 0,
        "target_system": 255,
        "target_component": 190,
    }
    assert fields(message) == {
        "time_boot_ms": 1_000_000,
        "vendor_name": "Maker",
        "model_name": "Model é" + "x" * 23,  # 31 bytes
        "firmware_version": 0,
        "focal_length": 4.5,
        "sensor_size_h": 6.25,
        "sensor_size_v": "nan",
        "resolution_h": WIDTH,
        "resolution_v": HEIGHT,
        "lens_id": 0,
        "flags": 256 | 512 | 1024,
        "cam_definition_version": 0,
        "cam_definition_uri": "",
        "gimbal_device_id": 0,
        "camera_device_id": 0,
    }


def test_before_the_first_image_and_without_a_video_it_says_less() -> None:
    desk = Desk()
    desk.tracker.report = None
    message = desk.send(command(REQUEST, INFORMATION))[1]
    assert (message.resolution_h, message.resolution_v, message.flags) == (0, 0, 512 | 1024)
    for id in (STREAM, STREAM_STATUS):
        assert results(desk.send(command(REQUEST, id))) == [DENIED]
    assert results(desk.send(command(2504, 1))) == [DENIED]


@pytest.mark.parametrize(
    ("id", "params", "kind"),
    [
        (REQUEST, (INFORMATION,), "CAMERA_INFORMATION"),
        (REQUEST, (SETTINGS,), "CAMERA_SETTINGS"),
        (REQUEST, (STREAM,), "VIDEO_STREAM_INFORMATION"),
        (REQUEST, (STREAM, 1), "VIDEO_STREAM_INFORMATION"),
        (REQUEST, (STREAM, NAN), "VIDEO_STREAM_INFORMATION"),
        (REQUEST, (STREAM_STATUS, 1), "VIDEO_STREAM_STATUS"),
        (REQUEST, (TRACKING,), "CAMERA_TRACKING_IMAGE_STATUS"),
        (521, (1,), "CAMERA_INFORMATION"),
        (522, (1,), "CAMERA_SETTINGS"),
        (2504, (0,), "VIDEO_STREAM_INFORMATION"),
        (2504, (1,), "VIDEO_STREAM_INFORMATION"),
        (2505, (1,), "VIDEO_STREAM_STATUS"),
    ],
)
def test_what_is_asked_for_follows_the_acknowledgement_as_often_as_asked(
    desk: Desk, id: int, params: tuple[float, ...], kind: str
) -> None:
    for confirmation in (0, 1, 2):
        answers = desk.send(command(id, *params, confirmation=confirmation), OTHER)
        assert kinds(answers) == ["COMMAND_ACK", kind]
        ack = answers[0]
        assert (ack.command, ack.result, ack.target_system, ack.target_component) == (id, ACCEPTED, *OTHER)


@pytest.mark.parametrize(
    ("id", "params", "result"),
    [
        (REQUEST, (30,), DENIED),  # ATTITUDE: a message that it does not have
        (REQUEST, (NAN,), DENIED),
        (REQUEST, (STREAM, 2), DENIED),
        (2504, (2,), DENIED),
        (2505, (-1,), DENIED),
        (521, (0,), DENIED),
        (522, (NAN,), DENIED),
        (INTERVAL, (30, 1e6), DENIED),
        (INTERVAL, (TRACKING, -2), DENIED),
        (INTERVAL, (TRACKING, NAN), DENIED),
        (INTERVAL, (TRACKING, math.inf), DENIED),
        (400, (1,), UNSUPPORTED),
        (2000, (0, 0, 1), UNSUPPORTED),
        (2502, (1,), UNSUPPORTED),
        (65_535, (), UNSUPPORTED),
    ],
)
def test_what_there_is_not(desk: Desk, id: int, params: tuple[float, ...], result: int) -> None:
    answers = desk.send(command(id, *params))
    assert kinds(answers) == ["COMMAND_ACK"] and results(answers) == [result]
    assert answers[0].command == id
    assert "STATUSTEXT" not in kinds(desk.wait(3.0))  # ground stations try such things unasked


def test_stream_information_status_and_settings_in_full() -> None:
    stream = video(
        name="nose", encoding="h265", width=1920, height=1080, rate_hz=29.97, bitrate=4_000_000, hfov_deg=80
    )
    desk = Desk(video=stream)
    shared = {
        "flags": 1,
        "framerate": 29.97,
        "resolution_h": 1920,
        "resolution_v": 1080,
        "bitrate": 4_000_000,
        "rotation": 0,
        "hfov": 80,
        "camera_device_id": 0,
        "stream_id": 1,
    }
    assert fields(desk.send(command(REQUEST, STREAM))[1]) == {
        **shared,
        "count": 1,
        "type": 0,
        "name": "nose",
        "uri": "rtsp://10.0.0.2:8554/main",
        "encoding": 2,
    }
    assert fields(desk.send(command(REQUEST, STREAM_STATUS))[1]) == shared
    assert fields(desk.send(command(REQUEST, SETTINGS))[1]) == {
        "time_boot_ms": 1_000_000,
        "mode_id": 1,
        "zoomLevel": "nan",
        "focusLevel": "nan",
        "camera_device_id": 0,
    }


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("rtsp://a/b", 0), ("5600", 1), ("udp://0.0.0.0:5600", 1), ("tcp://a:5000", 2), ("mpegts://a:1", 3)],
)
def test_the_kind_of_a_stream_is_that_of_its_uri(uri: str, kind: int) -> None:
    message = Desk(video=video(uri=uri)).send(command(REQUEST, STREAM))[1]
    assert (message.type, message.uri) == (kind, uri)


def test_the_size_of_the_video_is_that_of_the_part_that_it_shows() -> None:
    desk = Desk(video=video(crop_left=0.25, crop_width=0.5, crop_top=0.1, crop_height=0.9))
    for id in (INFORMATION, STREAM, STREAM_STATUS):
        message = desk.send(command(REQUEST, id))[1]
        assert (message.resolution_h, message.resolution_v) == (320, 432)


# Marks.


def test_a_rectangle_is_accepted_when_the_tracker_has_accepted_it(desk: Desk) -> None:
    assert desk.send(command(RECTANGLE, *BOX)) == []
    assert [call[:2] for call in desk.tracker.calls] == [("follow", ("mavlink", BOX_PX))]
    assert kinds(desk.wait(0.5)) == []
    desk.tracker.answer(True, "target 'mavlink' is followed")
    answers = desk.wait(0.02)
    assert kinds(answers) == ["COMMAND_ACK"]
    assert fields(answers[0]) == {
        "command": RECTANGLE,
        "result": ACCEPTED,
        "progress": 0,
        "result_param2": 0,
        "target_system": 255,
        "target_component": 190,
    }
    assert desk.log.lines[-1] == ("mavlink_accepted", "asked by 255/190: target 'mavlink' is followed")
    assert desk.camera.facts(desk.now_s).accepted == 1


@pytest.mark.parametrize(
    ("point", "box"),
    [
        ((0.5, 0.5, 0.125), (240.0, 160.0, 160.0, 160.0)),  # the side is 2 * radius * width
        ((0.5, 0.5, 0.0), (288.0, 208.0, 64.0, 64.0)),  # the default side
        ((0.0, 0.0, 0.125), (0.0, 0.0, 80.0, 80.0)),  # cut off at the frame
        ((1.0, 1.0, 0.125), (560.0, 400.0, 80.0, 80.0)),
        ((0.5, 0.5, 1.0), (0.0, 0.0, 640.0, 480.0)),
        ((0.5, 0.5, 1e30), (0.0, 0.0, 640.0, 480.0)),
    ],
)
def test_a_point_becomes_a_square(desk: Desk, point: tuple[float, ...], box: tuple[float, ...]) -> None:
    desk.send(command(POINT, *point))
    assert desk.tracker.calls[-1][:2] == ("follow", ("mavlink", box))


def test_marks_and_boxes_are_relative_to_the_part_that_the_video_shows() -> None:
    desk = Desk(video=VideoConfig(crop_left=0.25, crop_top=0.5, crop_width=0.5, crop_height=0.5))
    desk.send(command(RECTANGLE, 0.0, 0.0, 0.5, 1.0))
    assert desk.tracker.calls[-1][1] == ("mavlink", (160.0, 240.0, 160.0, 240.0))
    desk.tracker.answer(True)
    desk.wait(0.02)
    desk.send(command(POINT, 0.5, 0.5, 0.1))
    assert desk.tracker.calls[-1][1] == ("mavlink", (288.0, 328.0, 64.0, 64.0))
    for box, corners in (
        ((160.0, 240.0, 160.0, 240.0), (0.0, 0.0, 0.5, 1.0)),
        ((80.0, 400.0, 160.0, 200.0), (0.0, 0.66667, 0.25, 1.0)),  # what is seen of it
        ((0.0, 0.0, 640.0, 480.0), (0.0, 0.0, 1.0, 1.0)),
    ):
        desk.tracker.sees(("mavlink", TrackState.TRACKING, box))
        status = desk.send(command(REQUEST, TRACKING))[1]
        assert (status.tracking_status, status.tracking_mode) == (1, 2)
        assert tuple(fields(status)[f"rec_{name}"] for name in CORNERS) == corners
    # It is tracked, but there is no place for its box in the video.
    desk.tracker.sees(("mavlink", TrackState.TRACKING, (0.0, 0.0, 100.0, 240.0)))
    status = desk.send(command(REQUEST, TRACKING))[1]
    assert (status.tracking_status, status.tracking_mode, fields(status)["rec_top_x"]) == (1, 0, "nan")


CORNERS = ("top_x", "top_y", "bottom_x", "bottom_y")


@pytest.mark.parametrize(
    ("id", "params", "why"),
    [
        (RECTANGLE, (NAN, 0.2, 0.5, 0.5), "x1 = nan: accepted is a number from 0 to 1"),
        (RECTANGLE, (0.1, math.inf, 0.5, 0.5), "y1 = inf: accepted is a number from 0 to 1"),
        (RECTANGLE, (0.1, 0.2, 1.01, 0.5), "x2 = 1.01: accepted is a number from 0 to 1"),
        (RECTANGLE, (0.1, 0.2, 0.5, -0.01), "y2 = -0.01: accepted is a number from 0 to 1"),
        (RECTANGLE, (0.5, 0.2, 0.5, 0.6), "x1 = 0.5, x2 = 0.5: accepted is x2 > x1"),
        (RECTANGLE, (0.1, 0.6, 0.5, 0.2), "y1 = 0.6, y2 = 0.2: accepted is y2 > y1"),
        (RECTANGLE, (), "x1 = 0, x2 = 0: accepted is x2 > x1"),
        (POINT, (NAN, 0.5, 0.1), "x = nan: accepted is a number from 0 to 1"),
        (POINT, (0.5, 2.0, 0.1), "y = 2: accepted is a number from 0 to 1"),
        (POINT, (0.5, 0.5, -0.1), "radius = -0.1: accepted is a number from 0"),
        (POINT, (0.5, 0.5, NAN), "radius = nan: accepted is a number from 0"),
        (POINT, (0.5, 0.5, math.inf), "radius = inf: accepted is a number from 0"),
        (POINT, (0.5, 0.5, 0.1, 101), "camera id 101 is another camera: accepted is 0 or 100"),
        (RECTANGLE, (*BOX, 3), "camera id 3 is another camera: accepted is 0 or 100"),
        (STOP, (99.5,), "camera id 99.5 is another camera: accepted is 0 or 100"),
    ],
)
def test_malformed_marks_are_denied_with_a_reason_for_the_pilot(
    desk: Desk, id: int, params: tuple[float, ...], why: str
) -> None:
    answers = desk.send(command(id, *params))
    assert results(answers) == [DENIED] and answers[0].command == id
    assert texts(answers) == [why]
    assert all(m.severity == mavlink.MAV_SEVERITY_WARNING for m in answers[1:])
    assert not desk.tracker.calls
    assert desk.log.lines[-1] == ("mavlink_refused", f"refused to 255/190: {why}")
    facts = desk.camera.facts(desk.now_s)
    assert (facts.refused, facts.accepted, facts.last_refusal) == (1, 0, why)


@pytest.mark.parametrize("make", [command, command_int])
@pytest.mark.parametrize("camera_id", [0, CAMERA])
def test_the_target_camera_may_be_all_or_this_one(desk: Desk, make: Any, camera_id: int) -> None:
    for id, params in ((RECTANGLE, BOX), (POINT, (0.5, 0.5, 0.1)), (STOP, ())):
        place = {RECTANGLE: 4, POINT: 3, STOP: 0}[id]
        values = [*params, *[0.0] * (7 - len(params))]
        values[place] = camera_id
        desk.send(make(id, *values))
        desk.tracker.answer(True)
        assert results(desk.wait(0.02)) == [ACCEPTED]


def test_a_mark_to_all_components_for_another_camera_is_left_to_that_one(desk: Desk) -> None:
    assert desk.send(command(RECTANGLE, *BOX, 101, component=0)) == []
    assert not desk.tracker.calls


def test_an_unset_target_camera_is_any(desk: Desk) -> None:
    desk.send(command(RECTANGLE, *BOX, NAN))
    desk.tracker.answer(True)
    desk.wait(0.02)
    stop = command_int(STOP, NAN)
    desk.send(stop)
    assert [call[0] for call in desk.tracker.calls] == ["follow", "drop"]
    unset = command_int(RECTANGLE, *BOX)
    unset.x = 0x7FFFFFFF
    desk.send(unset)
    assert len(desk.tracker.calls) == 3


def test_shares_at_the_edges_may_be_off_by_a_rounding(desk: Desk) -> None:
    desk.send(command(RECTANGLE, -5e-7, 0.0, 1.0000005, 1.0))
    assert desk.tracker.calls[-1][1] == ("mavlink", (0.0, 0.0, 640.0, 480.0))


# Answers of the tracker.


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ((False, "box left=1 ... at least 4 px", False), DENIED),
        ((False, "the stamp 1.0 is older than every image that is kept", False), DENIED),
        (
            (False, "the tracker is busy (32 commands): try again", True),
            TEMPORARILY_REJECTED,
        ),
        ((False, "no tracker answers at /tracker/set_target", True), TEMPORARILY_REJECTED),
        ((False, "the tracker did not answer within 5 s", True), TEMPORARILY_REJECTED),
    ],
)
@pytest.mark.parametrize("id", [POINT, RECTANGLE, STOP])
def test_refusals_of_the_tracker_are_passed_on(
    desk: Desk, id: int, answer: tuple[bool, str, bool], result: int
) -> None:
    desk.tracker.sees(("mavlink", TrackState.TRACKING, BOX_PX))
    desk.send(command(id, *(BOX if id == RECTANGLE else (0.0, 0.5, 0.1))))
    desk.tracker.answer(*answer)
    answers = desk.wait(0.02)
    assert results(answers) == [result]
    assert texts(answers) == [answer[1]]
    assert all(len(m.text) <= 50 for m in answers[1:])


def test_while_the_tracker_is_silent_a_refusal_is_for_now(desk: Desk) -> None:
    desk.tracker.silent_s = 3.0
    desk.wait(2.0)
    desk.send(command(RECTANGLE, *BOX))
    desk.tracker.answer(False, "the node is inactive: 'ros2 lifecycle set /tracker activate'")
    assert results(desk.wait(0.02)) == [TEMPORARILY_REJECTED]


@pytest.mark.parametrize("report", [None, "empty"])
def test_without_the_size_of_the_images_there_is_nothing_to_mark(desk: Desk, report: Any) -> None:
    desk.tracker.report = Report(0, 0, ()) if report else None
    for id, params in ((RECTANGLE, BOX), (POINT, (0.5, 0.5, 0.1))):
        answers = desk.send(command(id, *params))
        assert results(answers) == [TEMPORARILY_REJECTED]
    assert not desk.tracker.calls
    answers = desk.wait(3.0) and desk.send(command(RECTANGLE, *BOX))
    assert texts(answers) == ["no image yet: is the tracker active, does its camera send?"]


def test_what_takes_longer_than_a_second_is_in_progress(desk: Desk) -> None:
    desk.send(command(RECTANGLE, *BOX))
    answers = [m for m in desk.wait(3.5) if m.get_type() == "COMMAND_ACK"]
    assert [(m.result, m.progress, m.target_system) for m in answers] == [(IN_PROGRESS, 255, 255)] * 3
    desk.tracker.answer(True)
    assert results(desk.wait(1.5)) == [ACCEPTED]


# Retries.


def test_a_repeated_command_is_answered_and_not_started_twice(desk: Desk) -> None:
    desk.send(command(RECTANGLE, *BOX))
    for confirmation in (0, 1, 2):  # while it is in progress
        assert results(desk.send(command(RECTANGLE, *BOX, confirmation=confirmation))) == [IN_PROGRESS]
    desk.tracker.answer(True)
    assert results(desk.wait(0.02)) == [ACCEPTED]
    for confirmation in (1, 2, 255):  # its answer was lost
        assert results(desk.send(command(RECTANGLE, *BOX, confirmation=confirmation))) == [ACCEPTED]
    assert len(desk.tracker.calls) == 1
    desk.send(command(RECTANGLE, *BOX))  # again, by the pilot
    assert len(desk.tracker.calls) == 2


def test_a_repeated_command_gets_its_refusal_again(desk: Desk) -> None:
    desk.send(command(STOP))
    desk.tracker.answer(False, "no tracker", retry=True)
    assert results(desk.wait(0.02)) == [TEMPORARILY_REJECTED]
    assert results(desk.send(command(STOP, confirmation=1))) == [TEMPORARILY_REJECTED]
    assert len(desk.tracker.calls) == 1


@pytest.mark.parametrize(
    ("params", "sender", "later_s"),
    [((0.25, 0.25, 0.5, 0.7), STATION, 0.0), (BOX, OTHER, 0.0), (BOX, STATION, 11.0)],
)
def test_another_box_another_sender_or_much_later_is_no_retry(
    desk: Desk, params: tuple[float, ...], sender: tuple[int, int], later_s: float
) -> None:
    desk.send(command(RECTANGLE, *BOX))
    desk.tracker.answer(True)
    desk.wait(0.02 + later_s)
    desk.send(command(RECTANGLE, *params, confirmation=1), sender)
    assert len(desk.tracker.calls) == 2


def test_a_first_transmission_that_was_lost_is_no_matter(desk: Desk) -> None:
    desk.send(command(RECTANGLE, *BOX, confirmation=3))
    assert len(desk.tracker.calls) == 1


def test_one_mark_and_one_stop_at_a_time_whatever_comes(desk: Desk) -> None:
    desk.send(command(RECTANGLE, *BOX))
    for number in range(200):
        for id, params in ((RECTANGLE, (0.1, 0.1, 0.2, 0.2 + number / 1e3)), (POINT, (0.5, 0.5, 0.1))):
            answers = desk.send(command(id, *params), OTHER)
            assert results(answers) == [TEMPORARILY_REJECTED]
    assert desk.camera.facts(desk.now_s).last_refusal == "busy with the mark before this one: try again"
    desk.send(command(STOP))
    assert results(desk.send(command(STOP), OTHER)) == [TEMPORARILY_REJECTED]
    assert [call[0] for call in desk.tracker.calls] == ["follow", "drop"]
    for *_, future in desk.tracker.calls:
        future.set_result(type("Yes", (), {"success": True, "message": "", "retry": False}))
    answers = desk.wait(0.02)
    assert [(m.command, m.result, m.target_system) for m in answers] == [
        (RECTANGLE, ACCEPTED, 255),
        (STOP, ACCEPTED, 255),
    ]


# Stop.


@pytest.mark.parametrize(
    ("targets", "dropped"),
    [((), "mavlink"), (("mavlink",), "mavlink"), (("web", "mavlink"), "mavlink"), (("web", "car"), "web")],
)
def test_stop_drops_the_target_that_is_reported(desk: Desk, targets: tuple[str, ...], dropped: str) -> None:
    desk.tracker.sees(*((id, TrackState.LOST, BOX_PX) for id in targets))
    desk.send(command(STOP))
    assert desk.tracker.calls[-1][:2] == ("drop", dropped)


def test_stop_is_accepted_when_there_is_nothing_to_stop(desk: Desk) -> None:
    desk.send(command(STOP))
    desk.tracker.answer(False, "there is no target")
    answers = desk.wait(0.02)
    assert results(answers) == [ACCEPTED] and not texts(answers)


def test_stop_is_not_accepted_when_nothing_is_known_of_the_tracker(desk: Desk) -> None:
    desk.tracker.silent_s = 5.0
    desk.wait(2.0)
    desk.send(command(STOP))
    desk.tracker.answer(False, "the node is inactive")
    assert results(desk.wait(0.02)) == [TEMPORARILY_REJECTED]


# The status.

IDLE, ACTIVE, ERROR, COASTING = 0, 1, 2, 8
NO_BOX = ("nan",) * 4
BOX_SHARES = BOX


@pytest.mark.parametrize(
    ("targets", "flags", "corners"),
    [
        ((), IDLE, NO_BOX),
        ((("mavlink", TrackState.TRACKING),), ACTIVE, BOX_SHARES),
        ((("mavlink", TrackState.UNCERTAIN),), ACTIVE | COASTING, BOX_SHARES),
        ((("mavlink", TrackState.LOST),), ERROR, NO_BOX),
        ((("web", TrackState.TRACKING),), ACTIVE, BOX_SHARES),
        ((("web", TrackState.TRACKING), ("mavlink", TrackState.LOST)), ERROR, NO_BOX),
        ((("web", TrackState.LOST), ("car", TrackState.TRACKING)), ERROR, NO_BOX),
    ],
)
def test_the_status_in_full(desk: Desk, targets: Any, flags: int, corners: tuple[Any, ...]) -> None:
    desk.tracker.sees(*((id, state, BOX_PX) for id, state in targets))
    message = desk.send(command(REQUEST, TRACKING))[1]
    assert fields(message) == {
        "tracking_status": flags,
        "tracking_mode": 2 if corners != NO_BOX else 0,
        "target_data": 4,
        "point_x": "nan",
        "point_y": "nan",
        "radius": "nan",
        **{f"rec_{name}": value for name, value in zip(CORNERS, corners, strict=True)},
        "camera_device_id": 0,
    }


def test_of_the_overlay_the_box_is_in_the_picture_too() -> None:
    desk = Desk(video=VideoConfig(shows_overlay=True))
    assert desk.send(command(REQUEST, TRACKING))[1].target_data == 4 | 2


@pytest.mark.parametrize("box", [(-20.0, -10.0, 40.0, 30.0), (630.0, 470.0, 40.0, 40.0)])
def test_a_box_over_the_edge_is_cut_at_it(desk: Desk, box: Any) -> None:
    desk.tracker.sees(("mavlink", TrackState.TRACKING, box))
    message = desk.send(command(REQUEST, TRACKING))[1]
    values = [getattr(message, f"rec_{name}") for name in CORNERS]
    assert all(0 <= value <= 1 for value in values) and (values[0] == 0 or values[2] == 1)


def statuses(messages: list[Any]) -> list[Any]:
    return [m for m in messages if m.get_type() == "CAMERA_TRACKING_IMAGE_STATUS"]


def test_the_status_comes_at_the_rate_that_was_asked_for_until_it_is_stopped(desk: Desk) -> None:
    assert not statuses(desk.wait(5.0))
    assert results(desk.send(command(INTERVAL, TRACKING, 500_000))) == [ACCEPTED]
    assert len(statuses(desk.wait(10.0))) in (20, 21)
    assert results(desk.send(command(INTERVAL, TRACKING, 0))) == [ACCEPTED]  # the default
    assert len(statuses(desk.wait(10.0))) in (50, 51)
    assert results(desk.send(command(INTERVAL, TRACKING, 1))) == [ACCEPTED]  # as fast as it can
    assert 45 <= len(statuses(desk.wait(1.0))) <= 51
    assert results(desk.send(command(INTERVAL, TRACKING, -1))) == [ACCEPTED]
    assert not statuses(desk.wait(5.0))


def test_of_several_who_ask_the_fastest_is_served_and_each_stops_its_own(desk: Desk) -> None:
    desk.send(command(INTERVAL, TRACKING, 500_000))
    desk.send(command(INTERVAL, TRACKING, 100_000), OTHER)
    assert len(statuses(desk.wait(10.0))) in (100, 101)
    desk.send(command(INTERVAL, TRACKING, -1), OTHER)
    assert 19 <= len(statuses(desk.wait(10.0))) <= 21
    desk.send(command(INTERVAL, TRACKING, -1))
    assert not statuses(desk.wait(5.0))


def test_there_is_a_shortest_interval(desk: Desk) -> None:
    desk.send(command(INTERVAL, TRACKING, 1))
    assert 45 <= len(statuses([m for _ in range(1000) for m in desk.wait(0.001)])) <= 52


def test_after_a_pause_there_is_no_burst(desk: Desk) -> None:
    desk.send(command(INTERVAL, TRACKING, 100_000))
    desk.wait(1.0)
    desk.now_s += 60
    assert len(statuses(desk.wait(0.1))) <= 3


def test_a_silent_tracker_is_an_error_and_told_once(desk: Desk) -> None:
    desk.tracker.sees(("mavlink", TrackState.TRACKING, BOX_PX))
    desk.send(command(INTERVAL, TRACKING, 500_000))
    assert {m.tracking_status for m in statuses(desk.wait(2.0))} == {ACTIVE}
    desk.tracker.silent_s = 1.5
    sent = desk.wait(0.1)
    for _ in range(5):
        desk.send(gcs_heartbeat())
        sent += desk.wait(2.0)
    assert {m.tracking_status for m in statuses(sent)[1:]} == {ERROR}
    assert texts(sent) == ["no status of the tracker for 1 s: is it active, does its camera send?"]
    desk.tracker.silent_s = 0.1
    sent = desk.wait(2.0)
    assert texts(sent) == ["the tracker is back"]
    assert {m.tracking_status for m in statuses(sent)} == {ACTIVE}


def test_a_tracker_that_was_never_heard_is_silent_too() -> None:
    desk = Desk()
    desk.tracker.report, desk.tracker.silent_s = None, math.inf
    desk.meet()
    assert desk.send(command(REQUEST, TRACKING))[1].tracking_status == IDLE
    assert texts(desk.wait(2.0)) == ["no status of the tracker for 1 s: is it active, does its camera send?"]
    assert desk.send(command(REQUEST, TRACKING))[1].tracking_status == ERROR


# Sentences.


def test_lost_and_found_are_told_but_not_too_often(desk: Desk) -> None:
    lost, found = "target mavlink is lost: nothing looks enough like it", "target mavlink is found again"
    desk.tracker.sees(("mavlink", TrackState.TRACKING, BOX_PX))
    assert not texts(desk.wait(1.0))
    desk.tracker.sees(("mavlink", TrackState.LOST, BOX_PX))
    first = desk.wait(0.02)
    assert texts(first) == [lost]
    assert [m.severity for m in first] == [mavlink.MAV_SEVERITY_WARNING] * 2
    said = []
    for step in range(100):  # it flickers for ten seconds
        desk.send(gcs_heartbeat())
        state = TrackState.LOST if step % 2 else TrackState.UNCERTAIN
        desk.tracker.sees(("mavlink", state, BOX_PX))
        said += texts(desk.wait(0.1))
    assert len(said) <= 5 and set(said) <= {lost, found}
    desk.tracker.sees(("mavlink", TrackState.TRACKING, BOX_PX))
    desk.send(gcs_heartbeat())
    assert [*said, *texts(desk.wait(4.0))][-1] == found  # what is told last is true


def test_a_lost_target_that_was_dropped_is_not_called_found(desk: Desk) -> None:
    desk.tracker.sees(("mavlink", TrackState.LOST, BOX_PX))
    assert len(texts(desk.wait(3.0))) == 1
    desk.tracker.sees()
    assert not texts(desk.wait(2.0))


def test_nothing_is_told_while_nobody_is_there_and_then_what_holds() -> None:
    desk = Desk()
    desk.tracker.sees(("mavlink", TrackState.LOST, BOX_PX))
    assert not texts(desk.wait(5.0))
    desk.send(gcs_heartbeat())
    assert len(texts(desk.wait(0.1))) == 1


def test_the_same_sentence_is_not_said_twice_at_once(desk: Desk) -> None:
    said = [texts(desk.send(command(RECTANGLE, 2, 0, 1, 1))) for _ in range(3)]
    assert [len(each) for each in said] == [1, 0, 0]


def test_a_flood_of_refusals_is_acknowledged_but_not_read_out(desk: Desk) -> None:
    answers = [m for n in range(1000) for m in desk.send(command(RECTANGLE, 2 + n, 0, 1, 1))]
    assert results(answers) == [DENIED] * 1000
    assert len(texts(answers)) == 8
    desk.wait(3.0)
    assert len(texts(desk.send(command(RECTANGLE, 2, 0, 1, 1)))) == 1


@pytest.mark.parametrize("length", [1, 49, 50, 51, 99, 100, 250, 251, 900])
def test_long_sentences_come_in_pieces(desk: Desk, length: int) -> None:
    sentence = ("0123456789é" * 100)[:length]
    desk.send(command(RECTANGLE, *BOX))
    desk.tracker.answer(False, sentence)
    pieces = desk.wait(0.02)[1:]
    encoded = [m._text_raw.rstrip(b"\0") for m in pieces]  # pymavlink's own text is ASCII
    if len(pieces) == 1:
        assert (pieces[0].id, pieces[0].chunk_seq) == (0, 0)
    else:  # the first piece that is not full is the last one
        assert {m.id for m in pieces} == {1}
        assert [m.chunk_seq for m in pieces] == list(range(len(pieces)))
        assert {len(each) for each in encoded[:-1]} == {50} and len(encoded[-1]) < 50
    said = b"".join(encoded).decode()
    assert sentence.startswith(said) and (said == sentence or 249 <= len(said.encode()) <= 250)


def test_mavlink_1_is_understood(desk: Desk) -> None:
    desk.send(gcs_heartbeat(), (250, 190), old=True)
    assert (250, 190) in desk.camera.facts(desk.now_s).peers
    answers = desk.send(command(REQUEST, INFORMATION), old=True)
    assert kinds(answers) == ["COMMAND_ACK", "CAMERA_INFORMATION"]
    desk.send(command(RECTANGLE, *BOX), old=True)
    assert desk.tracker.calls[-1][1] == ("mavlink", BOX_PX)

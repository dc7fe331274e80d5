"""The node between a ground station's process and a real tracker that follows a played clip."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import math
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import command as packed_command
from mavlink_flight import (
    ACCEPTED,
    CAMERA,
    CORNERS,
    DENIED,
    HEIGHT,
    RATE_HZ,
    SIDE,
    UNSUPPORTED,
    URI,
    VEHICLE,
    WIDTH,
    Flight,
    flying,
    overlap,
    tracked,
)
from ros_harness import Client
from station_process import free_port, ground_station
from waiting import wait_until

from distill_tracker_msgs.srv import SetTarget
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.nodes.logs import parse

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def flight(client: Client, folder: Path) -> Iterator[Flight]:
    port = free_port()
    with (
        ground_station(f"udpin:127.0.0.1:{port}", VEHICLE) as station,
        flying(client, folder, f"udpout:127.0.0.1:{port}", station) as flight,
    ):
        yield flight


def test_a_whole_conversation(flight: Flight) -> None:
    station = flight.station

    # It is discovered by its first HEARTBEAT.
    assert station.message("HEARTBEAT").fields == {
        "type": 30,
        "autopilot": 8,
        "base_mode": 0,
        "custom_mode": 0,
        "system_status": 4,
        "mavlink_version": 3,
    }
    assert station.all("sent")[0]["command"] == 512
    assert station.ack(512, 0) == {
        "command": 512,
        "result": ACCEPTED,
        "progress": 0,
        "result_param2": 0,
        "target_system": 255,
        "target_component": 190,
    }
    station.message("CAMERA_INFORMATION")
    since = station.do("command", id=521, params=[1])
    assert station.ack(521, since)["result"] == ACCEPTED
    information = station.message("CAMERA_INFORMATION", since)
    assert information.source == (VEHICLE, CAMERA)
    assert information.fields.pop("time_boot_ms") > 0
    assert plain(information.fields) == {
        "vendor_name": "distill_tracker_ros",
        "model_name": "tracker",
        "firmware_version": 0,
        "focal_length": "nan",
        "sensor_size_h": "nan",
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
    settings = station.message("CAMERA_SETTINGS")
    assert settings.fields.pop("time_boot_ms") > 0
    assert plain(settings.fields) == {
        "mode_id": 1,
        "zoomLevel": "nan",
        "focusLevel": "nan",
        "camera_device_id": 0,
    }
    station.message("VIDEO_STREAM_INFORMATION")
    station.message("VIDEO_STREAM_STATUS")
    shared = {
        "stream_id": 1,
        "flags": 1,
        "framerate": 20.0,
        "resolution_h": WIDTH,
        "resolution_v": HEIGHT,
        "bitrate": 2_000_000,
        "rotation": 0,
        "hfov": 70,
        "camera_device_id": 0,
    }
    since = station.do("command", id=512, params=[269, 1])
    stream = station.message("VIDEO_STREAM_INFORMATION", since).fields
    assert stream == {**shared, "count": 1, "type": 0, "name": "video", "uri": URI, "encoding": 1}
    since = station.do("command", id=512, params=[270, 1])
    assert station.message("VIDEO_STREAM_STATUS", since).fields == shared

    # A rectangle, then the status twice a second: the box is on the target.
    flight.clear()
    since = station.do("rectangle", corners=flight.shares())
    assert station.ack(2005, since)["result"] == ACCEPTED
    assert station.ack(511, since)["result"] == ACCEPTED
    assert [each["command"] for each in station.all("sent", since)][:2] == [2005, 511]
    active = wait_until(lambda: tracked(station, since)[5:] and tracked(station, since), "six statuses")
    for status in active:
        assert status.source == (VEHICLE, CAMERA)
        assert plain(status.fields) == {
            "tracking_status": 1,
            "tracking_mode": 2,
            "target_data": 4,
            "point_x": "nan",
            "point_y": "nan",
            "radius": "nan",
            **{name: status.fields[name] for name in CORNERS},
            "camera_device_id": 0,
        }
        assert overlap(flight, status) > 0.5
    drawn = [each["box"] for each in station.all("drawn", since) if each["box"]]
    assert drawn[: len(active)] == [[status.fields[name] for name in CORNERS] for status in active]
    assert active[5].at_s - active[0].at_s > 1.5  # 2.5 s are right; a busy machine may bring them late

    # The target goes away, and comes back.
    since = len(station.events)
    lost = station.message("CAMERA_TRACKING_IMAGE_STATUS", since, 60.0, tracking_status=2).fields
    assert lost["tracking_mode"] == 0 and all(math.isnan(lost[name]) for name in CORNERS)
    text = station.message("STATUSTEXT", since, severity=4).fields["text"]
    assert text.startswith("target mavlink is lost: ")
    since = len(station.events)
    back = station.message("CAMERA_TRACKING_IMAGE_STATUS", since, 60.0, tracking_status=1)
    assert overlap(flight, back) > 0.5
    text = station.message("STATUSTEXT", since, severity=5).fields["text"]
    assert text == "target mavlink is found again"

    # A point takes the place of the target.
    x1, y1, x2, y2 = flight.shares()
    since = station.do("point", x=(x1 + x2) / 2, y=(y1 + y2) / 2, radius=SIDE / 2 / WIDTH)
    assert station.ack(2004, since)["result"] == ACCEPTED
    wait_until(lambda: tracked(station, since)[2:], "statuses")
    assert list(flight.targets()) == ["mavlink"]
    assert overlap(flight, tracked(station, since)[-1]) > 0.3

    # Stop.
    since = station.do("stop")
    assert station.ack(2010, since)["result"] == ACCEPTED
    assert station.ack(511, since)["result"] == ACCEPTED
    wait_until(lambda: not flight.targets(), "no target")
    since = len(station.events)
    wait_until(lambda: len(station.messages("HEARTBEAT", since)) >= 3, "heartbeats")
    assert not station.messages("CAMERA_TRACKING_IMAGE_STATUS", since)
    assert not station.all("no_answer")
    link = flight.link()
    assert (link["level"], link["system_id"], link["peers"]) == ("0", "7", "7/1, 255/190")
    assert "mavlink_failed" not in flight.node.output


@pytest.mark.parametrize(
    ("id", "params", "why"),
    [
        (2005, [math.nan, 0.1, 0.5, 0.5], "x1 = nan: accepted is a number from 0 to 1"),
        (2005, [0.1, 0.1, 0.5, 1.5], "y2 = 1.5: accepted is a number from 0 to 1"),
        (2005, [0.5, 0.1, 0.4, 0.5], "x1 = 0.5, x2 = 0.4: accepted is x2 > x1"),
        (2005, [0.1, 0.1, 0.5, 0.5, 101], "camera id 101 is another camera: accepted"),
        (2004, [0.5, -0.5, 0.1], "y = -0.5: accepted is a number from 0 to 1"),
        (2004, [0.5, 0.5, 1e-4], "box left=159.968 top=119.968 width=0.064 height=0"),
    ],
)
def test_what_is_wrong_is_denied_in_words_and_leaves_the_tracker_alone(
    flight: Flight, id: int, params: list[float], why: str
) -> None:
    if "mavlink" not in flight.targets():
        flight.mark()
    age = flight.targets()["mavlink"].age_frames
    since = flight.station.do("command", id=id, params=params)
    assert flight.station.ack(id, since)["result"] == DENIED
    texts = wait_until(
        lambda: [
            text
            for text in flight.station.messages("STATUSTEXT", since, severity=4)
            if text.fields["text"].startswith(why)
        ],
        "the reason",
    )
    assert all(text.fields["chunk_seq"] == 0 for text in texts)
    assert flight.targets()["mavlink"].age_frames >= age
    wait_until(lambda: flight.link()["last_refusal"].startswith(why), "the reason in the diagnostics")
    assert flight.node.alive


@pytest.mark.parametrize(
    ("id", "params", "result"),
    [(400, [1], UNSUPPORTED), (2000, [0, 0, 1], UNSUPPORTED), (512, [261], DENIED), (511, [30, 1e6], DENIED)],
)
def test_what_it_does_not_know_is_said(flight: Flight, id: int, params: list[float], result: int) -> None:
    since = flight.station.do("command", id=id, params=params)
    assert flight.station.ack(id, since)["result"] == result


def test_commands_to_others_are_not_answered(flight: Flight) -> None:
    station = flight.station
    since = station.do("command", id=512, params=[259], component=101)
    station.do("command", id=512, params=[259], system=8)
    station.do("command", id=2005, params=[0.1, 0.1, 0.5, 0.5, 101], component=0)
    station.do("command", id=521, params=[1], component=0)
    station.ack(521, since)
    answered = [ack.fields["command"] for ack in station.messages("COMMAND_ACK", since)]
    assert answered == [521]


def test_garbage_between_messages_is_counted_and_no_more(flight: Flight) -> None:
    station, before = flight.station, int(wait_until(flight.link, "diagnostics")["bad_bytes"])
    codec = mavlink.MAVLink(None, 255, 190)
    good = packed_command(512, 259, system=VEHICLE).pack(codec)

    def answered(since: int) -> bool:
        """It is asked until what the garbage has begun is given up, at the latest."""
        station.do("bytes", data=good.hex())
        return bool(station.messages("CAMERA_INFORMATION", since))

    for garbage in (b"hello", b"\xfd\xff\x00", good[:-1], os.urandom(500), b"\xfe" * 400):
        wait_until(partial(answered, station.do("bytes", data=garbage.hex())), "an answer")
    # As MAVLink 1, in the middle of it.
    old = packed_command(512, 259, system=VEHICLE).pack(codec, force_mavlink1=True)
    since = station.do("bytes", data=(b"\x00\x01" + old + b"\x02").hex())
    station.message("CAMERA_INFORMATION", since)
    wait_until(lambda: int(flight.link()["bad_bytes"]) >= before + 8, "the count of bad bytes")


def test_a_lost_acknowledgement_makes_no_second_target(flight: Flight) -> None:
    station = flight.station
    flight.clear()
    station.do("lose_acks", count=2)  # of the rectangle and of the interval
    since = station.do("rectangle", corners=flight.shares())
    wait_until(lambda: station.all("sent", since, command=2005, confirmation=1), "a second try")
    acks = wait_until(lambda: station.messages("COMMAND_ACK", since, command=2005)[1:], "its answer")
    assert acks[0].fields["result"] == ACCEPTED
    assert flight.targets()["mavlink"].age_frames >= RATE_HZ / 2  # it was not set again
    since = station.do("command", id=2005, params=flight.shares())  # the pilot's
    assert station.ack(2005, since)["result"] == ACCEPTED
    statuses = len(flight.statuses)
    wait_until(lambda: len(flight.statuses) > statuses + 3, "statuses")


def test_a_target_that_another_operator_has_set_is_shown_and_stopped(flight: Flight) -> None:
    station = flight.station
    flight.clear()
    since = station.do("command", id=511, params=[275, 100_000])
    station.message("CAMERA_TRACKING_IMAGE_STATUS", since, tracking_status=0)
    x1, y1, x2, y2 = flight.shares()
    request = SetTarget.Request(id="web")
    request.box.center.position.x, request.box.center.position.y = (
        (x1 + x2) / 2 * WIDTH,
        (y1 + y2) / 2 * HEIGHT,
    )
    request.box.size_x = request.box.size_y = float(SIDE)
    assert flight.client.call(SetTarget, "/tracker/set_target", box=request.box, id="web").success
    since = len(station.events)
    assert overlap(flight, station.message("CAMERA_TRACKING_IMAGE_STATUS", since, tracking_status=1)) > 0.5
    since = station.do("stop")
    assert station.ack(2010, since)["result"] == ACCEPTED
    wait_until(lambda: not flight.targets(), "no target")


def test_a_camera_that_falls_silent_is_gone_and_is_found_again(flight: Flight) -> None:
    station, since = flight.station, len(flight.station.events)
    os.kill(flight.node.pid, signal.SIGSTOP)
    try:
        station.wait("camera_gone", since)
    finally:
        os.kill(flight.node.pid, signal.SIGCONT)
    station.wait("camera", since)
    station.do("button", on=True)
    flight.mark()


def test_a_ground_station_that_falls_silent_is_told_and_comes_back(flight: Flight) -> None:
    flight.station.do("talk", station=False, vehicle=False)
    text = "no HEARTBEAT of a ground station or vehicle"
    wait_until(lambda: flight.link().get("message") == text, "the diagnosis")
    assert flight.link()["level"] == "1"
    since = flight.station.do("talk", station=True, vehicle=True)
    wait_until(lambda: flight.link()["level"] == "0", "a link")
    flight.station.message("HEARTBEAT", since)
    events = [parse(line).get("event") for line in flight.node.output.splitlines()]
    lost = events.index("link_lost")
    assert "link_found" in events[:lost] and "link_found" in events[lost:]


def test_a_video_older_than_what_the_tracker_keeps_is_refused_in_its_words(flight: Flight) -> None:
    assert flight.set_parameter("video_delay_ms", 60_000).successful
    since = flight.station.do("command", id=2005, params=flight.shares())
    assert flight.station.ack(2005, since)["result"] == DENIED
    wait_until(
        lambda: "is older than every image that is kept" in flight.link()["last_refusal"], "the reason"
    )
    assert flight.set_parameter("video_delay_ms", 0).successful


def test_what_is_fixed_stays_and_what_cannot_be_is_refused(flight: Flight) -> None:
    for name, value, why in (
        ("connection", "udpin:127.0.0.1:1", "connection is fixed when the node starts"),
        ("component_id", 101, "component_id is fixed when the node starts"),
        ("video.crop_left", 0.5, "video.crop_left = 0.5 and video.crop_width = 1: accepted is a part within"),
        ("point_side", 2.0, ""),
    ):
        result = flight.set_parameter(name, value)
        assert not result.successful and result.reason.startswith(why), name
    assert flight.set_parameter("point_side", 0.2).successful


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """With a text in place of nan, so that it is equal to itself."""
    return {
        name: "nan" if isinstance(value, float) and math.isnan(value) else value
        for name, value in fields.items()
    }

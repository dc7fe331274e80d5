"""Messages of pages, the state of the tracker, and pictures that wait for it: no sockets."""

from __future__ import annotations

import json
import math
import struct
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracker_double import SECOND, diagnosis, status, target, view

from distill_tracker_ros.messages import ImageError
from distill_tracker_ros.web import protocol, state
from distill_tracker_ros.web.pictures import MOST_HELD, PATIENCE_S, Holder, Picture, make_picture
from distill_tracker_ros.web.protocol import (
    ClearTarget,
    GetViews,
    Hello,
    RequestError,
    SetTarget,
    Shown,
    parse,
    stamp_text,
)
from distill_tracker_ros.web.state import Board

STAMP = 1_700_000_000_000_000_042
VALUES = st.none() | st.integers() | st.floats() | st.text()


class TestMessagesOfPages:
    SET = {"type": "set", "request": 3, "stamp": "1700000000.000000042", "box": [1, 2.5, 30, 40]}

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ({"type": "hello", "token": "secret"}, Hello("secret")),
            ({"type": "hello"}, Hello("")),
            ({"type": "shown", "frame": 0}, Shown(0)),
            (SET, SetTarget(3, STAMP, (1.0, 2.5, 30.0, 40.0), "", "")),
            (
                SET | {"id": "a", "label": "rot \u00e9 <b>"},
                SetTarget(3, STAMP, (1, 2.5, 30, 40), "a", "rot \u00e9 <b>"),
            ),
            ({"type": "clear", "request": 9, "id": ""}, ClearTarget(9, "")),
            ({"type": "views", "request": 2**53 - 1, "id": "car"}, GetViews(2**53 - 1, "car")),
        ],
    )
    def test_usable_ones(self, said: dict[str, Any], expected: object) -> None:
        assert parse(json.dumps(said)) == expected

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"type": "drop"}, "type = 'drop'"),
            ({"type": None}, "type = nothing"),
            ({"type": 7}, "type = 7"),
            ({"request": -1}, "request = -1"),
            ({"request": 1.5}, "request = 1.5"),
            ({"request": True}, "request = True"),
            ({"request": "3"}, "request = '3'"),
            ({"request": 2**53}, "request = 9007199254740992"),
            ({"stamp": 12}, "stamp = 12"),
            ({"stamp": "12"}, "stamp = '12'"),
            ({"stamp": "-1.000000000"}, "stamp = '-1.000000000'"),
            ({"stamp": "2147483648.000000000"}, "stamp = '2147483648.000000000'"),
            ({"stamp": "\u0661.000000000"}, "stamp = "),
            ({"stamp": None}, "stamp = nothing"),
            ({"box": [1, 2, 3]}, "box = [1, 2, 3]"),
            ({"box": [1, 2, 0, 4]}, "box = [1, 2, 0, 4]"),
            ({"box": [1, 2, 3, -4]}, "box = [1, 2, 3, -4]"),
            ({"box": [math.nan, 2, 3, 4]}, "box = [nan"),
            ({"box": [1, 2, math.inf, 4]}, "box = [1, 2, inf"),
            ({"box": [1, 2, 10**400, 4]}, "box = [1, 2, 1000"),
            ({"box": [1, 2, "3", 4]}, "box = [1, 2, '3'"),
            ({"box": [True, 2, 3, 4]}, "box = [True"),
            ({"box": {"x": 1}}, "box = {'x': 1}"),
            ({"id": 5}, "id = 5"),
            ({"id": "a\nb"}, r"id = 'a\nb'"),
            ({"label": "\ud800"}, "label = "),
            ({"label": "x" * 257}, "label = 'xxx"),
            ({"lable": "car"}, "'lable' = 'car'"),
        ],
    )
    def test_others_are_refused_by_field_value_and_what_is_accepted(
        self, change: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(RequestError) as refusal:
            parse(json.dumps(self.SET | change))
        assert words in str(refusal.value) and len(str(refusal.value)) < 400
        assert "accepted" in str(refusal.value) or "no such field" in str(refusal.value)
        assert refusal.value.request == (None if "request" in change else 3)

    @pytest.mark.parametrize(
        "text", ["", "{", "null", "[]", '"hello"', "[" * 4000, "9" * 4000, "{}", '{"type":[]}']
    )
    def test_what_is_no_message(self, text: str) -> None:
        with pytest.raises(RequestError) as refusal:
            parse(text)
        assert refusal.value.request is None and "\n" not in str(refusal.value)

    @given(st.text() | st.recursive(VALUES | st.booleans(), st.lists).map(json.dumps))
    def test_nothing_else_ever_comes_out(self, text: str) -> None:
        try:
            parse(text)
        except RequestError as refusal:
            assert "\n" not in str(refusal)

    @given(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["hello", "shown", "set", "clear", "views", "x"])},
            optional={
                name: VALUES | st.lists(st.floats() | st.integers())
                for name in ("token", "frame", "request", "stamp", "box", "id", "label")
            },
        )
    )
    def test_what_is_taken_keeps_its_promises(self, said: dict[str, Any]) -> None:
        try:
            message = parse(json.dumps(said))
        except RequestError as refusal:
            assert "accepted" in str(refusal) or "no such field" in str(refusal)
            return
        for text in (getattr(message, name, "") for name in ("id", "label", "token")):
            text.encode()
            assert len(text) <= 256
        if isinstance(message, SetTarget):
            assert all(map(math.isfinite, message.box_xywh)) and min(message.box_xywh[2:]) > 0

    def test_stamps_come_back_as_they_went(self) -> None:
        for stamp_ns in (0, 1, STAMP, 2**31 * SECOND - 1):
            said = self.SET | {"stamp": stamp_text(stamp_ns)}
            assert parse(json.dumps(said)).stamp_ns == stamp_ns  # type: ignore[union-attr]


def test_a_picture_is_its_head_and_its_jpeg() -> None:
    message = protocol.picture(7, STAMP, (1920, 1080), {"tracker": "running"}, b"\xff\xd8jpeg")
    (length,) = struct.unpack(">I", message[:4])
    assert json.loads(message[4 : 4 + length]) == {
        "frame": 7,
        "stamp": "1700000000.000000042",
        "width": 1920,
        "height": 1080,
        "state": {"tracker": "running"},
    }
    assert message[4 + length :] == b"\xff\xd8jpeg"


def test_views_are_told_with_what_is_known_of_them() -> None:
    told = json.loads(protocol.views(4, "car", [view(0.12345), view(-1.0, initial=False), view(math.nan)]))
    assert told["type"] == "views" and told["request"] == 4 and told["id"] == "car"
    assert [each["confidence"] for each in told["views"]] == [0.123, None, None]
    assert told["views"][1] == {
        "jpeg": "/9hqcGVn",
        "initial": False,
        "in_template": True,
        "confidence": None,
        "age_frames": 7,
    }


class TestBoard:
    def board(self, *statuses: Any, now_s: float = 100.0) -> Board:
        board = Board()
        for each in statuses:
            board.heard(each, now_s)
        return board

    def test_before_anything_came(self) -> None:
        told = Board().state(5.0)
        assert told["tracker"] == "absent" and told["silent_s"] is None and told["targets"] == []
        assert told["stamp"] == "0.000000000" and told["latency_ms"] is None
        json.dumps(told, allow_nan=False)

    def test_a_status_in_the_words_of_the_page(self) -> None:
        seen_ns = STAMP - 1_234_567_890
        car = target(
            "car", 3, (10.04, 20.06, 30, 40), seen_ns, confidence=0.12345, reason="hidden", label="red"
        )
        told = self.board(status(STAMP, car, message="hello")).state(100.5)
        assert told == {
            "number": 1,
            "stamp": "1700000000.000000042",
            "tracker": "running",
            "silent_s": 0.5,
            "message": "hello",
            "model": "tiny",
            "backend": "onnxruntime",
            "rate_hz": 0.0,
            "latency_ms": 12.3,
            "processing_ms": 3.2,
            "dropped": 0.0,
            "targets": [
                {
                    "id": "car",
                    "label": "red",
                    "state": "LOST",
                    "confidence": 0.123,
                    "box": [10.0, 20.1, 30.0, 40.0],
                    "reason": "hidden",
                    "unseen_s": 1.23,
                    "age_frames": 5,
                }
            ],
            "diagnostics": [],
        }

    def test_an_unknown_latency_is_none(self) -> None:
        assert self.board(status(STAMP, latency_ms=-1.0)).state(100.0)["latency_ms"] is None

    def test_presence(self) -> None:
        board = self.board(status(STAMP, target()))
        later = 100.0 + state.SILENT_AFTER_S
        assert board.presence(later - 0.1) == "running"
        assert board.presence(later) == "absent" and board.state(later)["targets"] == []
        board.found(True, later)
        assert board.presence(later) == "silent" and len(board.state(later)["targets"]) == 1

    def test_a_tracker_that_comes_back_does_not_bring_the_boxes_of_the_one_before(self) -> None:
        board = self.board(status(STAMP, target()))
        gone = 100.0 + state.SILENT_AFTER_S
        board.found(False, gone)
        board.found(True, gone + 1.0)
        told = board.state(gone + 1.0)
        assert (told["tracker"], told["targets"], told["silent_s"]) == ("silent", [], None)

    def test_rates_and_shares_are_of_the_last_seconds(self) -> None:
        board = Board()
        for number in range(100):  # 10 a second; from the 50th on half of the images are dropped
            dropped = max(0, number - 50)
            board.heard(
                status(STAMP, frames_received=number + dropped, frames_dropped=dropped), 100 + number / 10
            )
        told = board.state(109.9)
        assert told["rate_hz"] == 10.0 and told["dropped"] == 0.5
        assert board.state(120.0)["rate_hz"] == 0.0

    def test_counters_that_begin_anew(self) -> None:
        board = self.board(status(STAMP, frames_received=500, frames_dropped=400))
        board.heard(status(STAMP, frames_received=1, frames_dropped=0), 100.5)
        board.heard(status(STAMP, frames_received=3, frames_dropped=1), 101.0)
        assert board.state(101.0)["dropped"] == 0.5 and board.state(101.0)["rate_hz"] == 2.0

    def test_the_state_of_an_image_is_that_of_its_stamp_or_the_newest(self) -> None:
        board = self.board(*(status(STAMP + number, target(str(number))) for number in range(5)))
        assert board.state(100.0, STAMP + 2)["targets"][0]["id"] == "2"
        assert board.state(100.0, STAMP + 99)["targets"][0]["id"] == "4"
        assert board.state(100.0)["targets"][0]["id"] == "4"

    def test_statuses_are_numbered_as_they_come_whatever_their_stamps(self) -> None:
        board = self.board(status(STAMP + 1), status(STAMP), status(STAMP + 2))
        assert [board.state(100.0, STAMP + by)["number"] for by in (1, 0, 2)] == [1, 2, 3]
        board.found(False, gone := 100.0 + state.SILENT_AFTER_S)
        assert board.state(gone)["number"] == 3  # not older than what was told before

    def test_an_image_is_settled_when_its_status_or_a_newer_one_is_there_or_none_will_come(self) -> None:
        board = self.board(status(STAMP))
        assert [board.is_settled(STAMP + by, 100.0) for by in (-1, 0, 1)] == [True, True, False]
        assert board.is_settled(STAMP + 1, 100.0 + state.SILENT_AFTER_S)
        assert Board().is_settled(STAMP, 100.0)

    def test_the_outline_changes_with_states_and_presence_alone(self) -> None:
        board = self.board(status(STAMP, target("a", 1)))
        before = board.outline(100.0)
        board.heard(status(STAMP + 1, target("a", 1, (50, 60, 70, 80))), 100.1)
        assert board.outline(100.1) == before
        board.heard(status(STAMP + 2, target("a", 2)), 100.2)
        assert board.outline(100.2) != before != board.outline(110.0)

    def test_diagnostics_that_are_not_ok_and_not_old(self) -> None:
        board = Board()
        board.diagnosed(
            [diagnosis("t: a", 0), diagnosis("t: b", 1, "slow"), diagnosis("t: c", 2, "gone")], 100.0
        )
        assert board.state(101.0)["diagnostics"] == [
            {"name": "t: b", "level": "WARN", "message": "slow"},
            {"name": "t: c", "level": "ERROR", "message": "gone"},
        ]
        board.diagnosed([diagnosis("t: b", 0), diagnosis("t: d", 3)], 102.0)
        assert [each["name"] for each in board.state(102.0)["diagnostics"]] == ["t: c", "t: d"]
        assert [each["name"] for each in board.state(100.0 + state.SPAN_S)["diagnostics"]] == ["t: d"]

    def test_old_diagnostics_keep_no_place_from_new_ones(self) -> None:
        board = Board()
        board.diagnosed([diagnosis(f"t: {number}", 2) for number in range(100)], 100.0)
        board.diagnosed([diagnosis("t: new", 2)], 100.0 + state.SPAN_S)
        assert [each["name"] for each in board.state(100.0 + state.SPAN_S)["diagnostics"]] == ["t: new"]

    def test_hostile_messages_stay_small_and_can_be_told(self) -> None:
        bad = math.nan
        long = "\ud800\n" * 100_000
        one = target(long, 99, (1e308, 1e308, 1e308, 1e308), 2**60, confidence=bad, label=long, reason=long)
        other = target("x", 1, (bad, 0, math.inf, 1), confidence=math.inf)
        hostile = status(
            0, *[one, other] * 200, message=long, model=long, latency_ms=bad, processing_ms=math.inf
        )
        board = self.board(*[hostile] * 100)
        board.diagnosed([diagnosis(f"{number} {long}", number % 256, long) for number in range(300)], 100.0)
        text = protocol.state(board.state(100.0))
        told = json.loads(text)["state"]
        assert (
            len(told["targets"]) == state.MOST_TARGETS and len(told["diagnostics"]) <= state.MOST_DIAGNOSTICS
        )
        assert len(text) < 500_000
        assert told["targets"][1]["box"] == [0.0] * 4 and told["targets"][0]["state"] == "LOST"


class TestHolder:
    def picture(self, stamp_ns: int) -> Picture:
        return Picture(stamp_ns, (1, 1), b"")

    def test_a_picture_leaves_when_it_is_settled_or_patience_ends(self) -> None:
        holder, settled = Holder(), set[int]()

        def due(now_s: float) -> int | None:
            found = holder.due(now_s, lambda picture: picture.stamp_ns in settled)
            return found.stamp_ns if found else None

        holder.add(self.picture(1), 10.0)
        assert due(10.0) is None and holder.wait_s(10.0) == pytest.approx(PATIENCE_S)
        settled.add(1)
        assert due(10.05) == 1 and due(10.05) is None and holder.wait_s(10.05) is None
        holder.add(self.picture(2), 11.0)
        assert due(11.0 + PATIENCE_S) == 2

    def test_an_older_picture_never_comes_after_a_newer_one(self) -> None:
        holder = Holder()
        for stamp_ns in (1, 2, 3):
            holder.add(self.picture(stamp_ns), 10.0)
        assert holder.due(10.0, lambda picture: picture.stamp_ns == 2) == self.picture(2)
        assert holder.due(10.0 + PATIENCE_S, lambda picture: False) == self.picture(3)
        assert holder.due(20.0, lambda picture: True) is None

    def test_it_is_bounded(self) -> None:
        holder = Holder()
        for stamp_ns in range(10 * MOST_HELD):
            holder.add(self.picture(stamp_ns), 10.0)
        assert len(holder._held) == MOST_HELD


class TestPictures:
    def raw(self, width: int = 64, height: int = 48, encoding: str = "rgb8") -> SimpleNamespace:
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[:, width // 2 :] = (250, 10, 10)
        header = SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=7))
        return SimpleNamespace(
            header=header, width=width, height=height, encoding=encoding, step=3 * width, data=rgb.tobytes()
        )

    def compressed(self, width: int = 64, height: int = 48, kind: str = ".jpg") -> SimpleNamespace:
        data = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
        encoded = cv2.imencode(kind, cv2.resize(data, (width, height)))[1].tobytes()
        header = SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=7))
        return SimpleNamespace(header=header, format="jpeg", data=encoded)

    def shape(self, picture: Picture) -> tuple[int, int]:
        decoded = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
        return decoded.shape[1], decoded.shape[0]

    @pytest.mark.parametrize(
        ("width_px", "expected"), [(0, (64, 48)), (64, (64, 48)), (99, (64, 48)), (20, (20, 15))]
    )
    def test_raw_images(self, width_px: int, expected: tuple[int, int]) -> None:
        picture = make_picture(self.raw(), width_px, 90)
        assert picture.size == (64, 48) and picture.stamp_ns == 5_000_000_007
        assert self.shape(picture) == expected
        red = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)[2, -2]
        assert red[2] > 200 > 60 > red[0]

    def test_a_jpeg_that_is_small_enough_is_passed_on(self) -> None:
        msg = self.compressed()
        assert make_picture(msg, 64, 10).jpeg == msg.data
        small = make_picture(msg, 32, 10)
        assert self.shape(small) == (32, 24) and small.size == (64, 48)

    def test_what_a_browser_would_show_otherwise_is_made_anew(self) -> None:
        png = make_picture(self.compressed(kind=".png"), 0, 90)
        assert png.jpeg[:2] == b"\xff\xd8"
        msg = self.compressed()
        turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        segment = b"\xff\xe1" + struct.pack(">H", len(turned) + 2) + turned
        msg.data = msg.data[:2] + segment + msg.data[2:]
        assert b"Exif" not in make_picture(msg, 0, 90).jpeg
        msg = self.compressed()
        msg.data += bytes(4_000)  # filled up behind its end, as some cameras do
        assert not make_picture(msg, 0, 90).jpeg.endswith(bytes(100))

    def test_unusable_ones(self) -> None:
        msg = self.raw()
        msg.step = 1
        with pytest.raises(ImageError, match="step"):
            make_picture(msg, 0, 90)

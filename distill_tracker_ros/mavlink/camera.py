"""A camera component of the vehicle that tracks: messages and the time go in, messages come out.

There are no sockets, threads or clocks here. Whoever drives it calls `receive` for every message and `tick`
many times a second, both from one thread, with the same steady clock in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from ..core.tracker import TrackState
from . import commands, descriptions
from .commands import Command
from .dialect import mavlink
from .options import MavlinkOptions
from .peers import Address, Peers
from .shares import Refused, rectangle, square
from .texts import NOTICE, PERIOD_S, WARNING, Texts
from .tracker import Answer, Box, Seen, Tracker

HEARTBEAT_S = 1.0
PROGRESS_S = 1.0  # without an answer of the tracker, after which it is told that it takes time
RETRY_S = 10.0  # a command with a confirmation count is the same as a finished one for so long
SILENT_S = 1.0  # without a status, after which nothing is known of the tracker
SHORTEST_INTERVAL_S = 0.02  # of CAMERA_TRACKING_IMAGE_STATUS
MOST_SENDERS = 16  # whose intervals and finished commands are remembered

_INFORMATION = mavlink.MAVLINK_MSG_ID_CAMERA_INFORMATION
_SETTINGS = mavlink.MAVLINK_MSG_ID_CAMERA_SETTINGS
_STREAM_INFORMATION = mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_INFORMATION
_STREAM_STATUS = mavlink.MAVLINK_MSG_ID_VIDEO_STREAM_STATUS
_TRACKING_STATUS = mavlink.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS

_POINT = mavlink.MAV_CMD_CAMERA_TRACK_POINT
_RECTANGLE = mavlink.MAV_CMD_CAMERA_TRACK_RECTANGLE
_STOP = mavlink.MAV_CMD_CAMERA_STOP_TRACKING
_CAMERA_ID_AT = {_POINT: 3, _RECTANGLE: 4, _STOP: 0}  # place of the target camera's id in the parameters
# Commands of before REQUEST_MESSAGE, which ground stations still send.
_ASKS_WITH_1 = {
    mavlink.MAV_CMD_REQUEST_CAMERA_INFORMATION: _INFORMATION,
    mavlink.MAV_CMD_REQUEST_CAMERA_SETTINGS: _SETTINGS,
}
_ASKS_WITH_STREAM = {
    mavlink.MAV_CMD_REQUEST_VIDEO_STREAM_INFORMATION: _STREAM_INFORMATION,
    mavlink.MAV_CMD_REQUEST_VIDEO_STREAM_STATUS: _STREAM_STATUS,
}

Messages = list[Any]  # of pymavlink


class Log(Protocol):
    """Lines of an event, a sentence and fields."""

    def info(self, event: str, sentence: str, /, **fields: Any) -> None: ...
    def warning(self, event: str, sentence: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True)
class Facts:
    """What is known of the conversation, for diagnostics."""

    system_id: int  # 0 = not learned yet
    peers: tuple[Address, ...]  # heard in the last seconds
    heartbeats: int  # that were heard
    accepted: int  # marks and stops
    refused: int
    unsupported: int
    last_refusal: str


@dataclass
class _Pending:
    """A command that waits for the tracker."""

    command: Command
    future: Future[Answer]
    told_s: float  # when its sender heard of it last


@dataclass(frozen=True)
class _Finished:
    command: Command
    result: int
    at_s: float


class _NotNow(Exception):
    """A mark that may be accepted later."""


class Camera:
    """Answers ground stations, sets and drops targets for them, and tells them where the target is.

    It is silent under any system id but the vehicle's. Until that is known, only HEARTBEATs of system 0 go
    out, which is no vehicle for anybody: a router then knows where to send the vehicle's HEARTBEATs.
    """

    def __init__(self, options: Callable[[], MavlinkOptions], tracker: Tracker, log: Log) -> None:
        """
        Args:
            options: asked for the present ones each time.
        """
        self._options, self._tracker, self._log = options, tracker, log
        self._peers = Peers()
        self._texts = Texts()
        self._pending: dict[str, _Pending] = {}  # one mark and one stop at a time
        self._finished: dict[tuple[Address, int], _Finished] = {}
        self._intervals_s: dict[Address, float] = {}  # who asked for the status; 0 = default
        self._began_s: float | None = None
        self._heartbeat_due_s = self._status_due_s = -math.inf
        self._told, self._told_s = "well", -math.inf  # what the pilot knows
        self._linked = self._learned = False
        self._accepted = self._refused = self._unsupported = 0
        self._last_refusal = ""

    @property
    def address(self) -> Address:
        """Under which it sends; system 0 until the vehicle's is known."""
        options = self._options()
        return Address(options.system_id or self._peers.vehicle, options.component_id)

    def facts(self, now_s: float) -> Facts:
        return Facts(
            self.address.system,
            tuple(self._peers.present(now_s)),
            self._peers.heartbeats,
            self._accepted,
            self._refused,
            self._unsupported,
            self._last_refusal,
        )

    def receive(self, message: Any, now_s: float) -> Messages:
        """Take a message from the link; what is to be sent for it."""
        source, kind = Address(message.get_srcSystem(), message.get_srcComponent()), message.get_type()
        if source == self.address:  # its own, come back from a router
            return []
        if kind == "HEARTBEAT":
            self._peers.hear(source, message, now_s)
        elif kind in ("COMMAND_LONG", "COMMAND_INT"):
            command = commands.of(message)
            if self._is_for_us(command):
                return self._obey(command, now_s)
        return []

    def tick(self, now_s: float) -> Messages:
        """What is to be sent because of the time, or because the tracker has answered."""
        if self._began_s is None:
            self._began_s = now_s
        self._note_link(now_s)
        sent: Messages = []
        if now_s >= self._heartbeat_due_s:
            late_s = now_s - self._heartbeat_due_s
            self._heartbeat_due_s = now_s + HEARTBEAT_S - (late_s if late_s < HEARTBEAT_S else 0)
            sent.append(descriptions.heartbeat())
        if not self.address.system:
            return sent
        sent += self._settle(now_s)
        interval_s = self._interval_s()
        if interval_s is not None and now_s >= self._status_due_s:
            self._status_due_s = max(self._status_due_s + interval_s, now_s)
            sent.append(self._tracking_status(now_s))
        return sent + self._tell_changes(now_s)

    # Commands.

    def _is_for_us(self, command: Command) -> bool:
        own = self.address
        return (
            own.system != 0
            and command.target.system in (0, own.system)
            and command.target.component in (0, own.component)
        )

    def _obey(self, command: Command, now_s: float) -> Messages:
        first, second = command.params[:2]
        if command.id in _CAMERA_ID_AT:
            return self._track(command, now_s)
        if command.id == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
            return [_ack(command, self._set_interval(command.sender, first, second, now_s))]
        if command.id == mavlink.MAV_CMD_REQUEST_MESSAGE:
            return self._describe(command, first, second, now_s)
        if command.id in _ASKS_WITH_1 and first == 1:
            return self._describe(command, _ASKS_WITH_1[command.id], 0, now_s)
        if command.id in _ASKS_WITH_STREAM:
            return self._describe(command, _ASKS_WITH_STREAM[command.id], first, now_s)
        if command.id in _ASKS_WITH_1:
            return [_ack(command, mavlink.MAV_RESULT_DENIED)]
        self._unsupported += 1
        return [_ack(command, mavlink.MAV_RESULT_UNSUPPORTED)]

    def _describe(self, command: Command, message_id: float, stream: float, now_s: float) -> Messages:
        """The message that was asked for. One that there is not is a wrong parameter, by the standard."""
        options, report = self._options(), self._tracker.report
        message: Any = None
        if message_id == _INFORMATION:
            message = descriptions.camera_information(options.camera, options.video, report, now_s)
        elif message_id == _SETTINGS:
            message = descriptions.camera_settings(now_s)
        elif message_id == _TRACKING_STATUS:
            message = self._tracking_status(now_s)
        elif options.video.uri and (stream in (0, descriptions.STREAM) or math.isnan(stream)):
            if message_id == _STREAM_INFORMATION:
                message = descriptions.stream_information(options.video, report)
            elif message_id == _STREAM_STATUS:
                message = descriptions.stream_status(options.video, report)
        if message is None:
            return [_ack(command, mavlink.MAV_RESULT_DENIED)]
        return [_ack(command, mavlink.MAV_RESULT_ACCEPTED), message]

    def _set_interval(self, sender: Address, message_id: float, interval_us: float, now_s: float) -> int:
        """Result. There is one stream, as often as the most demanding of those who asked for it wants it."""
        is_known = interval_us == -1 or 0 <= interval_us < math.inf
        if message_id != _TRACKING_STATUS or not is_known:
            return int(mavlink.MAV_RESULT_DENIED)
        self._intervals_s.pop(sender, None)
        if interval_us >= 0:
            _put(self._intervals_s, sender, interval_us / 1e6)
            self._status_due_s = now_s
        return int(mavlink.MAV_RESULT_ACCEPTED)

    def _interval_s(self) -> float | None:
        """Of the status; None while nobody wants it."""
        default_s = 1 / self._options().status_rate_hz
        wanted = [each or default_s for each in self._intervals_s.values()]
        return max(min(wanted), SHORTEST_INTERVAL_S) if wanted else None

    # Marks and stops, which the tracker has to answer.

    def _track(self, command: Command, now_s: float) -> Messages:
        camera_id, own_id = command.params[_CAMERA_ID_AT[command.id]], self.address.component
        if not math.isnan(camera_id) and camera_id not in (0, own_id):
            if not command.target.component:  # sent to all: the other camera answers
                return []
            text = f"camera id {camera_id:g} is another camera: accepted is 0 or {own_id}"
            return self._refuse(command, mavlink.MAV_RESULT_DENIED, text, now_s)
        slot = "stop" if command.id == _STOP else "mark"
        if pending := self._pending.get(slot):
            if pending.command.content == command.content:
                return [_ack(command, mavlink.MAV_RESULT_IN_PROGRESS)]
            text = f"busy with the {slot} before this one: try again"
            return self._refuse(command, mavlink.MAV_RESULT_TEMPORARILY_REJECTED, text, now_s)
        if (result := self._result_before(command, now_s)) is not None:
            return [_ack(command, result)]
        try:
            future = self._drop() if command.id == _STOP else self._follow(command)
        except Refused as error:
            return self._refuse(command, mavlink.MAV_RESULT_DENIED, str(error), now_s)
        except _NotNow as error:
            return self._refuse(command, mavlink.MAV_RESULT_TEMPORARILY_REJECTED, str(error), now_s)
        self._pending[slot] = _Pending(command, future, now_s)
        return self._settle(now_s)

    def _result_before(self, command: Command, now_s: float) -> int | None:
        """The result of the command that this one repeats; None if it is a new one."""
        last = self._finished.get((command.sender, command.id))
        is_retry = command.confirmation and last and last.command.content == command.content
        return last.result if last and is_retry and now_s - last.at_s < RETRY_S else None

    def _follow(self, command: Command) -> Future[Answer]:
        report, options = self._tracker.report, self._options()
        if report is None or not (report.width and report.height):
            raise _NotNow("no image yet: is the tracker active, does its camera send?")
        video, size = options.video, (report.width, report.height)
        a, b, c, d = command.params[:4]
        box: Box
        if command.id == _POINT:
            box = square((a, b, c), options.point_side, video, *size)
        else:
            box = rectangle((a, b, c, d), video, *size)
        return self._tracker.follow(box, options.target_id)

    def _drop(self) -> Future[Answer]:
        reported = self._reported()
        return self._tracker.drop(reported.id if reported else self._options().target_id)

    def _settle(self, now_s: float) -> Messages:
        """Answers to commands that the tracker has answered, or lets wait for long."""
        sent: Messages = []
        for slot, pending in list(self._pending.items()):
            if pending.future.done():
                del self._pending[slot]
                sent += self._finish(pending.command, pending.future.result(), now_s)
            elif now_s - pending.told_s >= PROGRESS_S:
                pending.told_s = now_s
                sent.append(_ack(pending.command, mavlink.MAV_RESULT_IN_PROGRESS))
        return sent

    def _finish(self, command: Command, answer: Answer, now_s: float) -> Messages:
        result = self._result(command, answer, now_s)
        _put(self._finished, (command.sender, command.id), _Finished(command, result, now_s))
        if result != mavlink.MAV_RESULT_ACCEPTED:
            return self._refuse(command, result, answer.message, now_s)
        self._accepted += 1
        fields = {"command": command.id, "sender": str(command.sender)}
        self._log.info("mavlink_accepted", f"asked by {command.sender}: {answer.message}", **fields)
        return [_ack(command, result)]

    def _result(self, command: Command, answer: Answer, now_s: float) -> int:
        if answer.success:
            return int(mavlink.MAV_RESULT_ACCEPTED)
        if answer.retry or self._is_silent(now_s):
            return int(mavlink.MAV_RESULT_TEMPORARILY_REJECTED)
        report = self._tracker.report
        if command.id == _STOP and report and not report.targets:
            return int(mavlink.MAV_RESULT_ACCEPTED)  # there is nothing to stop
        return int(mavlink.MAV_RESULT_DENIED)

    def _refuse(self, command: Command, result: int, sentence: str, now_s: float) -> Messages:
        self._refused += 1
        self._last_refusal = sentence
        fields = {"command": command.id, "sender": str(command.sender), "result": result}
        self._log.warning("mavlink_refused", f"refused to {command.sender}: {sentence}", **fields)
        return [_ack(command, result), *self._texts.say(WARNING, sentence, now_s)]

    # What is tracked.

    def _reported(self) -> Seen | None:
        """The target that was set here, or else the primary one."""
        report, own_id = self._tracker.report, self._options().target_id
        targets = report.targets if report else ()
        return next((each for each in targets if each.id == own_id), targets[0] if targets else None)

    def _is_silent(self, now_s: float) -> bool:
        began_s = now_s if self._began_s is None else self._began_s
        return min(self._tracker.silent_s, now_s - began_s) > SILENT_S

    def _tracking_status(self, now_s: float) -> Any:
        report, video = self._tracker.report, self._options().video
        return descriptions.tracking_status(video, report, self._reported(), self._is_silent(now_s))

    def _tell_changes(self, now_s: float) -> Messages:
        """A sentence to the pilot when the target or the tracker is lost or back, if somebody is there."""
        target = self._reported()
        condition = "well"
        if self._is_silent(now_s):
            condition = "silent"
        elif target is not None and target.state is TrackState.LOST:
            condition = "lost"
        if condition == self._told or now_s - self._told_s < PERIOD_S or not self._peers.present(now_s):
            return []
        before, self._told, self._told_s = self._told, condition, now_s
        if condition == "silent":
            text = f"no status of the tracker for {SILENT_S:g} s: is it active, does its camera send?"
            return self._texts.say(WARNING, text, now_s)
        if condition == "lost" and target is not None:
            return self._texts.say(WARNING, f"target {target.id} is lost: {target.reason}", now_s)
        if before == "silent":
            return self._texts.say(NOTICE, "the tracker is back", now_s)
        # A lost one may have been dropped.
        return self._texts.say(NOTICE, f"target {target.id} is found again", now_s) if target else []

    def _note_link(self, now_s: float) -> None:
        present = self._peers.present(now_s)
        if bool(present) is not self._linked:
            self._linked = bool(present)
            if present:
                names = ", ".join(map(str, present))
                self._log.info("link_found", f"ground stations and vehicles on the link: {names}")
            else:
                self._log.warning("link_lost", "no HEARTBEAT of a ground station or vehicle for 5 s")
        if not self._learned and self.address.system:
            self._learned = True
            own = self.address
            self._log.info("camera", f"camera {own.component} of vehicle {own.system}", system=own.system)


def _ack(command: Command, result: int) -> Any:
    progress = 255 if result == mavlink.MAV_RESULT_IN_PROGRESS else 0  # 255 = how far is unknown
    return mavlink.MAVLink_command_ack_message(command.id, result, progress, 0, *command.sender)


def _put(remembered: dict[Any, Any], key: Any, value: Any) -> None:
    """As the newest of a few; the oldest leaves."""
    remembered.pop(key, None)
    if len(remembered) >= MOST_SENDERS:
        del remembered[next(iter(remembered))]
    remembered[key] = value

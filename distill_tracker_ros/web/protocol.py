"""What page and server say to each other: JSON both ways, and pictures with their state to the page."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..core.texts import LONGEST_NAME, InputError, shown

LONGEST_MESSAGE = 4096  # bytes, of a viewer
LARGEST_NUMBER = 2**53 - 1  # up to which JavaScript counts
SECOND_NS = 1_000_000_000

_STAMP = re.compile(r"([0-9]{1,10})\.([0-9]{9})")
_LAST_SECOND = 2**31 - 1  # of builtin_interfaces/Time
# Half a surrogate pair cannot be sent on; the others end lines, or terminals obey them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class RequestError(InputError):
    """A message that cannot be used; the text names the field, the value and what is accepted."""

    def __init__(self, text: str, request: int | None = None) -> None:
        """`request`: its number, as far as it has a usable one."""
        super().__init__(text)
        self.request = request


@dataclass(frozen=True)
class Hello:
    """The first message of a viewer."""

    token: str


@dataclass(frozen=True)
class Shown:
    """A picture is on the screen."""

    frame: int


@dataclass(frozen=True)
class SetTarget:
    """Follow a box, xywh in pixels of the camera's image with this stamp."""

    request: int
    stamp_ns: int
    box_xywh: tuple[float, ...]
    id: str
    label: str


@dataclass(frozen=True)
class ClearTarget:
    """Drop a target; all with an empty id."""

    request: int
    id: str


@dataclass(frozen=True)
class GetViews:
    """Ask for the views of a target."""

    request: int
    id: str


Request = SetTarget | ClearTarget | GetViews
Message = Hello | Shown | Request


def parse(text: str) -> Message:
    """A message of a viewer.

    Raises:
        RequestError: it cannot be used.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(f"message = {shown(text)}: accepted is JSON") from None
    if not isinstance(found, dict):
        raise RequestError(f"message = {shown(found)}: accepted is a JSON object with a type")
    number = found.get("request")
    fields = _Fields(found)
    try:
        message = _message(fields)
        fields.end()
    except RequestError as error:
        raise RequestError(str(error), number if _is_count(number) else None) from None
    return message


def _message(fields: _Fields) -> Message:
    kind = fields.text("type")
    if kind == "hello":
        return Hello(fields.text("token"))
    if kind == "shown":
        return Shown(fields.count("frame"))
    if kind == "set":
        request, stamp_ns, box = fields.count("request"), fields.stamp("stamp"), fields.box("box")
        return SetTarget(request, stamp_ns, box, fields.text("id"), fields.text("label"))
    if kind == "clear":
        return ClearTarget(fields.count("request"), fields.text("id"))
    if kind == "views":
        return GetViews(fields.count("request"), fields.text("id"))
    raise RequestError(f"type = {shown(kind)}: accepted are hello, shown, set, clear and views")


class _Fields:
    """The fields of a message, each of which is taken out once; what then is left is too much."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._left = dict(fields)

    def text(self, name: str) -> str:
        """Empty if there is none."""
        value = self._left.pop(name, "")
        if isinstance(value, str) and len(value) <= LONGEST_NAME and not _CONTROLS.search(value):
            return value
        raise _refusal(name, value, f"a text of up to {LONGEST_NAME} characters that can be printed")

    def count(self, name: str) -> int:
        value = self._left.pop(name, None)
        if _is_count(value):
            return int(value)
        raise _refusal(name, value, f"a whole number from 0 to {LARGEST_NUMBER}")

    def stamp(self, name: str) -> int:
        """In ns."""
        value = self._left.pop(name, None)
        match = _STAMP.fullmatch(value) if isinstance(value, str) else None
        if match is not None and int(match[1]) <= _LAST_SECOND:
            return int(match[1]) * SECOND_NS + int(match[2])
        raise _refusal(name, value, "seconds, a point and nine digits, for example '12.000000345'")

    def box(self, name: str) -> tuple[float, ...]:
        value = self._left.pop(name, None)
        if isinstance(value, list) and len(value) == 4 and all(map(_is_length, value)) and min(value[2:]) > 0:
            return tuple(map(float, value))
        raise _refusal(
            name, value, "[left, top, width, height] in pixels: finite numbers, the last two above 0"
        )

    def end(self) -> None:
        for name, value in self._left.items():
            raise RequestError(f"{shown(name)} = {shown(value)}: this message has no such field")


def _refusal(name: str, value: object, accepted: str) -> RequestError:
    return RequestError(f"{name} = {'nothing' if value is None else shown(value)}: accepted is {accepted}")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_NUMBER


def _is_length(value: object) -> bool:
    # What is beyond is no pixel, and a whole number may be too large for a float.
    return type(value) in (int, float) and abs(value) <= LARGEST_NUMBER  # type: ignore[arg-type]


def stamp_text(stamp_ns: int) -> str:
    """'SEC.NANOSEC', nine digits behind the point; JavaScript has no number for it."""
    seconds, rest = divmod(stamp_ns, SECOND_NS)
    return f"{seconds}.{rest:09d}"


def welcome(message: str) -> str:
    """`message`: why the viewer may not command; empty if it may."""
    return _text("welcome", may_command=not message, message=message)


def refused(message: str) -> str:
    """The last message before the connection is closed."""
    return _text("refused", message=message)


def answer(request: int | None, success: bool, message: str, id: str = "") -> str:
    """What became of a request."""
    return _text("answer", request=request, success=success, message=message, id=id)


def views(request: int, id: str, views: Iterable[Any]) -> str:
    """`views`: distill_tracker_msgs/TargetView."""
    told = [
        {
            "jpeg": base64.b64encode(view.picture.data).decode(),
            "initial": view.initial,
            "in_template": view.in_template,
            "confidence": rounded(view.confidence, 3) if view.confidence >= 0 else None,
            "age_frames": view.age_frames,
        }
        for view in views
    ]
    return _text("views", request=request, id=id, views=told)


def state(state: dict[str, Any]) -> str:
    return _text("state", state=state)


def picture(frame: int, stamp_ns: int, size: tuple[int, int], state: dict[str, Any], jpeg: bytes) -> bytes:
    """`size`: of the camera's image, whatever that of the JPEG."""
    fields = {"frame": frame, "stamp": stamp_text(stamp_ns), "width": size[0], "height": size[1]}
    head = json.dumps({**fields, "state": state}, allow_nan=False).encode()
    return b"".join((struct.pack(">I", len(head)), head, jpeg))


def rounded(value: float, digits: int) -> float:
    """What a person can read; JSON knows no nan and no infinity: they become 0."""
    return round(float(value), digits) if math.isfinite(value) else 0.0


def _text(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, **fields}, allow_nan=False)

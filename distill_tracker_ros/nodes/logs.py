"""Log lines for people that machines can read too: a sentence, and then what it is about in brackets.

    target 'a' is LOST: nothing looks enough like it  [event=target_lost id=a confidence=0.080 unseen_s=1.033]

Ids, labels and error texts come from others. None of them can end a line, begin the brackets, or add a field.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Value = str | int | float | bool

PERIOD_S = 5.0  # lines of one event about one target are at least so far apart
MOST_KEYS = 32  # pairs of event and target that are told apart; the others of an event share one
LONGEST_SENTENCE = 600  # characters
LONGEST_VALUE = 100

_BARE = re.compile(r"[\w.,:;/+@%-]+", re.ASCII)
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?: |$)')
_ROUND = str.maketrans("[]", "()")
_ESCAPED = str.maketrans({"[": "\\u005b", "]": "\\u005d"})


def line(event: str, sentence: str, /, **fields: Value) -> str:
    """One line: the sentence, and the event and the fields in the only square brackets.

    A text that is more than one plain word stands in double quotes, with the escapes of JSON. What is too
    long is cut, and ends with '...'.
    """
    told = " ".join(f"{key}={_quoted(value)}" for key, value in {"event": event, **fields}.items())
    return f"{plain(sentence, LONGEST_SENTENCE).translate(_ROUND)}  [{told}]"


def parse(text: str) -> dict[str, str]:
    """The fields of a line, `event` among them; none if it is not a line of `line`."""
    _, bracket, told = text.strip().rpartition("[")
    if not bracket or not told.endswith("]"):
        return {}
    found = _FIELD.findall(told[:-1])
    try:
        return {key: json.loads(value) if value.startswith('"') else value for key, value in found}
    except ValueError:
        return {}


def plain(text: str, longest: int = LONGEST_VALUE) -> str:
    """A text as one line without control characters, and not longer than so many characters."""
    return cut("".join(c if c.isprintable() else _escaped(c) for c in text[: longest + 1]), longest)


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    """The text, or its beginning and '...'."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3f}"
    text = cut(str(value))
    return text if _BARE.fullmatch(text) else json.dumps(text).translate(_ESCAPED)


@dataclass
class _Told:
    at_ns: int
    left_out: int = 0


class Limiter:
    """Lets one line per period through for each event and target, and counts the others. Thread-safe.

    Targets have names that others choose, so only MOST_KEYS pairs are told apart at a time: that bounds the
    memory and the number of lines in a period.
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_ns = round(period_s * 1e9)
        self._told: dict[tuple[str, str], _Told] = {}
        self._forgotten: Counter[str] = Counter()  # event -> lines left out of pairs that were forgotten
        self._lock = threading.Lock()

    def admit(self, now_ns: int, event: str, target: str = "") -> int | None:
        """None: leave the line out. Else how many were left out since the last one."""
        with self._lock:
            key = self._key(now_ns, event, target)
            last = self._told.get(key)
            if last is not None and last.at_ns <= now_ns < last.at_ns + self._period_ns:
                last.left_out += 1
                return None
            self._told[key] = _Told(now_ns)
            return (last.left_out if last else 0) + self._forgotten.pop(event, 0)

    def _key(self, now_ns: int, event: str, target: str) -> tuple[str, str]:
        if (event, target) not in self._told and len(self._told) >= MOST_KEYS:
            for key, last in list(self._told.items()):
                if not last.at_ns <= now_ns < last.at_ns + self._period_ns:
                    self._forgotten[key[0]] += last.left_out
                    del self._told[key]
            if len(self._told) >= MOST_KEYS:
                return event, ""
        return event, target


class Logger(Protocol):
    """What of a ROS logger is needed."""

    def debug(self, message: str) -> object: ...
    def info(self, message: str) -> object: ...
    def warning(self, message: str) -> object: ...
    def error(self, message: str) -> object: ...


class Log:
    """Writes such lines at a limited rate for each event and target (the field `id`). Thread-safe."""

    def __init__(
        self, logger: Logger, limiter: Limiter | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._logger, self._limiter, self._clock = logger, limiter or Limiter(), clock

    # A call of a ROS logger belongs to one severity for ever, so there is a call for each.

    def debug(self, event: str, sentence: str, /, **fields: Value) -> None:
        if text := self._admitted(event, sentence, fields):
            self._logger.debug(text)

    def info(self, event: str, sentence: str, /, **fields: Value) -> None:
        if text := self._admitted(event, sentence, fields):
            self._logger.info(text)

    def warning(self, event: str, sentence: str, /, **fields: Value) -> None:
        if text := self._admitted(event, sentence, fields):
            self._logger.warning(text)

    def error(self, event: str, sentence: str, /, **fields: Value) -> None:
        if text := self._admitted(event, sentence, fields):
            self._logger.error(text)

    def _admitted(self, event: str, sentence: str, fields: dict[str, Value]) -> str:
        left_out = self._limiter.admit(self._clock(), event, str(fields.get("id", "")))
        if left_out is None:
            return ""
        if left_out:
            sentence = f"{plain(sentence, LONGEST_SENTENCE - 50)} ({left_out} more like this were left out)"
            fields = {**fields, "left_out": left_out}
        return line(event, sentence, **fields)

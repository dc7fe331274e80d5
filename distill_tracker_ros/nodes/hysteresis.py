"""Levels that do not flap: up when a problem lasts, down when it has been gone for a while.

There is no clock here: time comes in, in ns. A time that goes back begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

OK, WARN, ERROR = range(3)  # as in diagnostic_msgs


class Held(NamedTuple):
    """What is told of a level that was observed."""

    level: int  # never below the observed one once that has lasted
    better_for_s: float  # for how long something better than `level` has been observed


class Hysteresis:
    """A level that rises after `raise_s` of a worse one, and falls after `hold_s` of a better one."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self._begin()

    def update(self, now_ns: int, level: int, raise_s: float = 0.0, hold_s: float = 0.0) -> Held:
        """The level to tell, given the one that is observed now."""
        if now_ns < self._newest_ns:
            self._begin()
        self._newest_ns = now_ns
        for switch in (self._warn, self._error):
            switch.update(now_ns, level >= switch.from_level, raise_s, hold_s)
        # What was an error for a while was a warning for as long: the first switch is on with the second.
        top = self._error if self._error.on else self._warn
        held = top.from_level if top.on else OK
        return Held(held, (now_ns - top.since_ns) / 1e9 if top.since_ns is not None and top.on else 0.0)

    def _begin(self) -> None:
        self._warn, self._error = _Switch(WARN), _Switch(ERROR)


@dataclass
class _Switch:
    """Whether a level was reached: it turns when the contrary has lasted."""

    from_level: int
    on: bool = False
    since_ns: int | None = None  # since when the contrary of `on` is observed

    def update(self, now_ns: int, observed: bool, raise_s: float, hold_s: float) -> None:
        if observed is self.on:
            self.since_ns = None
            return
        if self.since_ns is None:
            self.since_ns = now_ns
        if now_ns - self.since_ns >= (hold_s if self.on else raise_s) * 1e9:
            self.on, self.since_ns = observed, None


@dataclass(frozen=True)
class Problem:
    """Something that is wrong now."""

    key: str  # the same for the same problem in other numbers; one of a few
    level: int  # WARN or ERROR
    text: str
    spiky: bool = False  # comes now and then in good health: counts only if it lasts


@dataclass
class Alarms:
    """The problems of a status over time, each with its own hysteresis."""

    _known: dict[str, _Alarm] = field(default_factory=dict)

    def judge(
        self, now_ns: int, problems: Iterable[Problem], raise_s: float, hold_s: float
    ) -> tuple[int, list[str]]:
        """The level to tell, and a sentence for every problem that there is, or was until a moment ago."""
        observed = {problem.key: problem for problem in problems}
        worst, texts = OK, []
        for key in [*observed, *(key for key in self._known if key not in observed)]:
            alarm, problem = self._known.setdefault(key, _Alarm()), observed.get(key)
            level = problem.level if problem else OK
            held = alarm.hysteresis.update(now_ns, level, raise_s if problem and problem.spiky else 0, hold_s)
            worst = max(worst, held.level)
            if problem and held.level:
                texts.append(problem.text)
            if problem and level >= held.level:
                alarm.text = problem.text
            elif held.level:
                better = "better" if problem else "OK again"
                texts.append(f"{better} for {held.better_for_s:.0f} s of {hold_s:g} after: {alarm.text}")
            else:
                del self._known[key]
        return worst, texts


@dataclass
class _Alarm:
    hysteresis: Hysteresis = field(default_factory=Hysteresis)
    text: str = ""  # when it was at its worst

"""Who is on the link: ground stations and the vehicle, by their HEARTBEATs."""

from __future__ import annotations

from typing import Any, NamedTuple

from .dialect import mavlink

LOST_S = 5.0  # without a HEARTBEAT
MOST = 32  # that are remembered


class Address(NamedTuple):
    """A component of a MAVLink system."""

    system: int
    component: int

    def __str__(self) -> str:
        return f"{self.system}/{self.component}"


class Peers:
    """Remembers whose HEARTBEAT came when."""

    def __init__(self) -> None:
        self.vehicle = 0  # system of the first autopilot that was heard
        self.heartbeats = 0
        self._heard_s: dict[Address, float] = {}

    def hear(self, source: Address, heartbeat: Any, now_s: float) -> None:
        """Take a HEARTBEAT; those of other devices of the vehicle do not count."""
        is_autopilot = (
            source.component == mavlink.MAV_COMP_ID_AUTOPILOT1
            and heartbeat.autopilot != mavlink.MAV_AUTOPILOT_INVALID
            and heartbeat.type != mavlink.MAV_TYPE_GCS
        )
        if not source.system or not (is_autopilot or heartbeat.type == mavlink.MAV_TYPE_GCS):
            return
        if is_autopilot and not self.vehicle:
            self.vehicle = source.system
        self.heartbeats += 1
        self._heard_s.pop(source, None)
        if len(self._heard_s) >= MOST:
            del self._heard_s[next(iter(self._heard_s))]  # the one heard longest ago
        self._heard_s[source] = now_s

    def present(self, now_s: float) -> list[Address]:
        """Those that were heard in the last seconds."""
        return sorted(peer for peer, at_s in self._heard_s.items() if now_s - at_s < LOST_S)

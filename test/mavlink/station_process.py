"""A ground station process, and what it says."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from waiting import DEADLINE_S, wait_until

IN_PROGRESS = 5
PROGRAM = Path(__file__).with_name("ground_station.py")


class Heard(NamedTuple):
    """A message of the camera that the ground station has received."""

    kind: str
    source: tuple[int, int]
    at_s: float  # by time.monotonic
    fields: dict[str, Any]


class Station:
    """Gives orders to a ground station and keeps its events, oldest first."""

    def __init__(self, connection: str, vehicle: int) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), connection, str(vehicle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait("ready")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append({**json.loads(line), "at_s": time.monotonic()})

    def do(self, order: str, **arguments: Any) -> int:
        """Give an order, and wait until it is done; the number of events before it."""
        since = len(self.events)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")
        self._process.stdin.flush()
        done = wait_until(
            lambda: [e for e in self.events[since:] if e["event"] == "failed" or e.get("order") == order],
            f"{order} to be done",
        )
        assert done[0]["event"] == "done", done
        return since

    def all(self, event: str, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Events of a kind with such fields, from a number of events on."""
        wanted = {"event": event, **fields}
        return [each for each in self.events[since:] if wanted.items() <= each.items()]

    def wait(
        self, event: str, since: int = 0, deadline_s: float = DEADLINE_S, **fields: Any
    ) -> dict[str, Any]:
        """The first such event."""
        what = f"{event} {fields} among {len(self.events) - since} events"
        return wait_until(lambda: self.all(event, since, **fields), what, deadline_s)[0]

    def messages(self, kind: str, since: int = 0, **fields: Any) -> list[Heard]:
        """Messages of a kind with such fields, from a number of events on."""
        return [
            Heard(kind, tuple(each["source"]), each["at_s"], each["fields"])
            for each in self.all("message", since, kind=kind)
            if fields.items() <= each["fields"].items()
        ]

    def message(self, kind: str, since: int = 0, deadline_s: float = DEADLINE_S, **fields: Any) -> Heard:
        """The first such message."""
        return wait_until(lambda: self.messages(kind, since, **fields), f"{kind} {fields}", deadline_s)[0]

    def ack(self, command: int, since: int) -> dict[str, Any]:
        """The first final acknowledgement of a command."""
        acks = wait_until(
            lambda: [
                ack
                for ack in self.messages("COMMAND_ACK", since, command=command)
                if ack.fields["result"] != IN_PROGRESS
            ],
            f"an acknowledgement of {command}",
        )
        return acks[0].fields

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE_S)


@contextmanager
def ground_station(connection: str, vehicle: int) -> Iterator[Station]:
    """A ground station that is gone afterwards."""
    station = Station(connection, vehicle)
    try:
        yield station
    finally:
        station.close()


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

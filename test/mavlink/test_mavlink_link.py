"""The camera on real sockets and pseudo terminals: what is said, what breaks, and what comes back."""

from __future__ import annotations

import os
import socket
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import STATION, VEHICLE, HandTracker, Lines, command, gcs_heartbeat
from station_process import free_port
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.mavlink.camera import Camera
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.mavlink.link import Link
from distill_tracker_ros.mavlink.options import MavlinkOptions
from distill_tracker_ros.mavlink.reader import Reader
from distill_tracker_ros.mavlink.transport import MOST_PEERS, Stream, opener

INFORMATION = command(512, 259)


@contextmanager
def camera_on(connection: str) -> Iterator[tuple[Link, HandTracker, Lines]]:
    tracker, log = HandTracker(), Lines()
    options = MavlinkOptions(system_id=VEHICLE)
    link = Link(connection, opener(connection), Camera(lambda: options, tracker, log), log)
    link.start()
    try:
        yield link, tracker, log
    finally:
        link.stop()


class Peer:
    """A ground station on something that can be read and written."""

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], Any]) -> None:
        self._read, self._write = read, write
        self._reader, self._codec = Reader(), mavlink.MAVLink(None, *STATION)

    def send(self, message: Any) -> None:
        self._write(message.pack(self._codec))

    def receive(self) -> list[Any]:
        with suppress(BlockingIOError):
            return self._reader.feed(self._read(), time.monotonic())
        return []

    def waits_for(self, kind: str) -> Any:
        return wait_until(lambda: [m for m in self.receive() if m.get_type() == kind], kind)[0]

    def talks(self) -> None:
        """A heartbeat comes, and an answer to a command."""
        beat = self.waits_for("HEARTBEAT")
        assert (beat.get_srcSystem(), beat.get_srcComponent(), beat.type) == (VEHICLE, 100, 30)
        self.send(gcs_heartbeat())
        self.send(INFORMATION)
        assert self.waits_for("CAMERA_INFORMATION").flags & 1024


def datagrams(own: socket.socket) -> Peer:
    """Answers go to who wrote last."""
    own.setblocking(False)
    source: list[Any] = []

    def read() -> bytes:
        data, source[:] = own.recvfrom(65_536)
        return data

    return Peer(read, lambda data: own.sendto(data, tuple(source)))


def stream(own: socket.socket) -> Peer:
    own.setblocking(False)
    return Peer(lambda: own.recv(65_536), own.sendall)


def test_udp_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        with camera_on(f"udpout:127.0.0.1:{own.getsockname()[1]}") as (link, _, log):
            datagrams(own).talks()
            assert link.facts().trouble == "" and link.facts().camera.peers == (STATION,)
            assert log.lines[0][0] == "link_open"


def test_udp_out_is_not_broken_when_nobody_listens() -> None:
    port = free_port()
    with closing(opener(f"udpout:127.0.0.1:{port}")()) as transport:
        for _ in range(3):
            transport.write(b"unheard")
            assert transport.read(0.05) == b""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.bind(("127.0.0.1", port))
            own.settimeout(DEADLINE_S)
            transport.write(b"heard")
            assert own.recv(100) == b"heard"


def test_udp_out_hears_that_host_alone() -> None:
    with closing(opener("udpout:127.0.0.2:14550")()) as transport:
        transport.write(b"x")  # now it has a port
        own = ("127.0.0.1", transport._socket.getsockname()[1])
        for host, heard in (("127.0.0.1", b""), ("127.0.0.2", b"hello")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((host, 0))
                peer.sendto(b"hello", own)
            assert transport.read(DEADLINE_S) == heard


def test_udp_in_answers_all_who_wrote_and_remembers_a_few() -> None:
    port = free_port()
    with camera_on(f"udpin:127.0.0.1:{port}") as (link, _, _):
        owns = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(MOST_PEERS + 3)]
        wait_until(lambda: link.facts().trouble == "", "an open link")
        for own in owns:
            own.sendto(b"\0", ("127.0.0.1", port))
        for own in owns[-2:]:  # the newest are served at the same time
            own.connect(("127.0.0.1", port))
            stream(own).talks()
        wait_until(lambda: link.facts().bad_bytes == len(owns), "the garbage of all")
        own = owns[0]  # forgotten, but it may come again
        own.connect(("127.0.0.1", port))
        peer = stream(own)
        wait_until(lambda: not peer.receive(), "the last of what was sent to it")
        stream(owns[-1]).talks()
        assert peer.receive() == []
        peer.send(gcs_heartbeat())
        peer.talks()
        for each in owns:
            each.close()


def test_tcp_is_opened_again_when_the_other_side_ends_and_comes_back() -> None:
    port = free_port(socket.SOCK_STREAM)
    with camera_on(f"tcp:127.0.0.1:{port}") as (link, _, log):
        wait_until(lambda: "refused" in link.facts().trouble, "a refusal")
        for _ in range(2):
            with closing(socket.create_server(("127.0.0.1", port))) as server:
                server.settimeout(DEADLINE_S)
                own, _ = server.accept()
            with own:
                stream(own).talks()
                assert link.facts().trouble == ""
            wait_until(lambda: link.facts().trouble, "a link that knows that it is broken")
        words = [sentence for event, sentence in log.lines if event == "link_closed"]
        assert any("cannot be opened" in each for each in words)
        assert any("is broken" in each for each in words)


def test_tcp_in_takes_one_after_the_other() -> None:
    port = free_port(socket.SOCK_STREAM)
    with camera_on(f"tcpin:127.0.0.1:{port}") as (link, _, _):
        wait_until(lambda: link.facts().trouble == "", "an open link")
        with socket.create_connection(("127.0.0.1", port)) as first:
            stream(first).talks()
            with socket.create_connection(("127.0.0.1", port)) as second:
                stream(second).talks()
                first.setblocking(True)
                first.settimeout(DEADLINE_S)
                while first.recv(65_536):  # the first one was let go
                    pass
        with socket.create_connection(("127.0.0.1", port)) as third:
            stream(third).talks()
        assert link.facts().trouble == ""


def terminal(own: int) -> Peer:
    def read() -> bytes:
        with suppress(OSError):  # the other side is not open yet
            return os.read(own, 65_536)
        return b""

    return Peer(read, lambda data: os.write(own, data))


@contextmanager
def serial_pair(link: Path) -> Iterator[int]:
    """A pseudo terminal whose other side is found under this name; its descriptor."""
    own, other = os.openpty()
    tty.setraw(own)
    os.set_blocking(own, False)
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(other))
    os.close(other)
    try:
        yield own
    finally:
        os.close(own)


def test_a_serial_port_and_one_that_is_pulled_out_and_put_back(tmp_path: Path) -> None:
    device = tmp_path / "ttyACM0"
    with camera_on(f"{device}:57600") as (link, tracker, log):
        wait_until(lambda: "No such file" in link.facts().trouble, "a missing device")
        for number in range(2):
            with serial_pair(device) as own:
                peer = terminal(own)
                peer.talks()
                os.write(own, b"\xfd\xff\x00garbage")
                peer.send(command(2005, 0.1, 0.2, 0.3, 0.4 + number / 10))
                for _ in range(15):  # what the garbage claims to be is full by then
                    peer.send(gcs_heartbeat())
                wait_until(lambda: len(tracker.calls) == number + 1, "the mark")  # noqa: B023
                tracker.answer(True)
                assert peer.waits_for("COMMAND_ACK").result == 0
            wait_until(lambda: link.facts().trouble, "a link that knows that it is broken")
        events = [event for event, _ in log.lines]
        assert events.count("link_open") == 2 and "mavlink_failed" not in events


@pytest.mark.parametrize(
    "connection",
    [
        "",
        "udp:127.0.0.1:14550",  # pymavlink's, which may be either way
        "udpout:127.0.0.1",
        "udpout::14550",
        "udpout:127.0.0.1:0",
        "udpout:127.0.0.1:70000",
        "udpout:127.0.0.1:x",
        "udpout:::1:14550",
        "tcp:127.0.0.1:-1",
        "COM3",
        "flight.tlog",
        "/dev/ttyACM0:fast",
    ],
)
def test_what_is_no_connection_is_refused_with_what_is(connection: str) -> None:
    accepted = "accepted is udpout:HOST:PORT, udpin:HOST:PORT, .* or a serial DEVICE:BAUD"
    with pytest.raises(ValueError, match=f"^connection = '.*': {accepted}$"):
        opener(connection)


def test_a_baud_rate_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="^connection = '/dev/ttyACM0:57601': 57601 is no baud rate"):
        opener("/dev/ttyACM0:57601")
    for accepted in ("/dev/ttyACM0", "/dev/ttyUSB0:921600", "/dev/serial/by-id/a-b_c,115200"):
        opener(accepted)


def test_what_is_no_serial_port_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file is no serial port"):
        opener(f"{tmp_path / 'file'}:57600")()


def test_a_serial_port_is_held_alone(tmp_path: Path) -> None:
    with serial_pair(tmp_path / "tty"):
        held = opener(f"{tmp_path / 'tty'}")()
        if os.geteuid():  # the lock does not hold against root
            with pytest.raises(OSError, match="busy"):
                opener(f"{tmp_path / 'tty'}")()
        held.close()
        opener(f"{tmp_path / 'tty'}")().close()


def test_a_port_in_use_is_told_and_tried_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        connection = f"udpin:127.0.0.1:{other.getsockname()[1]}"
        with camera_on(connection) as (link, _, _):
            wait_until(lambda: "in use" in link.facts().trouble, "the reason")
            assert link.facts().trouble.startswith(f"{connection} cannot be opened: ")
            other.close()
            wait_until(lambda: link.facts().trouble == "", "an open link")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 100])
def test_a_host_that_is_not_there_is_told_and_tried_again(host: str) -> None:
    with camera_on(f"udpout:{host}:14550") as (link, _, log):
        wait_until(lambda: "cannot be opened" in link.facts().trouble, "the reason", 60.0)
        wait_until(lambda: len(log.lines) >= 2, "a second try", 60.0)


def test_who_does_not_read_costs_neither_time_nor_memory() -> None:
    one, other = socket.socketpair()
    other.setblocking(False)
    sender = Stream(one.detach())
    began = time.monotonic()
    message = bytes(range(250))
    for _ in range(20_000):
        sender.write(message)
    assert time.monotonic() - began < 5 and len(sender._unsent) <= 65_536
    received = bytearray()
    with suppress(BlockingIOError):
        while True:
            received += other.recv(1 << 20)
            sender.read(0)  # the rest is sent when there is room
    assert len(received) > 65_536
    assert received == message * (len(received) // 250)  # whole messages only
    sender.close()
    other.close()


def test_the_end_of_a_stream_is_an_error() -> None:
    one, other = socket.socketpair()
    ended = Stream(one.detach())
    assert ended.read(0) == b""
    other.sendall(b"last words")
    other.close()
    assert ended.read(DEADLINE_S) == b"last words"
    with pytest.raises(ConnectionError, match="^the other side has closed it$"):
        ended.read(DEADLINE_S)
    ended.close()


def test_a_fault_in_the_camera_does_not_end_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Camera, message: Any, now_s: float) -> list[Any]:
        raise RuntimeError("a fault")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        with camera_on(f"udpout:127.0.0.1:{own.getsockname()[1]}") as (_, _, log):
            peer = datagrams(own)
            peer.waits_for("HEARTBEAT")
            with monkeypatch.context() as patch:
                patch.setattr(Camera, "receive", fails)
                peer.send(INFORMATION)
                wait_until(lambda: log.lines[-1][0] == "mavlink_failed", "the fault")
            assert log.lines[-1][1] == "a message could not be answered (RuntimeError: a fault)"
            peer.talks()

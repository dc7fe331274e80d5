"""The web server in this process, viewers over real sockets: the protocol, and all that is refused."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the web server needs aiohttp")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Page
from tracker_double import SECOND, TrackerDouble, diagnosis, said, status, target, view
from waiting import wait_until

from distill_tracker_ros.nodes.logs import Log, parse
from distill_tracker_ros.web import conversation, reception
from distill_tracker_ros.web import server as server_module
from distill_tracker_ros.web.listener import ServerError
from distill_tracker_ros.web.pictures import Picture
from distill_tracker_ros.web.server import Server, Settings

JPEG = b"\xff\xd8" + bytes(50_000)
STAMP = 1_000 * SECOND


class Lines(list[str]):
    """A logger that keeps its lines."""

    debug = info = warning = error = list.append


class Site:
    """A server with its tracker."""

    def __init__(self, **values: Any) -> None:
        self.tracker, self.lines = TrackerDouble(), Lines()
        self.server = Server(Settings(**values), self.tracker, Log(self.lines))
        self.url = f"http://127.0.0.1:{self.server.port}/"
        self.stamp_ns = STAMP

    def page(self, *arguments: Any, **values: Any) -> Page:
        return Page(self.url, *arguments, **values)

    def show(self, *targets: Any, jpeg: bytes = JPEG) -> int:
        """A picture and its status; its stamp."""
        self.stamp_ns += SECOND // 10
        self.server.heard(status(self.stamp_ns, *targets))
        self.server.show(Picture(self.stamp_ns, (640, 480), jpeg))
        return self.stamp_ns

    def get(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and content of an HTTP answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    @property
    def viewers(self) -> int:
        return self.server.figures.viewers


@pytest.fixture
def start() -> Iterator[Callable[..., Site]]:
    """Start sites that end with the test."""
    sites: list[Site] = []

    def one(**values: Any) -> Site:
        sites.append(Site(**values))
        return sites[-1]

    yield one
    for site in sites:
        site.server.stop()
        assert not site.server.failure and not site.server._thread.is_alive()
        assert not [line for line in site.lines if parse(line)["event"] == "web_error"], site.lines


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    return start()


class TestThePage:
    def test_it_is_served_with_what_it_needs_and_strict_headers(self, site: Site) -> None:
        code, headers, content = site.get()
        assert code == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<html" in content
        policy = headers["Content-Security-Policy"]
        for rule in (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ):
            assert rule in policy.split("; ")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        for name in ("/page.css", "/main.js"):
            code, headers, content = site.get(name)
            assert code == 200 and content and "X-Content-Type-Options" in headers

    @pytest.mark.parametrize(
        "path",
        [
            "/index",
            "/page/index.html",
            "/../server.py",
            "/..%2fserver.py",
            "/%2e%2e/server.py",
            "//etc/passwd",
            "/page.css/",
            "/page.css%00.js",
            "/.",
            "/ws/",
            "/favicon.ico",
        ],
    )
    def test_nothing_else_is(self, site: Site, path: str) -> None:
        code, headers, _ = site.get(path)
        assert code == 404 and "Content-Security-Policy" in headers

    def test_only_reading_is_possible(self, site: Site) -> None:
        assert site.get(method="HEAD")[0] == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert site.get(method=method)[0] == 405

    def test_a_large_body_is_not_read(self, site: Site) -> None:
        with socket.create_connection(("127.0.0.1", site.server.port), 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
            with suppress(OSError):
                for _ in range(1000):
                    connection.sendall(bytes(100_000))
                pytest.fail("100 MB of a body were taken")
        assert site.get()[0] == 200

    @pytest.mark.parametrize(
        "request_text",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a browser that was told https
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00" * 1000,
        ],
    )
    def test_what_is_no_request_is_refused_in_silence(self, site: Site, request_text: bytes) -> None:
        with socket.create_connection(("127.0.0.1", site.server.port), 10) as connection:
            connection.sendall(request_text)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):
                while data := connection.recv(4096):
                    answer += data
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) or not answer
        assert site.get()[0] == 200


class TestTalk:
    def test_hello_welcome_and_the_state(self, site: Site) -> None:
        site.server.heard(status(STAMP, target("a", 2)))
        with site.page() as page:
            assert page.said("welcome") == {"type": "welcome", "may_command": True, "message": ""}
            assert page.messages[0]["type"] == "welcome"
            assert page.said("state")["state"]["targets"][0]["state"] == "UNCERTAIN"

    def test_pictures_come_with_the_state_of_the_same_image(self, site: Site) -> None:
        with site.page() as page:
            page.said("welcome")
            for number in range(5):
                stamp_ns = site.show(target(f"target {number}"))
                picture = wait_until(lambda number=number: page.pictures[number:], "a picture")[0]
                assert picture.jpeg == JPEG
                head = picture.head
                assert (head["frame"], head["width"], head["height"]) == (number + 1, 640, 480)
                assert (
                    head["stamp"] == head["state"]["stamp"] == f"{stamp_ns // SECOND}.{stamp_ns % SECOND:09d}"
                )
                assert head["state"]["targets"][0]["id"] == f"target {number}"

    def test_a_picture_waits_for_its_state_and_not_for_ever(self, site: Site) -> None:
        with site.page() as page:
            page.said("welcome")
            site.server.heard(status(STAMP, target("old")))
            site.server.show(Picture(STAMP + 5, (640, 480), JPEG))
            site.server.heard(status(STAMP + 5, target("right")))
            assert (
                wait_until(lambda: page.pictures, "a picture")[0].head["state"]["targets"][0]["id"] == "right"
            )
            site.server.show(Picture(STAMP + 6, (640, 480), JPEG))
            late = wait_until(lambda: page.pictures[1:], "a picture without its status")[0]
            assert late.head["state"]["targets"][0]["id"] == "right"
            assert late.head["stamp"] != late.head["state"]["stamp"]

    def test_states_come_once_a_second_and_with_every_change(self, site: Site) -> None:
        with site.page() as page:
            for state in (1, 2, 3, 1, 3, 2):
                site.server.heard(status(STAMP, target("a", state)))
                word = {1: "TRACKING", 2: "UNCERTAIN", 3: "LOST"}[state]
                wait_until(lambda word=word: page.states and word in str(page.states[-1]), word)
            before = len(page.states)
            wait_until(lambda: len(page.states) >= before + 3, "states without a change")
            site.server.found(True)
            wait_until(lambda: page.states[-1]["tracker"] == "silent", "silence")
            assert page.states[-1]["silent_s"] >= 1.9
            site.server.found(False)
            wait_until(lambda: page.states[-1]["tracker"] == "absent", "absence")
            site.server.diagnosed([diagnosis("tracker: input", 2, "no images")])
            wait_until(lambda: page.states[-1]["diagnostics"], "a diagnosis")

    def test_requests_reach_the_tracker_and_its_answers_the_viewer(self, site: Site) -> None:
        with site.page() as page:
            answer = page.ask("set", stamp="5.000000007", box=[1, 2, 3, 4.5], id="car", label="<b>")
            expected = {"type": "answer", "request": 1, "success": True, "message": "done", "id": "car"}
            assert answer == expected
            assert page.ask("clear", id="unknown")["message"] == "there is no target 'unknown'"
            views = page.ask("views", id="car")
            assert base64.b64decode(views["views"][0]["jpeg"]) == b"\xff\xd8jpeg" and views["id"] == "car"
            assert not page.ask("views", id="unknown")["success"]
        asked = [("set", (1.0, 2.0, 3.0, 4.5), 5_000_000_007, "car", "<b>"), ("clear", "unknown")]
        assert site.tracker.asked[:2] == asked

    def test_a_tracker_that_fails_is_told_and_harms_nothing(self, site: Site) -> None:
        with site.page() as page:
            answer = page.ask("views", id="broken")
            assert not answer["success"] and "a fault of the test" in answer["message"]
            assert parse(site.lines.pop())["event"] == "web_error"
            assert page.ask("clear", id="car")["success"]

    def test_answers_may_come_in_another_order_and_to_nobody(self, site: Site) -> None:
        site.tracker.holds = True
        with site.page() as page, site.page() as other:
            for number in (1, 2):
                page.send({"type": "clear", "request": number, "id": ""})
            other.send({"type": "clear", "request": 3, "id": ""})
            first, second, third = wait_until(
                lambda: len(site.tracker.open) == 3 and site.tracker.open, "requests"
            )
            other.close()
            wait_until(lambda: site.viewers == 1, "one viewer")
            third.set_result(said(True, "too late"))
            second.set_result(said(True, "the second"))
            assert page.answer(2)["message"] == "the second"
            first.set_result(said(False, "the first"))
            assert page.answer(1)["message"] == "the first"

    def test_two_viewers_see_the_same(self, site: Site) -> None:
        with site.page() as one, site.page() as other:
            wait_until(lambda: site.viewers == 2, "two viewers")
            for _ in range(5):
                before = len(other.pictures)
                site.show(target("a"))
                wait_until(lambda before=before: len(other.pictures) > before, "a picture")
            wait_until(lambda: len(one.pictures) == 5, "the other's pictures")
            assert [picture[:2] for picture in one.pictures] == [picture[:2] for picture in other.pictures]

    def test_who_leaves_may_come_again(self, site: Site) -> None:
        for _ in range(5):
            with site.page() as page:
                page.said("welcome")
                assert page.ask("clear", id="car")["success"]
            wait_until(lambda: site.viewers == 0, "nobody")
        assert site.server.figures.refused == 0

    def test_pings_are_answered(self, site: Site) -> None:
        with site.page() as page:
            page.said("welcome")
            page._call(page._socket.ping(b"x"))
            assert page.ask("clear", id="car")["success"]


class TestNobodyLooks:
    def test_pictures_are_wanted_while_somebody_is_ready_for_one(self, site: Site) -> None:
        assert not site.server.wanted
        with site.page(shows=False) as page:
            wait_until(lambda: site.server.wanted, "a viewer")
            for number in (1, 2):
                site.show()
                wait_until(lambda number=number: len(page.pictures) == number, "a picture")
            wait_until(lambda: not site.server.wanted, "two pictures under way")
            site.show()
            page.send({"type": "shown", "frame": 1})
            wait_until(lambda: site.server.wanted, "a picture shown")
            assert len(page.pictures) == 2  # what came meanwhile is old now
            page.send({"type": "shown", "frame": 2})
            page.send({"type": "shown", "frame": 2})
            page.send({"type": "shown", "frame": 999})
            last = site.show()
            wait_until(lambda: len(page.pictures) == 3, "a new picture")
            assert page.pictures[2].head["stamp"].startswith(str(last // SECOND))
        wait_until(lambda: not site.server.wanted, "nobody")


class TestSlowViewers:
    def test_one_that_stops_reading_harms_nobody_and_goes_on_with_new_pictures(self, site: Site) -> None:
        jpeg = os.urandom(300_000)
        with site.page() as slow, site.page() as fast:
            wait_until(lambda: site.viewers == 2, "two viewers")

            def watch(pictures: int) -> None:
                """Show so many, each when the fast viewer has the one before."""
                for _ in range(pictures):
                    before = len(fast.pictures)
                    site.show(jpeg=jpeg)
                    wait_until(lambda before=before: len(fast.pictures) > before, "a picture for the other")

            watch(20)
            slow.pause()
            watch(50)
            tracemalloc.start()
            watch(5)
            fast.pictures.clear()
            before = tracemalloc.get_traced_memory()[0]
            watch(200)
            fast.pictures.clear()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < 5 * len(jpeg), grown  # 60 MB went by
            seen, stopped_at = len(slow.pictures), site.stamp_ns
            slow.resume()
            wait_until(lambda: (watch(1), slow.pictures[seen + 3 :])[1], "pictures again")
            stamps = [float(picture.head["stamp"]) for picture in slow.pictures]
            assert stamps == sorted(stamps)
            old = [stamp for stamp in stamps[seen:] if stamp * SECOND <= stopped_at]
            assert len(old) <= 3, old  # those that were on their way when it stopped
            assert slow.said("welcome") and not slow.is_closed

    def test_one_that_gives_no_sign_of_life_is_dropped(
        self, start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "LIFE_S", 2.0)
        monkeypatch.setattr(server_module, "PING_PERIOD_S", 0.5)
        site = start()
        with site.page(shows=False) as dead, site.page(shows=False) as quiet:
            wait_until(lambda: site.viewers == 2, "two viewers")
            dead.pause()  # nor does it answer pings
            wait_until(lambda: site.viewers == 1, "its end")
            quiet.said("welcome")
            time.sleep(3)  # longer than the limit
            assert not quiet.is_closed and quiet.ask("clear", id="car")["success"]

    def test_one_that_asks_and_never_reads_the_answers_is_dropped_with_all_that_waits_for_it(
        self, start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server_module, "LIFE_S", 2.0)
        site = start()
        site.tracker.views = (view(jpeg=bytes(1_000_000)),)
        with site.page() as greedy:
            greedy.said("welcome")
            usual = len(asyncio.all_tasks(site.server._loop))
            greedy.pause()
            for number in range(40):
                greedy.send({"type": "views", "request": number, "id": "car"})
            wait_until(lambda: site.viewers == 0, "its end")
            wait_until(lambda: len(asyncio.all_tasks(site.server._loop)) < usual, "the end of its tasks")
        assert len(site.tracker.asked) <= conversation.REQUESTS_AT_ONCE + 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ("no JSON", "accepted is JSON"),
            (b"\x00\x01", "accepted is text"),
            ({"type": "dance"}, "accepted are hello"),
            ({"type": "hello", "token": ""}, "said already"),
            ({"type": "set", "stamp": "1.000000000", "box": [1, 2, 3, 4]}, "request = nothing"),
        ],
    )
    def test_unusable_messages_are_answered_and_the_talk_goes_on(
        self, site: Site, message: Any, words: str
    ) -> None:
        with site.page() as page:
            page.said("welcome")
            page.send(message)
            answer = page.said("answer")
            assert words in answer["message"] and answer["request"] is None and not answer["success"]
            assert page.ask("clear", id="car")["success"]

    def test_a_box_without_area_is_refused_by_its_number(self, site: Site) -> None:
        with site.page() as page:
            answer = page.ask("set", stamp="1.000000000", box=[1, 2, 0, 4])
            assert "box = [1, 2, 0, 4]" in answer["message"] and not answer["success"]
        assert site.tracker.asked == []

    def test_many_unusable_messages_end_the_talk(self, site: Site) -> None:
        with site.page() as page:
            page.said("welcome")
            for _ in range(conversation.MOST_UNUSABLE - 1):
                page.send("?")
            assert page.ask("clear", id="car")["success"]  # one that is usable makes all good
            for _ in range(conversation.MOST_UNUSABLE):
                with suppress(ConnectionError):
                    page.send("?")
            assert page.wait_closed() == 4400
            assert "cannot be used" in page.said("refused")["message"]

    def test_too_long_a_message_ends_the_talk(self, site: Site) -> None:
        with site.page() as page:
            page.said("welcome")
            page.send("x" * 100_000)
            assert page.wait_closed() == 1009
        assert site.get()[0] == 200 and site.viewers == 0

    def test_requests_faster_than_allowed_are_answered_so(self, site: Site) -> None:
        with site.page() as page:
            for number in range(1, 41):
                page.send({"type": "clear", "request": number, "id": ""})
            answers = [page.answer(number) for number in range(1, 41)]
            refused = [answer for answer in answers if "too many requests" in answer["message"]]
            assert 5 <= len(refused) <= 31
            assert len(site.tracker.asked) == 40 - len(refused)
            wait_until(lambda: page.ask("clear", id="")["success"], "a request when it is quiet again")

    def test_a_flood_of_messages_ends_the_talk(self, site: Site) -> None:
        with site.page() as page, site.page() as other:
            with suppress(ConnectionError):
                for number in range(5_000):
                    page.send({"type": "shown", "frame": number})
            assert page.wait_closed() == 4429
            assert "messages a second" in page.said("refused")["message"]
            assert other.ask("clear", id="car")["success"]

    def test_a_hello_has_to_come_first_and_soon(
        self, start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reception, "HELLO_S", 0.5)
        site = start()
        with site.page(hello=False) as silent:
            assert silent.wait_closed() == 4400 and "no hello" in silent.said("refused")["message"]
        for message in ({"type": "clear", "request": 1, "id": ""}, "?", b"?"):
            with site.page(hello=False) as hasty:
                hasty.send(message)
                assert hasty.wait_closed() == 4400
        assert site.tracker.asked == []

    def test_pages_of_others_do_not_get_in(self, site: Site) -> None:
        port = site.server.port
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1"):
            with Page(site.url, Origin=origin) as page:
                assert page.status == 403
        head = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        keys = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), 10) as connection:  # no Origin at all
            connection.sendall((head + keys).encode())
            assert b" 403 " in connection.recv(4096)
        assert site.server.figures.refused == 5 and "Origin" in site.server.figures.last_refusal
        assert any("127.0.0.1" in line for line in site.lines)

    def test_names_that_others_point_here_do_not_get_in(self, site: Site) -> None:
        for host in ("evil.example", f"evil.example:{site.server.port}", "localhost.evil.example", ""):
            code, _, content = site.get(Host=host)
            assert code == 421 and "allowed_hosts" in content
        rebound = Page(site.url, Host="evil.example", Origin="http://evil.example")
        assert rebound.status == 421

    def test_what_was_allowed_gets_in(self, start: Callable[..., Site]) -> None:
        site = start(
            token="a secret",
            allowed_hosts=frozenset({"drone.example"}),
            allowed_origins=frozenset({"https://drone.example"}),
        )
        assert site.get(Host="drone.example")[0] == 200
        with site.page("a secret", Host="drone.example", Origin="https://drone.example") as page:
            assert page.said("welcome")["may_command"]

    def test_requests_without_end_are_refused_for_a_while(self, site: Site) -> None:
        codes = [site.get("/nothing")[0] for _ in range(300)]
        assert codes[0] == 404 and codes[-1] == 429
        wait_until(lambda: site.get()[0] == 200, "an answer when it is quiet again")

    def test_there_is_room_for_so_many_viewers(self, start: Callable[..., Site]) -> None:
        site = start(max_viewers=2)
        with site.page() as one, site.page():
            wait_until(lambda: site.viewers == 2, "two viewers")
            with site.page() as third:
                assert third.wait_closed() == 4429 and "2 viewers" in third.said("refused")["message"]
            one.close()
            wait_until(lambda: site.viewers == 1, "room")
            with site.page() as fourth:
                assert fourth.said("welcome")

    def test_connections_that_say_nothing_are_few_and_end(
        self, start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("distill_tracker_ros.web.listener.REQUEST_S", 3.0)
        site = start()
        with site.page() as page:
            page.said("welcome")
            idle = [socket.create_connection(("127.0.0.1", site.server.port), 10) for _ in range(100)]
            for number, connection in enumerate(idle):
                with suppress(OSError):
                    connection.sendall(b"GET / HT"[: number % 9])
            wait_until(lambda: site.server.figures.refused >= 60, "refused connections")
            assert page.ask("clear", id="car")["success"]  # who is in stays in

            def ended() -> bool:
                with suppress(OSError):
                    return site.get()[0] == 200
                return False

            wait_until(ended, "room for a request")
            assert not page.is_closed
            for connection in idle:
                connection.close()


class TestTokens:
    def test_none_is_needed_on_this_machine_alone(self, site: Site) -> None:
        assert site.server.made_token == "" and site.server.url == site.url

    @pytest.mark.parametrize(
        "values",
        [
            {"host": "0.0.0.0"},
            {"allowed_hosts": frozenset({"drone.example"})},
            {"allowed_origins": frozenset({"https://drone.example"})},
        ],
    )
    def test_one_is_made_where_others_can_come(
        self, start: Callable[..., Site], values: dict[str, Any]
    ) -> None:
        site, other = start(**values), start(**values)
        token = site.server.made_token
        assert len(token) >= 32 and token != other.server.made_token
        assert site.server.url.endswith(f":{site.server.port}/#token={token}")
        with site.page() as page:
            assert page.wait_closed() == 4401 and "a token is needed" in page.said("refused")["message"]
        with site.page(token) as page:
            assert page.said("welcome")["may_command"] and page.ask("clear", id="car")["success"]
        assert not any(token in line for line in site.lines)

    def test_wrong_ones_are_refused_and_soon_not_even_compared(self, start: Callable[..., Site]) -> None:
        site = start(token="a secret")
        assert site.server.url == site.url  # a token that was given is not printed
        codes = []
        for number in range(int(reception.WRONG_TOKENS_AT_ONCE) + 2):
            with site.page(f"a secret{number}") as page:
                codes.append(page.wait_closed())
        assert codes == [4401] * int(reception.WRONG_TOKENS_AT_ONCE) + [4429] * 2
        assert "wait a minute" in page.said("refused")["message"]
        with site.page("a secret") as page:  # or trying would pay
            assert page.wait_closed() == 4429
        assert site.tracker.asked == []

    def test_an_open_view_is_for_watching(self, start: Callable[..., Site]) -> None:
        site = start(token="a secret", open_view=True)
        with site.page() as watching, site.page("a secret") as commanding:
            welcome = watching.said("welcome")
            assert not welcome["may_command"] and "only watch" in welcome["message"]
            for request in ({"box": [1, 2, 3, 4], "stamp": "1.000000000", "type": "set"}, {"type": "clear"}):
                answer = watching.ask(**request, id="a")
                assert not answer["success"] and "only watch" in answer["message"]
            assert site.tracker.asked == []
            assert watching.ask("views", id="car")["type"] == "views"
            site.show()
            wait_until(lambda: watching.pictures and commanding.pictures, "pictures")
            assert commanding.ask("clear", id="")["success"]
        with site.page("wrong") as page:
            assert page.wait_closed() == 4401

    def test_who_only_watches_makes_room_for_who_commands(self, start: Callable[..., Site]) -> None:
        site = start(token="a secret", open_view=True, max_viewers=1)
        with site.page() as watching:
            watching.said("welcome")
            with site.page() as another:
                assert another.wait_closed() == 4429
            with site.page("a secret") as commanding:
                assert commanding.said("welcome")["may_command"]
                wait_until(lambda: watching.is_closed, "the end of the other")
                with site.page("a secret") as second:
                    assert second.wait_closed() == 4429
                assert commanding.ask("clear", id="")["success"]


class TestStart:
    def test_an_address_that_cannot_be_had(self, site: Site) -> None:
        with pytest.raises(ServerError, match=f"port {site.server.port} of 127.0.0.1 is in use"):
            Site(port=site.server.port)
        with pytest.raises(ServerError, match=r"host = '203\.0\.113\.7' is no address of this machine"):
            Site(host="203.0.113.7")
        with pytest.raises(ServerError, match="host = 'no such name' is no address"):
            Site(host="no such name")
        for token in ("short", " a secret with spaces", "a line\nand another", "x" * 257):
            with pytest.raises(ServerError, match="token = .*: accepted are 8 to 256") as refusal:
                Site(token=token)
            assert token not in str(refusal.value)

    def test_it_ends_with_viewers_that_do_not_read_and_its_port_is_free_again(self) -> None:
        site = Site()
        with site.page() as page, site.page():
            wait_until(lambda: site.viewers == 2, "viewers")
            page.pause()
            for _ in range(10):
                site.show(jpeg=bytes(2_000_000))
            began = time.monotonic()
            site.server.stop()
            assert time.monotonic() - began < 4 and not site.server._thread.is_alive()
            site.show()  # nobody is there, and nothing happens
            assert not site.server.wanted
            again = Site(port=site.server.port)
            assert again.get()[0] == 200
            again.server.stop()

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    def test_ipv6(self, start: Callable[..., Site]) -> None:
        site = start(host="::1")
        assert site.server.url == f"http://[::1]:{site.server.port}/"
        with Page(site.server.url) as page:
            assert page.said("welcome")["may_command"]


def test_pictures_from_many_threads_never_wait(site: Site) -> None:
    with site.page() as page:
        page.said("welcome")

        def work() -> None:
            for number in range(500):
                site.server.heard(status(STAMP + number))
                site.server.show(Picture(STAMP + number, (640, 480), JPEG))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert page.ask("clear", id="car")["success"]
        wait_until(lambda: page.pictures, "a picture")


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.stop()
    assert not site.server.failure
    assert not [line for line in site.lines if parse(line)["event"] == "web_error"], site.lines


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
MESSAGES = (
    JSON.map(json.dumps)
    | st.text()
    | st.binary()
    | st.dictionaries(
        st.sampled_from(["type", "request", "frame", "stamp", "box", "id", "label", "token"]),
        JSON | st.sampled_from(["set", "clear", "views", "shown", "hello"]),
    ).map(json.dumps)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.none() | MESSAGES, others=st.lists(MESSAGES, max_size=30))
def test_whatever_comes_the_server_lives(
    shared: Site, first: str | bytes | None, others: list[str | bytes]
) -> None:
    try:
        with (
            shared.page(hello=first is None) as page,
            suppress(ConnectionError),
        ):  # the server may end the talk
            for message in others if first is None else [first, *others]:
                page.send(message)
    finally:
        wait_until(lambda: shared.viewers == 0, "the end of the talk")
    shared.server._rates._accounts.clear()
    with shared.page() as page:
        assert page.ask("clear", id="car")["success"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000), st.booleans())
def test_whatever_bytes_come_the_server_lives(shared: Site, data: bytes, is_upgraded: bool) -> None:
    lines = (
        "GET /ws HTTP/1.1",
        f"Host: 127.0.0.1:{shared.server.port}",
        f"Origin: http://127.0.0.1:{shared.server.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    with socket.create_connection(("127.0.0.1", shared.server.port), 10) as connection, suppress(OSError):
        if is_upgraded:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            assert b" 101 " in connection.recv(4096)
        connection.sendall(data)
    shared.server._rates._accounts.clear()
    assert shared.get()[0] == 200

"""The web server of the operator's page, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from ..core.texts import one_line
from .access import Access, Rates, is_loopback, key_of, token_refusal
from .broadcast import Broadcast
from .conversation import Tracker
from .listener import Listener, ServerError, listen
from .page_files import answer, page_files
from .pictures import Picture
from .reception import Reception

TICK_S = 0.25
PING_PERIOD_S = 5.0
LIFE_S = 20.0  # a viewer from which nothing came for so long is gone
HTTP_PER_S, HTTP_AT_ONCE = 20.0, 60.0  # requests of an address
OTHER_CONNECTIONS = 24  # besides those of viewers: for files, and before a hello
LONGEST_LINE = 4096  # bytes, of a request's first line and of each header
MOST_POSTED = 128  # by other threads, and not taken yet
STOP_S = 5.0

_QUIET = logging.Logger("web")  # of aiohttp: others must not fill our log with their bad requests
_QUIET.addHandler(logging.NullHandler())


class Log(Protocol):
    """What of nodes.logs.Log is needed; it limits the rate of each event."""

    def warning(self, event: str, sentence: str, /, **fields: str) -> object: ...
    def error(self, event: str, sentence: str, /, **fields: str) -> object: ...


@dataclass(frozen=True)
class Settings:
    """By what a server can be reached, and by whom."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 = a free one
    token: str = ""  # empty: one is made where one is needed
    open_view: bool = False
    allowed_origins: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    max_viewers: int = 8


@dataclass(frozen=True)
class Figures:
    """What has happened so far."""

    viewers: int  # now
    pictures: int  # that at least one viewer could take
    refused: int  # connections and requests
    last_refusal: str


class Server:
    """Serves the page, and stands between viewers and the tracker.

    Its methods are for other threads and return at once. What they bring is taken by the server's thread; if
    that falls behind, the oldest is dropped.
    """

    def __init__(self, settings: Settings, tracker: Tracker, log: Log) -> None:
        """Listen from now on.

        Raises:
            ServerError: the token is not accepted, or the address cannot be listened on.
        """
        if settings.token and (reason := token_refusal(settings.token)):
            raise ServerError(reason)
        self._settings, self._tracker, self._log = settings, tracker, log
        self._socket = listen(settings.host, settings.port)
        address, self.port = self._socket.getsockname()[:2]
        # Who lets other names lead here has a proxy that others reach.
        is_closed = is_loopback(address) and not settings.allowed_hosts | settings.allowed_origins
        self.made_token = "" if settings.token or is_closed else secrets.token_urlsafe()
        self._access = Access(
            settings.token or self.made_token,
            settings.open_view,
            settings.allowed_hosts | {settings.host.lower()},
            settings.allowed_origins,
        )
        self.failure = ""  # why it does not work any more
        self._files = page_files()
        self._broadcast = Broadcast()
        self._refused, self._last_refusal = 0, ""
        self._posted: deque[Callable[[float], None]] = deque(maxlen=MOST_POSTED)
        self._is_woken = False
        self._timer: asyncio.TimerHandle | None = None
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="web", daemon=True)
        self._thread.start()
        started.wait()
        if self.failure:
            raise ServerError(self.failure)

    @property
    def url(self) -> str:
        """Where to open the page, with the token if it was made here."""
        host = self._settings.host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"#token={self.made_token}" if self.made_token else "")

    @property
    def wanted(self) -> bool:
        """Whether a viewer can take a picture now; otherwise none need be made."""
        return self._broadcast.wanted

    @property
    def figures(self) -> Figures:
        broadcast = self._broadcast
        return Figures(len(broadcast.viewers), broadcast.pictures, self._refused, self._last_refusal)

    def show(self, picture: Picture) -> None:
        """Send a picture to the viewers that can take it, with the state of the same image."""
        self._post(partial(self._broadcast.show, picture))

    def heard(self, status: Any) -> None:
        """Take a distill_tracker_msgs/TrackerStatus."""
        self._post(partial(self._broadcast.heard, status))

    def diagnosed(self, statuses: Iterable[Any]) -> None:
        """Take diagnostic_msgs/DiagnosticStatus of the tracker."""
        self._post(partial(self._broadcast.diagnosed, statuses))

    def found(self, present: bool) -> None:
        """Take whether there is a tracker node, silent or not."""
        self._post(partial(self._broadcast.found, present))

    def stop(self) -> None:
        """End all connections and the thread."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_S)

    def _post(self, call: Callable[[float], None]) -> None:
        self._posted.append(call)
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._take)

    # The server's thread.

    def _serve(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._run(started))
        except Exception as error:
            self.failure = f"the web server has failed: {type(error).__name__}: {error}"
        finally:
            self._socket.close()
            started.set()

    async def _run(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_error)
        self._stopping = asyncio.Event()
        self._reception = Reception(
            self._access,
            self._broadcast.viewers,
            self._settings.max_viewers,
            lambda: self._broadcast.state(self._loop.time()),
            self._tracker,
            self._refuse,
        )
        self._rates = Rates(HTTP_PER_S, HTTP_AT_ONCE, self._loop.time)
        server = web.Server(
            self._answer,
            access_log=None,
            logger=_QUIET,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            lingering_time=0,
        )
        most = self._settings.max_viewers + OTHER_CONNECTIONS
        listener = Listener(server, 2 * most, most, self._is_viewer, self._refuse)
        works = listener.accept(self._socket), self._tick(), self._stopping.wait()
        tasks = [asyncio.create_task(work) for work in works]
        started.set()
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await server.shutdown(STOP_S)
        for task in done:
            task.result()

    def _take(self) -> None:
        self._is_woken = False
        while self._posted:
            self._posted.popleft()(self._loop.time())
        self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = self._broadcast.send(self._loop.time())
        self._timer = None if wait_s is None else self._loop.call_later(wait_s, self._send)

    async def _tick(self) -> None:
        ping_s = 0.0
        while True:
            await asyncio.sleep(TICK_S)
            self._send()
            now_s = self._loop.time()
            for viewer in tuple(self._broadcast.viewers):
                if now_s - viewer.heard_s > LIFE_S:
                    self._broadcast.viewers.discard(viewer)
                    viewer.transport.abort()
            if now_s >= ping_s:
                ping_s = now_s + PING_PERIOD_S
                for viewer in self._broadcast.viewers:
                    viewer.ping()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer an HTTP request."""
        if request.remote is None:  # it is gone already
            return answer(400, "")
        address = key_of(request.remote)
        host = request.headers.get("Host", "")
        try:
            if not self._rates.admit(address):
                return self._refusal(429, f"more than {HTTP_PER_S:g} requests a second", address)
            if reason := self._access.host_refusal(host):
                return self._refusal(421, reason, address)
            if request.method not in ("GET", "HEAD"):
                return self._refusal(405, f"{request.method}: accepted is GET", address)
            if request.path == "/ws":
                if reason := self._access.origin_refusal(request.headers.get("Origin"), host):
                    return self._refusal(403, reason, address)
                return await self._reception.attend(request, address)
            if (file := self._files.get(request.path)) is None:
                return answer(404, "there is no such file")
            return answer(200, file.content, file.type)
        except web.HTTPException as error:
            return self._refusal(error.status, error.text or error.reason, address)
        except Exception as error:
            self._on_error(self._loop, {"message": "a request failed", "exception": error})
            raise

    def _refusal(self, status: int, reason: str, address: str) -> web.Response:
        self._refuse(reason, address)
        return answer(status, reason)

    def _refuse(self, reason: str, address: str) -> None:
        self._refused += 1
        self._last_refusal = one_line(f"{reason} ({address})")
        self._log.warning("refused", f"refused: {reason}", address=address)

    def _is_viewer(self, transport: asyncio.BaseTransport) -> bool:
        return any(viewer.transport is transport for viewer in self._broadcast.viewers)

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._log.error("web_error", f"{context['message']}: {context.get('exception')!r}")

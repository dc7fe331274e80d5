"""Viewers of the tests: what a page does, over real sockets, each in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
from waiting import DEADLINE_S, wait_until


class Picture(NamedTuple):
    """One that came, and when by time.monotonic."""

    head: dict[str, Any]
    jpeg: bytes
    at_s: float


class Page:
    """Connects, says hello, and keeps what comes."""

    def __init__(
        self, url: str, token: str = "", shows: bool = True, hello: bool = True, **headers: str
    ) -> None:
        """
        Args:
            url: of the server, with a slash at its end.
            shows: tell the server that a picture is shown as soon as it comes.
            hello: say it.
        """
        self.pictures: list[Picture] = []
        self.messages: list[dict[str, Any]] = []
        self.shows, self._token, self._hello = shows, token, hello
        self._headers = {"Origin": url.rstrip("/")} | headers
        self._url = url
        self.status = 101  # of the answer to the request
        self.close_code: int | None = None
        self._request = 0
        self._loop = asyncio.new_event_loop()
        self._reading = asyncio.Event()
        self._reading.set()
        self._socket: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._socket or self.is_closed, "a connection")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        return not self._thread.is_alive()

    @property
    def states(self) -> list[dict[str, Any]]:
        return [message["state"] for message in self.messages if message["type"] == "state"]

    def said(self, kind: str) -> dict[str, Any]:
        """Wait for the first message of a type."""
        return wait_until(lambda: [m for m in self.messages if m["type"] == kind], f"a message {kind}")[0]

    def answer(self, request: int) -> dict[str, Any]:
        """Wait for the answer of a request."""

        def found() -> list[dict[str, Any]]:
            return [
                m for m in self.messages if m.get("request") == request and m["type"] in ("answer", "views")
            ]

        return wait_until(found, f"the answer of request {request}")[0]

    def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self._request += 1
        self.send({"type": type, "request": self._request, **fields})
        return self.answer(self._request)

    def send(self, message: Any) -> None:
        """Send a message: an object as JSON, a text or bytes as they are."""
        self._call(self._send(message))

    def pause(self) -> None:
        """Read no more; the system takes what fits into its buffers."""
        self._loop.call_soon_threadsafe(self._reading.clear)

    def resume(self) -> None:
        with suppress(RuntimeError):  # the connection has ended
            self._loop.call_soon_threadsafe(self._reading.set)

    def wait_closed(self, deadline_s: float = DEADLINE_S) -> int | None:
        """The code with which the server closed."""
        wait_until(lambda: self.is_closed, "the end of the connection", deadline_s)
        return self.close_code

    def close(self) -> None:
        if not self.is_closed:
            self.resume()
            with suppress(ConnectionError):
                self._call(self._socket.close())
        self._thread.join(DEADLINE_S)

    def _call(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            done = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ConnectionError("the connection has ended") from error
        wait_until(lambda: done.done() or self.is_closed, "the loop")
        if not done.done():
            work.close()
            raise ConnectionError("the connection has ended")
        done.result()

    def _run(self) -> None:
        self._loop.run_until_complete(self._talk())
        self._loop.close()

    async def _talk(self) -> None:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{self._url}ws", headers=self._headers, max_msg_size=0) as socket,
            ):
                if self._hello:
                    await socket.send_str(json.dumps({"type": "hello", "token": self._token}))
                self._socket = socket
                await self._read(socket)
                self.close_code = socket.close_code
        except aiohttp.WSServerHandshakeError as error:
            self.status = error.status
        except (aiohttp.ClientError, ConnectionError):
            self.status = 0

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._reading.wait()
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self.messages.append(json.loads(message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                (length,) = struct.unpack(">I", message.data[:4])
                head = json.loads(message.data[4 : 4 + length])
                self.pictures.append(Picture(head, message.data[4 + length :], time.monotonic()))
                if self.shows:
                    await self._send({"type": "shown", "frame": head["frame"]})
            else:
                return

    async def _send(self, message: Any) -> None:
        if isinstance(message, bytes):
            await self._socket.send_bytes(message)
        else:
            await self._socket.send_str(message if isinstance(message, str) else json.dumps(message))

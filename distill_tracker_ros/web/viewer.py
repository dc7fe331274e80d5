"""One viewer's connection: what is sent to it, and how much may be under way."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

UNDER_WAY = 2  # pictures that were sent and are not on the screen yet
MOST_REQUESTS = 8  # whose answers are not sent yet

# Codes with which the server closes a connection.
UNUSABLE, WRONG_TOKEN, TOO_MANY = 4400, 4401, 4429


class Refused(Exception):
    """A viewer is sent away, with a sentence."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Viewer:
    """Sends to one viewer, in one task: all answers, and of states and pictures the newest.

    What it cannot take now is not kept for it: it gets fewer pictures, never old ones, and holds no memory.
    """

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, only_watches: str, now_s: float
    ) -> None:
        """
        Args:
            only_watches: why it may not command; empty if it may.
        """
        self.socket, self.transport, self.only_watches = socket, transport, only_watches
        self.heard_s = now_s  # when its last sign of life came
        self.requests = asyncio.Semaphore(MOST_REQUESTS)  # taken for a request, given back with its answer
        self._changed = asyncio.Event()
        self._answers: deque[str] = deque()
        self._state = ""
        self._picture: tuple[int, bytes] | None = None  # number and message
        self._under_way: deque[int] = deque()
        self._ping = False
        self._pong: bytes | None = None
        self._is_sending = True  # until the first message is sent

    @property
    def ready(self) -> bool:
        """Whether it can take a picture now."""
        return not self._is_sending and len(self._under_way) < UNDER_WAY

    def offer(self, frame: int, message: bytes) -> None:
        """Send a picture, if it can be taken now."""
        if self.ready:
            self._picture = frame, message
            self._changed.set()

    def shown(self, frame: int) -> None:
        """A picture is on the screen; those before it were shown or left out."""
        while self._under_way and self._under_way[0] <= frame:
            self._under_way.popleft()

    def tell(self, state: str) -> None:
        """Send a state, in the place of the one that waits."""
        self._state = state
        self._changed.set()

    def answer(self, message: str) -> None:
        """Send the answer of a request for which `requests` was taken."""
        self._answers.append(message)
        self._changed.set()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._ping = True
        self._changed.set()

    def pong(self, data: bytes) -> None:
        """Give a sign of life."""
        self._pong = data
        self._changed.set()

    async def send(self, first: str) -> None:
        """Send a message, and then what there is, until the connection breaks or the task is cancelled."""
        await self.socket.send_str(first)
        while True:
            await self._send_waiting()
            self._is_sending = False
            await self._changed.wait()
            self._changed.clear()
            self._is_sending = True

    async def _send_waiting(self) -> None:
        while self._answers:
            await self.socket.send_str(self._answers.popleft())
            self.requests.release()
        if self._pong is not None:
            data, self._pong = self._pong, None
            await self.socket.pong(data)
        if self._ping:
            self._ping = False
            await self.socket.ping()
        if self._state:
            state, self._state = self._state, ""
            await self.socket.send_str(state)
        if self._picture is not None:
            (frame, message), self._picture = self._picture, None
            self._under_way.append(frame)
            await self.socket.send_bytes(message)

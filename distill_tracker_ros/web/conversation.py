"""What an admitted viewer says, and what is done about it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any, Protocol

from aiohttp import WSMessage, WSMsgType

from . import protocol
from .access import Rates
from .protocol import ClearTarget, GetViews, Hello, Request, RequestError, SetTarget, Shown
from .viewer import TOO_MANY, UNUSABLE, Refused, Viewer

REQUESTS_PER_S, REQUESTS_AT_ONCE = 5.0, 10.0
MESSAGES_PER_S, MESSAGES_AT_ONCE = 100.0, 200.0  # `shown` included
MOST_UNUSABLE = 20  # messages, one after the other


class Tracker(Protocol):
    """What is asked of the tracker; the futures get an answer such as nodes.tracker_client.Answer."""

    def set_target(self, box_xywh: Any, stamp_ns: int, id: str, label: str) -> Future[Any]: ...
    def clear_target(self, id: str) -> Future[Any]: ...
    def get_views(self, id: str) -> Future[Any]: ...


class Conversation:
    """Listens to one viewer."""

    def __init__(self, viewer: Viewer, tracker: Tracker) -> None:
        self._viewer, self._tracker = viewer, tracker
        self._clock = asyncio.get_running_loop().time
        self._messages = Rates(MESSAGES_PER_S, MESSAGES_AT_ONCE, self._clock)
        self._requests = Rates(REQUESTS_PER_S, REQUESTS_AT_ONCE, self._clock)
        self._asking: set[asyncio.Task[None]] = set()  # kept, or they may be collected as garbage

    async def hold(self) -> None:
        """Return when the viewer has left.

        Raises:
            Refused: it says too much, or nothing that can be used.
        """
        viewer, unusable = self._viewer, 0
        while True:
            message = await viewer.socket.receive()
            viewer.heard_s = self._clock()
            if not self._messages.admit():
                raise Refused(f"more than {MESSAGES_PER_S:g} messages a second came", TOO_MANY)
            if message.type is WSMsgType.PING:
                viewer.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                unusable = 0 if await self._take(message) else unusable + 1
                if unusable >= MOST_UNUSABLE:
                    raise Refused(f"{unusable} messages in a row cannot be used", UNUSABLE)
            elif message.type is not WSMsgType.PONG:
                return

    async def _take(self, message: WSMessage) -> bool:
        """Whether the message can be used."""
        try:
            if message.type is WSMsgType.BINARY:
                raise RequestError("a binary message came: accepted is text")
            said = protocol.parse(message.data)
            if isinstance(said, Hello):
                raise RequestError("type = 'hello': it was said already")
        except RequestError as error:
            await self._viewer.requests.acquire()
            self._viewer.answer(protocol.answer(error.request, False, str(error)))
            return False
        if isinstance(said, Shown):
            self._viewer.shown(said.frame)
            return True
        await self._viewer.requests.acquire()
        if refusal := self._refusal(said):
            self._viewer.answer(protocol.answer(said.request, False, refusal))
        else:
            task = asyncio.create_task(self._ask(said))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return True

    def _refusal(self, request: Request) -> str:
        if not self._requests.admit():
            return f"too many requests: {REQUESTS_PER_S:g} a second are taken"
        return "" if isinstance(request, GetViews) else self._viewer.only_watches

    async def _ask(self, request: Request) -> None:
        """Ask the tracker, and tell the viewer what it said."""
        try:
            said = await asyncio.wrap_future(self._call(request))
        except Exception as error:  # nothing that a viewer sends may leave it without an answer
            told = {"message": "a request failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
            self._viewer.answer(protocol.answer(request.request, False, f"the request failed: {error}"))
            return
        if isinstance(request, GetViews) and said.success:
            self._viewer.answer(protocol.views(request.request, said.id, said.views))
        else:
            self._viewer.answer(protocol.answer(request.request, said.success, said.message, said.id))

    def _call(self, request: Request) -> Future[Any]:
        if isinstance(request, SetTarget):
            return self._tracker.set_target(request.box_xywh, request.stamp_ns, request.id, request.label)
        if isinstance(request, ClearTarget):
            return self._tracker.clear_target(request.id)
        return self._tracker.get_views(request.id)

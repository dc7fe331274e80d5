"""Who comes in: the first message of a viewer, its token, and the room there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiohttp import WSMsgType, web

from . import protocol
from .access import Access, Rates
from .conversation import Conversation, Tracker
from .protocol import Hello, RequestError
from .viewer import TOO_MANY, UNUSABLE, WRONG_TOKEN, Refused, Viewer

HELLO_S = 5.0  # for the first message
CLOSE_S = 2.0  # for a leave
WRONG_TOKENS_PER_S, WRONG_TOKENS_AT_ONCE = 0.1, 5.0  # of an address


class Reception:
    """Admits viewers, and stays with each until it leaves."""

    def __init__(
        self,
        access: Access,
        viewers: set[Viewer],
        max_viewers: int,
        state: Callable[[], str],
        tracker: Tracker,
        refused: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            viewers: those that are admitted; kept up to date here.
            state: the message with the present state.
            refused: is told a reason and an address.
        """
        self._access, self._viewers, self._max_viewers = access, viewers, max_viewers
        self._state, self._tracker, self._refused = state, tracker, refused
        self._clock = asyncio.get_running_loop().time
        self._wrong_tokens = Rates(WRONG_TOKENS_PER_S, WRONG_TOKENS_AT_ONCE, self._clock)

    async def attend(self, request: web.BaseRequest, address: str) -> web.WebSocketResponse:
        """Talk until one side ends it. `address`: by which rates are counted."""
        socket = web.WebSocketResponse(
            timeout=CLOSE_S, autoping=False, compress=False, max_msg_size=protocol.LONGEST_MESSAGE
        )
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        try:
            only_watches = await self._greet(socket, address)
            await self._host(Viewer(socket, transport, only_watches, self._clock()))
        except Refused as refusal:
            self._refused(str(refusal), address)
            with suppress(asyncio.TimeoutError, ConnectionError):
                await asyncio.wait_for(_dismiss(socket, refusal), CLOSE_S)
        except ConnectionError:
            pass  # the viewer has left
        finally:
            # A peer that does not read would keep the connection open for ever.
            asyncio.get_running_loop().call_later(CLOSE_S, transport.abort)
        return socket

    async def _greet(self, socket: web.WebSocketResponse, address: str) -> str:
        """Why the viewer may only watch; empty if it may command."""
        try:
            message = await socket.receive(timeout=HELLO_S)
        except asyncio.TimeoutError:
            raise Refused(f"no hello came within {HELLO_S:g} s", UNUSABLE) from None
        hello = None
        with suppress(RequestError):  # its text would bring what may be a token into the log
            hello = protocol.parse(message.data) if message.type is WSMsgType.TEXT else None
        if not isinstance(hello, Hello):
            raise Refused("the first message is no hello that can be used", UNUSABLE)
        if not self._wrong_tokens.has(address):
            raise Refused("too many wrong tokens came from this address: wait a minute", TOO_MANY)
        only_watches = self._access.why_only_watch(hello.token)
        if only_watches is None:
            self._wrong_tokens.take(address)
            what = "the token is wrong" if hello.token else "a token is needed"
            raise Refused(f"{what}: it stands in the address that the node printed at its start", WRONG_TOKEN)
        return only_watches

    async def _host(self, viewer: Viewer) -> None:
        """From the welcome on."""
        self._make_room(viewer)
        self._viewers.add(viewer)
        viewer.tell(self._state())
        works = viewer.send(protocol.welcome(viewer.only_watches)), Conversation(viewer, self._tracker).hold()
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers.discard(viewer)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for task in done:
            task.result()

    def _make_room(self, newcomer: Viewer) -> None:
        """Who may command comes before those who only watch."""
        if len(self._viewers) < self._max_viewers:
            return
        watching = [viewer for viewer in self._viewers if viewer.only_watches]
        if newcomer.only_watches or not watching:
            raise Refused(f"{self._max_viewers} viewers are here, and no more are admitted", TOO_MANY)
        self._viewers.discard(watching[0])
        watching[0].transport.abort()


async def _dismiss(socket: web.WebSocketResponse, refusal: Refused) -> None:
    await socket.send_str(protocol.refused(str(refusal)))
    await socket.close(code=refusal.code)

"""One client of a WebSocket channel: each frame it sends runs the route's flows (spec flow8 section 14.2).

Frames are answered in their order, so a client knows which answer is whose. One task reads, for pings must be answered
while a flow runs; another runs the flows.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from libs.common import codec
from libs.common.errors import HeadraceError, Invalid
from libs.common.messages.channel import Channel, ChannelRoute
from services.gateway import problems
from services.gateway.channels import request_args
from services.gateway.channels.invocation import Invocation, frame_answer, http_answer
from services.gateway.closing import CLOSE_S_MAX, close_or_cut

# A client that answers no ping for so long is gone.
HEARTBEAT_S = 15.0
FRAMES_WAITING_MAX = 64
_ENDS = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}

# Takes note of a frame that was answered: its status, the plays, and the seconds that it took.
Note = Callable[[int, tuple[str, ...], float], None]


class ChannelSocket:
    """Serves one client until it leaves, says what no channel takes, or the channel is closed."""

    def __init__(
        self, invocation: Invocation, channel: Channel, route: ChannelRoute, args: dict[str, Any], note: Note
    ) -> None:
        self._invocation = invocation
        self._channel = channel
        self._route = route
        self._args = args
        self._note = note
        self._waiting: asyncio.Queue[str] = asyncio.Queue(FRAMES_WAITING_MAX)
        self._over = asyncio.Event()

    def end_soon(self) -> None:
        """Close the connection: the channel is over, or was changed."""
        self._over.set()

    async def serve(self, request: web.BaseRequest, *, message_bytes_max: int) -> web.WebSocketResponse:
        """Serve the client until the end. Raises Invalid when it asks for no upgrade."""
        connection = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, compress=False, timeout=CLOSE_S_MAX, max_msg_size=message_bytes_max
        )
        if not connection.can_prepare(request).ok:
            raise Invalid("this is a WebSocket: ask for an upgrade")
        await connection.prepare(request)
        tasks = [
            asyncio.create_task(work)
            for work in (self._read(connection), self._answer(connection), self._told_to_go())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        code, reason = next(iter(done)).result()
        await close_or_cut(request, connection.close(code=code, message=reason.encode()))
        return connection

    async def _read(self, connection: web.WebSocketResponse) -> tuple[int, str]:
        while True:
            message: WSMessage = await connection.receive()
            if message.type in _ENDS:
                return WSCloseCode.OK, ""
            if message.type != WSMsgType.TEXT:
                return WSCloseCode.UNSUPPORTED_DATA, "a channel takes text frames"
            try:
                self._waiting.put_nowait(message.data)
            except asyncio.QueueFull:
                return (
                    WSCloseCode.TRY_AGAIN_LATER,
                    f"more than {FRAMES_WAITING_MAX} frames wait for their answer",
                )

    async def _answer(self, connection: web.WebSocketResponse) -> tuple[int, str]:
        while True:
            text = await self._waiting.get()
            answer = await self._answered(text)
            try:
                await connection.send_str(codec.encode(answer).decode())
            except ConnectionError:
                return WSCloseCode.OK, ""

    async def _answered(self, text: str) -> Any:
        began_s, status = time.perf_counter(), 200
        play_ids: tuple[str, ...] = ()
        try:
            args = {**self._args, "body": request_args.message_of(text)}
            ran = await self._invocation.run(self._channel, self._route, args, delivery="")
            status, play_ids = http_answer(ran).status, ran.play_ids
            return frame_answer(ran)
        except HeadraceError as error:
            status = error.status
            return problems.Problem(error.code, error.message, error.status)
        finally:
            self._note(status, play_ids, time.perf_counter() - began_s)

    async def _told_to_go(self) -> tuple[int, str]:
        await self._over.wait()
        return WSCloseCode.GOING_AWAY, "the channel was changed or closed"

"""One WebSocket client, and its signs of life (spec flow8 section 16)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Unauthorized, Unavailable
from services.gateway.closing import close_or_cut
from services.gateway.following import Ended, FellBehind, Follower, StillHolds, Wish
from services.gateway.frames import CommitFrames, Frame

SILENCE_S_MAX = 30.0
PINGS_MIN = 2
PING_S_MAX = 5.0

log = structlog.get_logger(__name__)


class Socket:
    """Sends one client its frames until it leaves, is silent, or is told to go."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        wish: Wish,
        connection: web.WebSocketResponse,
        *,
        still_holds: StillHolds,
    ) -> None:
        self._clock = clock
        self._follower = Follower(bus, wish, self._send)
        self._connection = connection
        self._still_holds = still_holds
        # The first ping that nothing came after: a client is silent only when it was asked.
        self._asked_s: float | None = None
        self._asked = 0
        self._looked_s = clock.monotonic_s()
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        # On its feed before there is a connection: nothing that happens in between is missed.
        self._connected = False
        self.gone = asyncio.Event()

    async def serve(self, request: web.BaseRequest, positions: Sequence[int]) -> None:
        """Serve the client until it leaves or is told to; `positions` is where the streams stand."""
        self._connected = True
        self._follower.start(positions)
        tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._read()))
        ends: tuple[asyncio.Future[Any], ...] = (*tasks, self._ended)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close(request)
            self.gone.set()

    def offer(self, found: CommitFrames) -> None:
        """Take a commit's frames from the feed; a client that does not keep up is sent away."""
        if self._ended.done():
            return
        try:
            self._follower.offer(found)
        except FellBehind as place:
            self.end(WSCloseCode.TRY_AGAIN_LATER, f"too slow: reconnect with since={place}")

    def fall_behind(self) -> None:
        """Go back to the stream: live messages may have been missed."""
        self._follower.fall_behind()

    async def keep_alive(self) -> None:
        """Ask for a sign of life; end when the last one is too long ago, or the credential holds no longer."""
        if not self._connected:
            return
        if self._is_silent():
            self.end(WSCloseCode.GOING_AWAY, "no answer to pings")
            return
        try:
            async with asyncio.timeout(PING_S_MAX):
                await self._still_holds()
                # Before it is sent: one that a stalled client does not take counts as well.
                self._asked_s = self._clock.monotonic_s() if self._asked_s is None else self._asked_s
                self._asked += 1
                await self._connection.ping()
        except Unauthorized as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.message)
        except (Unavailable, TimeoutError, ConnectionError) as error:
            # A client that went away is noticed by the reader, one that stalls by its silence.
            log.debug("socket_not_pinged", reason=str(error))

    def _is_silent(self) -> bool:
        now_s = self._clock.monotonic_s()
        was_away = now_s - self._looked_s > SILENCE_S_MAX
        self._looked_s = now_s
        if was_away:
            # Whoever stood still cannot tell who was silent meanwhile: what came is not read yet.
            self._asked_s, self._asked = None, 0
        if self._asked_s is None or self._asked < PINGS_MIN:
            return False
        return now_s - self._asked_s > SILENCE_S_MAX

    def end(self, code: int, reason: str) -> None:
        """Close the connection with this code and reason. The first call counts."""
        if not self._ended.done():
            self._ended.set_result(Ended(code, reason))

    async def _read(self) -> None:
        # What clients say is ignored, but any of it is a sign of life. Pongs arrive here, for autoping is off.
        while True:
            message = await self._connection.receive()
            self._asked_s, self._asked = None, 0
            if message.type == WSMsgType.PING:
                await self._connection.pong(message.data)
            elif message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
                return

    async def _write(self) -> None:
        try:
            await self._follower.follow()
        except ConnectionError:
            return
        except Exception:
            log.exception("socket_crashed")
            self.end(WSCloseCode.INTERNAL_ERROR, "something went wrong on our side")

    async def _send(self, frame: Frame, sequence: str) -> None:
        await self._connection.send_str(frame.text(sequence))

    async def _close(self, request: web.BaseRequest) -> None:
        ended = self._ended.result() if self._ended.done() else Ended(WSCloseCode.OK, "")
        closing = self._connection.close(code=ended.code, message=ended.reason.encode()[:120])
        await close_or_cut(request, closing)

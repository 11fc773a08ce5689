"""One WebSocket client: what it asked for, how far it is, and what waits to be sent (spec flow8 section 16)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from aiohttp import WSMsgType, web

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Invalid, Unauthorized, Unavailable
from services.gateway.frames import CommitFrames, Frame, end_of, frames_of, sequence_after

SOCKET_BUFFER_FRAMES_MAX = 16_384
REPLAY_PAGE_MAX = 256
REPLAY_RETRY_S = 0.2
SILENCE_S_MAX = 30.0
CLOSE_S_MAX = 5.0
PING_S_MAX = 5.0
FRAMES_BETWEEN_YIELDS = 64
POSITION_DIGITS_MAX = 19
# https://www.iana.org/assignments/websocket/websocket.xhtml
CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011
CLOSE_TRY_AGAIN = 1013

log = structlog.get_logger(__name__)
# Raises Unauthorized once the credential of the handshake holds no longer.
StillHolds = Callable[[], Awaitable[object]]


class Wish(NamedTuple):
    """What a client asked for: plays of its company, all, of one flow, or one; `since` a position per shard."""

    company_id: str
    flow_id: str | None = None
    play_id: str | None = None
    since: tuple[int, ...] | None = None


class _Ended(NamedTuple):
    code: int
    reason: str


def parse_since(text: str, shards: int) -> tuple[int, ...]:
    """Read a frame's `sequence`: a number, or one per shard joined by dashes. Raises Invalid when it is neither."""
    parts = text.strip('"').split("-")
    good = all(part.isascii() and part.isdigit() and len(part) <= POSITION_DIGITS_MAX for part in parts)
    if not good or len(parts) not in {1, shards} or (len(parts) == 1 and shards > 1 and int(parts[0]) != 0):
        raise Invalid("since: expected the sequence of a frame")
    # A bare 0 means all there is, however many shards there are.
    positions = tuple(map(int, parts))
    return positions if len(positions) == shards else (0,) * shards


def sequence_text(positions: Sequence[int]) -> str:
    """Return the JSON value of `sequence` for these positions, one per shard."""
    return str(positions[0]) if len(positions) == 1 else '"' + "-".join(map(str, positions)) + '"'


class Socket:
    """Sends one client its frames: from the stream while it is behind, from the feed when it has caught up."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        wish: Wish,
        connection: web.WebSocketResponse,
        *,
        still_holds: StillHolds,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._wish = wish
        self._connection = connection
        self._still_holds = still_holds
        self._positions: list[int] = []
        self._buffer: deque[tuple[int, Frame]] = deque()
        self._something = asyncio.Event()
        self._behind = True
        self._dropped = False
        self._heard_s = clock.monotonic_s()
        self._ended: asyncio.Future[_Ended] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()

    async def serve(self, request: web.BaseRequest, positions: Sequence[int]) -> None:
        """Serve the client until it leaves or is told to; `positions` is where the streams stand."""
        since = self._wish.since
        self._positions = list(positions) if since is None else list(map(min, since, positions))
        self._behind = since is not None
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
        if not self._wants(found) or self._ended.done():
            return
        self._buffer.extend((found.shard, frame) for frame in found.frames)
        self._something.set()
        if len(self._buffer) > SOCKET_BUFFER_FRAMES_MAX:
            self._buffer.clear()
            if self._behind:
                # All of it is in the stream, where this socket still reads.
                self._dropped = True
            else:
                resume = sequence_text(self._positions).strip('"')
                self.end(CLOSE_TRY_AGAIN, f"too slow: reconnect with since={resume}")

    def fall_behind(self) -> None:
        """Go back to the stream: live messages may have been missed."""
        self._behind = self._dropped = True
        self._something.set()

    async def keep_alive(self) -> None:
        """Ask for a sign of life; end when the last one is too long ago, or the credential holds no longer."""
        if self._clock.monotonic_s() - self._heard_s > SILENCE_S_MAX:
            self.end(CLOSE_GOING_AWAY, "no answer to pings")
            return
        try:
            async with asyncio.timeout(PING_S_MAX):
                await self._still_holds()
                await self._connection.ping()
        except Unauthorized as error:
            self.end(CLOSE_POLICY, error.message)
        except (Unavailable, TimeoutError, ConnectionError) as error:
            # A client that went away is noticed by the reader, one that stalls by its silence.
            log.debug("socket_not_pinged", reason=str(error))

    def end(self, code: int, reason: str) -> None:
        """Close the connection with this code and reason. The first call counts."""
        if not self._ended.done():
            self._ended.set_result(_Ended(code, reason))

    def _wants(self, found: CommitFrames) -> bool:
        wish = self._wish
        return (wish.play_id is None or wish.play_id == found.play_id) and (
            wish.flow_id is None or wish.flow_id == found.flow_id
        )

    async def _read(self) -> None:
        # What clients say is ignored, but any of it is a sign of life. Pongs arrive here, for autoping is off.
        while True:
            message = await self._connection.receive()
            self._heard_s = self._clock.monotonic_s()
            if message.type == WSMsgType.PING:
                await self._connection.pong(message.data)
            elif message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
                return

    async def _write(self) -> None:
        try:
            while True:
                if self._behind:
                    await self._catch_up()
                await self._drain()
                await self._something.wait()
                self._something.clear()
        except ConnectionError:
            return
        except Exception:
            log.exception("socket_crashed")
            self.end(CLOSE_INTERNAL, "something went wrong on our side")

    async def _drain(self) -> None:
        sent = 0
        while self._buffer and not self._behind:
            shard, frame = self._buffer.popleft()
            if frame.position > self._positions[shard]:
                await self._send(shard, frame)
                sent += 1
                if sent % FRAMES_BETWEEN_YIELDS == 0:
                    await asyncio.sleep(0)

    async def _send(self, shard: int, frame: Frame) -> None:
        positions = self._positions
        positions[shard] = frame.position
        await self._connection.send_str(frame.text(sequence_text(positions)))

    async def _catch_up(self) -> None:
        # Live frames gather meanwhile. When none had to be dropped since the last look at the streams' heads, what
        # was read and what gathered meet without a gap; frames that are in both are dropped by their position.
        while True:
            self._dropped = False
            try:
                for shard in range(len(self._positions)):
                    await self._replay(shard)
            except Unavailable as error:
                log.debug("socket_replay_retried", reason=error.message)
                await asyncio.sleep(REPLAY_RETRY_S)
                continue
            if not self._dropped:
                self._behind = False
                return

    async def _replay(self, shard: int) -> None:
        wish = self._wish
        stream = subjects.plays_stream(shard)
        filter_ = subjects.history(
            shard, wish.company_id, flow_id=wish.flow_id or "*", play_id=wish.play_id or "*"
        )
        newest = await self._bus.last(stream, filter_, leader=True)
        head = 0 if newest is None else newest.sequence
        while (since := sequence_after(self._positions[shard])) <= head:
            page = await self._bus.load_page(stream, filter_, since=since, limit=REPLAY_PAGE_MAX)
            if not page:
                # A replica that lags behind the leader that named the head.
                await asyncio.sleep(REPLAY_RETRY_S)
            for stored in page:
                await self._send_commit(shard, stored.sequence, stored.data)

    async def _send_commit(self, shard: int, sequence: int, data: bytes) -> None:
        try:
            found = frames_of(codec.decode_commit(data, sequence=sequence), shard=shard)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("commit_unreadable", shard=shard, sequence=sequence, error=str(error))  # noqa: TRY400
        else:
            for frame in found.frames:
                if frame.position > self._positions[shard]:
                    await self._send(shard, frame)
        self._positions[shard] = max(self._positions[shard], end_of(sequence))

    async def _close(self, request: web.BaseRequest) -> None:
        ended = self._ended.result() if self._ended.done() else _Ended(1000, "")
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._connection.close(code=ended.code, message=ended.reason.encode()[:120])
        except (TimeoutError, ConnectionError):
            # A client that reads nothing does not read that either.
            if request.transport is not None:
                request.transport.abort()

"""How far a client is in its company's events: read from the stream while it is behind, from the feed afterwards.

What a socket and an event stream share (spec flow8 section 16, D9). Whoever follows gives a place to send frames to.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.errors import Invalid, Unavailable
from services.gateway.frames import CommitFrames, Frame, end_of, frames_of, sequence_after

SOCKET_BUFFER_FRAMES_MAX = 16_384
REPLAY_PAGE_MAX = 256
REPLAY_RETRY_S = 0.2
FRAMES_BETWEEN_YIELDS = 64
POSITION_DIGITS_MAX = 19

log = structlog.get_logger(__name__)
# Sends one frame; the text is the JSON value of its `sequence`.
Send = Callable[[Frame, str], Awaitable[None]]
# Raises Unauthorized once the credential that opened the connection holds no longer.
StillHolds = Callable[[], Awaitable[object]]


class Wish(NamedTuple):
    """What a client asked for: plays of its company, all, of one flow, or one; `since` a position per shard."""

    company_id: str
    flow_id: str | None = None
    play_id: str | None = None
    since: tuple[int, ...] | None = None


class Ended(NamedTuple):
    """Why a connection ends: a close code of WebSockets, and a sentence."""

    code: int
    reason: str


class FellBehind(Exception):
    """The client does not keep up: more frames wait for it than may. The text says where to go on."""


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


class Follower:
    """Sends one client its frames, each once and in order."""

    def __init__(self, bus: Bus, wish: Wish, send: Send) -> None:
        self._bus = bus
        self._wish = wish
        self._deliver = send
        self._positions: list[int] = []
        self._buffer: deque[tuple[int, Frame]] = deque()
        self._something = asyncio.Event()
        self._behind = True
        self._dropped = False

    @property
    def sequence(self) -> str:
        """Return what a client says to go on from here."""
        return sequence_text(self._positions).strip('"')

    def start(self, positions: Sequence[int]) -> None:
        """Begin where the wish says; `positions` is where the streams stand."""
        since = self._wish.since
        self._positions = list(positions) if since is None else list(map(min, since, positions))
        self._behind = since is not None or self._dropped

    def offer(self, found: CommitFrames) -> None:
        """Take a commit's frames from the feed. Raises FellBehind for a client that does not keep up."""
        if not self._wants(found):
            return
        self._buffer.extend((found.shard, frame) for frame in found.frames)
        self._something.set()
        if len(self._buffer) > SOCKET_BUFFER_FRAMES_MAX:
            self._buffer.clear()
            if not self._behind:
                raise FellBehind(self.sequence)
            # All of it is in the stream, where this client still reads.
            self._dropped = True

    def fall_behind(self) -> None:
        """Go back to the stream: live messages may have been missed."""
        self._behind = self._dropped = True
        self._something.set()

    async def follow(self) -> None:
        """Send what there is and what comes, for ever. Raises what sending raises."""
        while True:
            if self._behind:
                await self._catch_up()
            await self._drain()
            await self._something.wait()
            self._something.clear()

    def _wants(self, found: CommitFrames) -> bool:
        wish = self._wish
        return (wish.play_id is None or wish.play_id == found.play_id) and (
            wish.flow_id is None or wish.flow_id == found.flow_id
        )

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
        await self._deliver(frame, sequence_text(positions))

    async def _catch_up(self) -> None:
        # Live frames gather meanwhile. When none had to be dropped since the last look at the streams' heads, what
        # was read and what gathered meet without a gap; frames that are in both are dropped by their position.
        while True:
            self._dropped = False
            try:
                for shard in range(len(self._positions)):
                    await self._replay(shard)
            except Unavailable as error:
                log.debug("replay_retried", reason=error.message)
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
        if newest is None:
            return
        while (since := sequence_after(self._positions[shard])) <= newest.sequence:
            page = await self._bus.load_page(stream, filter_, since=since, limit=REPLAY_PAGE_MAX)
            if not page:
                # A replica that lags behind the leader that named the head.
                await asyncio.sleep(REPLAY_RETRY_S)
            for stored in page:
                await self._send_commit(shard, stored.sequence, stored.data)

    async def _send_commit(self, shard: int, sequence: int, data: bytes) -> None:
        try:
            found = frames_of(codec.known_part(data, sequence=sequence)[0], shard=shard)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("commit_unreadable", shard=shard, sequence=sequence, error=str(error))  # noqa: TRY400
        else:
            for frame in found.frames:
                if frame.position > self._positions[shard]:
                    await self._send(shard, frame)
        self._positions[shard] = max(self._positions[shard], end_of(sequence))

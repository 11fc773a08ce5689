"""Live events for sockets: one subscription per company, decoded once for all its sockets (D9).

A feed notices by itself when something was missed (a reconnect, a message lost between servers) and sends its sockets
back to the stream, from which they catch up without a gap or a repeat.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
from aiohttp import WSCloseCode

from libs.common import background, codec, metrics, subjects
from libs.common.bus import Bus, Message, Subscription
from libs.common.errors import HeadraceError, TooMany
from services.gateway.frames import CommitFrames, end_of, frames_of
from services.gateway.positions import Positions

CHECK_INTERVAL_S = 5.0
KEEPALIVE_INTERVAL_S = 15.0
SOCKETS_MAX = 10_000
STOP_S_MAX = 5.0

log = structlog.get_logger(__name__)


class Watcher(Protocol):
    """A client of a feed: a socket or an event stream. `gone` is set when its connection is closed."""

    gone: asyncio.Event

    def offer(self, found: CommitFrames) -> None:
        """Take a commit's frames."""

    def fall_behind(self) -> None:
        """Go back to the stream."""

    def end(self, code: int, reason: str) -> None:
        """Close the connection and say why."""

    async def keep_alive(self) -> None:
        """Do what is to be done every KEEPALIVE_INTERVAL_S."""


class Feed:
    """The events of one company, as they happen."""

    def __init__(self, bus: Bus, known: Positions, company_id: str, shards: int) -> None:
        self._bus = bus
        self._known = known
        self._company_id = company_id
        self._shards = shards
        self._subscription: Subscription | None = None
        self._opening = asyncio.Lock()
        self._expected = [0] * shards
        self.sockets: set[Watcher] = set()
        self.positions = [0] * shards

    async def open(self) -> None:
        """Subscribe, then learn where the streams stand. Raises Unavailable when they do not answer."""
        async with self._opening:
            if self._subscription is not None:
                return
            subscription = await self._bus.subscribe(subjects.live_company(self._company_id), self._received)
            try:
                for shard, sequence in enumerate(await self.heads()):
                    self.positions[shard] = max(self.positions[shard], end_of(sequence) if sequence else 0)
            except BaseException:
                await subscription.close()
                raise
            self._subscription = subscription

    async def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            await self._subscription.close()

    async def heads(self) -> list[int]:
        """Return the stream sequence of the company's newest commit in each shard, 0 where there is none."""
        found = []
        for shard in range(self._shards):
            subject = subjects.company_events(shard, self._company_id)
            stored = await self._bus.last(subjects.plays_stream(shard), subject, leader=True)
            found.append(stored.sequence if stored else 0)
        return found

    async def check(self) -> None:
        """Catch up when the stream holds what should have come since the last check and did not."""
        missed = any(position < end for position, end in zip(self.positions, self._expected, strict=True))
        if missed:
            log.warning("live_events_missed", company=self._company_id)
            self.fall_behind()
            self.positions = list(map(max, self.positions, self._expected))
        self._expected = [end_of(sequence) if sequence else 0 for sequence in await self.heads()]

    def fall_behind(self) -> None:
        """Send every socket back to the stream."""
        for socket in self.sockets:
            socket.fall_behind()

    def _received(self, message: Message) -> None:
        key, _state = subjects.parse_play(message.subject)
        sequence = int(message.headers.get("Nats-Sequence", "0"))
        if key.shard >= self._shards:
            return
        try:
            found = frames_of(codec.known_part(message.data, sequence=sequence)[0], shard=key.shard)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("commit_unreadable", subject=message.subject, sequence=sequence, error=str(error))  # noqa: TRY400
            return
        self.positions[key.shard] = max(self.positions[key.shard], found.end)
        # Who reads a play because of a frame sees what the frame told.
        self._known.note(self._company_id, subjects.plays_stream(key.shard), sequence)
        for socket in self.sockets:
            socket.offer(found)


class Feeds:
    """The feeds of this process, one per company with sockets, and what all sockets need now and then."""

    def __init__(self, bus: Bus, known: Positions, shards: int) -> None:
        self._bus = bus
        self._known = known
        self._shards = shards
        self._feeds: dict[str, Feed] = {}
        self._count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.draining = False
        metrics.SOCKETS.set_function(lambda: self._count)

    async def start(self) -> None:
        """Begin to look after the feeds."""
        self._bus.on_reconnected(self._reconnected)
        self._tasks = [
            background.keep(self._check_for_ever(), name="feeds"),
            background.keep(self._keep_alive_for_ever(), name="keepalive"),
        ]

    async def stop(self) -> None:
        """Tell every socket that we go, and end."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        sockets = self._all()
        for socket in sockets:
            socket.end(WSCloseCode.GOING_AWAY, "the gateway restarts: reconnect with since")
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await asyncio.gather(*(socket.gone.wait() for socket in sockets))
        except TimeoutError:
            log.warning("sockets_not_closed", sockets=len(self._all()))

    async def join(self, company_id: str, socket: Watcher) -> Sequence[int]:
        """Give a socket what happens from now on; returns the streams' positions as of now, by shard.

        Raises TooMany when SOCKETS_MAX are open, Unavailable when the streams do not answer.
        """
        if self._count >= SOCKETS_MAX:
            raise TooMany(f"this gateway serves {SOCKETS_MAX} sockets already")
        feed = self._feeds.get(company_id)
        if feed is None:
            feed = self._feeds[company_id] = Feed(self._bus, self._known, company_id, self._shards)
        self._count += 1
        feed.sockets.add(socket)
        try:
            await feed.open()
        except BaseException:
            await self.leave(company_id, socket)
            raise
        return tuple(feed.positions)

    async def leave(self, company_id: str, socket: Watcher) -> None:
        """Take a socket off its feed; a feed without sockets ends. Leaving twice is harmless."""
        feed = self._feeds.get(company_id)
        if feed is None or socket not in feed.sockets:
            return
        feed.sockets.discard(socket)
        self._count -= 1
        if not feed.sockets:
            del self._feeds[company_id]
            await feed.close()

    def _all(self) -> list[Watcher]:
        return [socket for feed in self._feeds.values() for socket in feed.sockets]

    def _reconnected(self) -> None:
        for feed in self._feeds.values():
            feed.fall_behind()

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            for feed in list(self._feeds.values()):
                try:
                    await feed.check()
                except HeadraceError as error:
                    log.debug("feed_not_checked", reason=error.message)

    async def _keep_alive_for_ever(self) -> None:
        while True:
            await asyncio.sleep(KEEPALIVE_INTERVAL_S)
            sockets = self._all()
            found = await asyncio.gather(*(each.keep_alive() for each in sockets), return_exceptions=True)
            for socket, error in zip(sockets, found, strict=True):
                if isinstance(error, Exception):
                    # One of them must not end the care for all others.
                    log.error("socket_not_kept_alive", exc_info=error)
                    socket.end(WSCloseCode.INTERNAL_ERROR, "something went wrong on our side")

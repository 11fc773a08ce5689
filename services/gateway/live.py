"""Waiting for a play: callers that want its next commit, fed by the republished log (D9).

One subscription per flow serves all its waiters and stays open a little longer than the last of them, so a busy flow
costs nothing per call. A live message may be lost (a reconnect, a route between servers that is still learning of the
subscription): waiters look into the stream itself as well, at growing intervals and after every reconnect.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from libs.common import background, metrics, subjects
from libs.common.bus import Bus, Message, Subscription
from libs.common.clock import Clock
from libs.common.errors import HeadraceError, TooMany

LINGER_S = 5.0
TICK_S = 0.5
LOOK_FIRST_S = 1.0
LOOK_FACTOR = 3.0
LOOKS_AT_ONCE_MAX = 16
WAITERS_MAX = 20_000
_SEQUENCE = b"Nats-Sequence: "

log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """A commit as a waiter gets it: the play's state after it, its place in the stream, its bytes."""

    state: str
    sequence: int
    data: bytes


# Tells whether this commit is what the waiter waits for.
Test = Callable[[str, bytes], bool]


class _Watch:
    __slots__ = ("idle_since_s", "opening", "subscription", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[str, list[Waiter]] = {}
        self.subscription: Subscription | None = None
        self.opening: asyncio.Task[None] | None = None
        self.idle_since_s = 0.0


class Waiter:
    """One caller that waits for a commit of one play. Made by `Live.waiter`; `close` it in the end."""

    __slots__ = ("_future", "_live", "key", "look_at_s", "look_in_s", "since", "test", "watch")

    def __init__(
        self, live: "Live", watch: _Watch, key: subjects.PlayKey, test: Test, since: int | None
    ) -> None:
        self._live = live
        self._future: asyncio.Future[Seen | None] = asyncio.get_running_loop().create_future()
        self.watch = watch
        self.key = key
        self.test = test
        self.since = since
        self.look_in_s = LOOK_FIRST_S
        self.look_at_s = 0.0

    async def seen(self, within_s: float) -> Seen | None:
        """Return the commit that was waited for, None when none came in time or the gateway stops."""
        timer = asyncio.get_running_loop().call_later(within_s, self.give_up)
        try:
            return await self._future
        finally:
            timer.cancel()

    @property
    def waiting(self) -> bool:
        """Tell whether nothing came yet."""
        return not self._future.done()

    def offer(self, seen: Seen) -> None:
        """Take the commit if it is the one."""
        if self._future.done():
            return
        try:
            if self.test(seen.state, seen.data):
                self._future.set_result(seen)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("commit_unreadable", play=self.key.play_id, sequence=seen.sequence, error=str(error))  # noqa: TRY400

    def give_up(self) -> None:
        """End the wait without a commit."""
        if not self._future.done():
            self._future.set_result(None)

    def close(self) -> None:
        """Stop waiting. Closing twice is harmless."""
        self._live.leave(self)


class Live:
    """All waiters of this process and the subscriptions they share."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._count = 0
        self._ticking: asyncio.Task[None] | None = None
        metrics.WAITERS.set_function(lambda: self._count)

    async def start(self) -> None:
        """Begin to look after the waiters."""
        self._bus.on_reconnected(self._look_soon)
        self._ticking = background.keep(self._tick_for_ever(), name="waiters")

    async def stop(self) -> None:
        """Answer all who wait with what is known, and end."""
        for waiter in self._all():
            waiter.give_up()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def waiter(self, key: subjects.PlayKey, test: Test, *, since: int | None = None) -> Waiter:
        """Begin to wait for a commit of a play; the subscription is on its way to the server on return.

        A commit that others follow is found in the stream as well when the wait says after which place to look;
        without one only the play's newest is. Raises TooMany when WAITERS_MAX callers wait already.
        """
        if self._count >= WAITERS_MAX:
            raise TooMany(f"{WAITERS_MAX} callers wait already")
        name = (key.company_id, key.flow_id)
        watch = self._watches.get(name)
        if watch is None:
            watch = self._watches[name] = _Watch()
            watch.opening = asyncio.create_task(self._open(watch, name))
        waiter = Waiter(self, watch, key, test, since)
        waiter.look_at_s = self._clock.monotonic_s() + waiter.look_in_s
        watch.waiters.setdefault(key.play_id, []).append(waiter)
        self._count += 1
        if watch.opening is not None:
            try:
                await asyncio.shield(watch.opening)
            except BaseException:
                self.leave(waiter)
                raise
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter off its watch."""
        waiting = waiter.watch.waiters.get(waiter.key.play_id, [])
        if waiter not in waiting:
            return
        waiting.remove(waiter)
        self._count -= 1
        if not waiting:
            del waiter.watch.waiters[waiter.key.play_id]
            waiter.watch.idle_since_s = self._clock.monotonic_s()

    async def last(self, key: subjects.PlayKey) -> Seen | None:
        """Return the newest commit of a play from the stream, None when it has none."""
        stored = await self._bus.last(subjects.plays_stream(key.shard), key.events)
        if stored is None:
            return None
        return Seen(subjects.tail(stored.subject)[1], stored.sequence, stored.data)

    async def look_for(self, waiter: Waiter) -> None:
        """Offer a waiter what the stream holds for it. Raises Unavailable."""
        key = waiter.key
        if waiter.since is None:
            newest = await self.last(key)
            found = [] if newest is None else [newest]
        else:
            stored = await self._bus.load(
                subjects.plays_stream(key.shard), key.events, since=waiter.since + 1
            )
            found = [Seen(subjects.tail(each.subject)[1], each.sequence, each.data) for each in stored]
        for seen in found:
            waiter.offer(seen)

    async def _open(self, watch: _Watch, name: tuple[str, str]) -> None:
        def received(message: Message) -> None:
            play_id, state = subjects.tail(message.subject)
            waiting = watch.waiters.get(play_id)
            if waiting:
                seen = Seen(state, _sequence(message), message.data)
                for waiter in waiting:
                    waiter.offer(seen)

        try:
            watch.subscription = await self._bus.subscribe(subjects.live_flow(*name), received)
            watch.opening = None
        except BaseException:
            self._watches.pop(name, None)
            raise

    def _all(self) -> list[Waiter]:
        return [
            waiter
            for watch in self._watches.values()
            for waiting in watch.waiters.values()
            for waiter in waiting
        ]

    def _look_soon(self) -> None:
        for waiter in self._all():
            waiter.look_at_s = 0.0

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._close_idle()
                await self._look()
            except HeadraceError as error:
                # NATS is away: the waiters look again when it is back.
                log.debug("waiters_not_checked", reason=error.message)

    async def _close_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        idle = [
            name
            for name, watch in self._watches.items()
            if not watch.waiters and watch.subscription and now_s - watch.idle_since_s > LINGER_S
        ]
        for name in idle:
            # Out of the table first: who comes now opens a subscription of their own.
            subscription = self._watches.pop(name).subscription
            assert subscription is not None
            await subscription.close()

    async def _look(self) -> None:
        now_s = self._clock.monotonic_s()
        due = [waiter for waiter in self._all() if waiter.look_at_s <= now_s and waiter.waiting]
        for start in range(0, len(due), LOOKS_AT_ONCE_MAX):
            await asyncio.gather(*map(self._look_again, due[start : start + LOOKS_AT_ONCE_MAX]))

    async def _look_again(self, waiter: Waiter) -> None:
        waiter.look_in_s *= LOOK_FACTOR
        waiter.look_at_s = self._clock.monotonic_s() + waiter.look_in_s
        await self.look_for(waiter)


def _sequence(message: Message) -> int:
    # Parsing all headers costs more than finding one.
    raw = message.raw_headers or b""
    start = raw.find(_SEQUENCE)
    if start < 0:
        return 0
    start += len(_SEQUENCE)
    return int(raw[start : raw.index(b"\r\n", start)])

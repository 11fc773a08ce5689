"""The lanes in the log: reading one, taking a slot, freeing it, each a commit under optimistic concurrency (ADR 36)."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from libs.common import ids
from libs.common.bus import Bus, Expected
from libs.common.clock import Clock
from libs.common.codec import CONTENT_TYPE_BATCH, Context, decode_commit, encode_commit, source_of
from libs.common.errors import Conflict, Unavailable
from libs.common.messages.lane import AnyLaneEvent, Seat
from libs.common.subjects import LaneKey, plays_stream
from services.executor.lane import Lane, Limit, acquire, fold, folded, free

LANES_CACHED_MAX = 1_024
ATTEMPTS_MAX = 500
CONFLICT_PAUSE_S = 0.005

log = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """Where a play stands in a lane: `position` 0 with a slot, from 1 in line, None when the line is full."""

    position: int | None
    promoted: Sequence[Seat]


class _Known(NamedTuple):
    lane: Lane
    sequence: int


class Lanes:
    """The lanes as one executor knows them: what it read last is good until an append says otherwise."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._known: OrderedDict[LaneKey, _Known] = OrderedDict()
        self._locks: dict[LaneKey, asyncio.Lock] = {}

    async def acquire(
        self, key: LaneKey, seat: Seat, limit: Limit, still_wanted: Callable[[], Awaitable[None]]
    ) -> Standing:
        """Take a slot for a play or a place in the line, whichever it has not got yet.

        `still_wanted` is asked after the lane was read and before it is written, and raises when the play has moved: a
        play that ended meanwhile moved the lane after that, so a slot is never taken for it. Raises Unavailable.
        """

        async def decide(lane: Lane, now: datetime) -> list[AnyLaneEvent] | None:
            await still_wanted()
            return acquire(lane, seat, limit, now)

        lane, is_full = await self._append(key, decide)
        if is_full:
            return Standing(None, ())
        return Standing(lane.position(seat.name), lane.promoted(seat.name))

    async def free(self, key: LaneKey, seat: Seat, limit: Limit | None = None) -> Sequence[Seat]:
        """Free what a play holds; return the seats that this end let in, now or before. Raises Unavailable."""

        async def decide(lane: Lane, now: datetime) -> list[AnyLaneEvent]:
            return free(lane, seat, now, limit=limit)

        lane, _ = await self._append(key, decide)
        return lane.promoted(seat.name)

    async def waits(self, key: LaneKey, seat: Seat) -> bool:
        """Tell whether this seat waits in the lane, as its last message says. Raises Unavailable."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = await self._newest(key)
            self._keep(key, known)
            return known.lane.standing(seat.name) == "waits"

    async def _append(
        self, key: LaneKey, decide: Callable[[Lane, datetime], Awaitable[list[AnyLaneEvent] | None]]
    ) -> tuple[Lane, bool]:
        """Decide on the newest lane and append what follows; return the lane then, and whether it is full."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            for attempt in range(ATTEMPTS_MAX):
                known = await self._newest(key) if attempt == 0 else await self._read(key)
                # Until its commit is stored a lane that was decided on is nobody's.
                self._known.pop(key, None)
                events = await decide(known.lane, self._clock.now())
                if not events:
                    self._keep(key, known)
                    return known.lane, events is None
                try:
                    stored = await self._write(key, known, events)
                except Conflict:
                    await asyncio.sleep(CONFLICT_PAUSE_S * (0.5 + ids.chance()))
                    continue
                self._keep(key, stored)
                return stored.lane, False
        raise Unavailable(f"lane {key.events}: nothing could be appended in {ATTEMPTS_MAX} attempts")

    async def _write(self, key: LaneKey, known: _Known, events: list[AnyLaneEvent]) -> _Known:
        lane, now = known.lane, self._clock.now()
        lane.commits += 1
        whole = lane.is_fold_due
        if whole:
            events = [*events, folded(lane, now)]
        commit_id = ids.commit_id()
        subject = key.whole if whole else key.step
        context = Context(source=source_of(key.company_id, key.flow_id), subject=key.flow_id)
        data = encode_commit(events, commit_id=commit_id, context=context)
        # A lane outlives the stream's age limit: a slot may be held for longer.
        appended = await self._bus.append(
            subject,
            data,
            id=commit_id,
            expected=Expected(key.events, known.sequence),
            headers={"Content-Type": CONTENT_TYPE_BATCH, "Nats-TTL": "never"},
        )
        if whole:
            lane.commits = 0
            await self._trim(key, appended.sequence)
        return _Known(lane, appended.sequence)

    async def _trim(self, key: LaneKey, sequence: int) -> None:
        # What a crash leaves here the next whole commit removes.
        answer = await self._bus.api(
            f"STREAM.PURGE.{plays_stream(key.shard)}", {"filter": key.events, "seq": sequence}
        )
        if "error" in answer:
            log.warning("lane_not_trimmed", lane=key.events, error=answer["error"].get("description"))

    async def _newest(self, key: LaneKey) -> _Known:
        """Return the lane as its last message says: a standing that nothing is appended for rests on it."""
        known = self._known.get(key)
        if known is None:
            return await self._read(key)
        last = await self._bus.last(plays_stream(key.shard), key.events, leader=True)
        if last is not None and last.sequence == known.sequence:
            return known
        return await self._read(key)

    async def _read(self, key: LaneKey) -> _Known:
        stream = plays_stream(key.shard)
        for _ in range(ATTEMPTS_MAX):
            whole = await self._bus.last(stream, key.whole, leader=True)
            stored = await self._bus.load(stream, key.events, since=whole.sequence if whole else 1)
            last = await self._bus.last(stream, key.events, leader=True)
            newest = 0 if last is None else last.sequence
            if (stored[-1].sequence if stored else 0) >= newest:
                break
            await asyncio.sleep(CONFLICT_PAUSE_S)
        else:
            raise Unavailable(f"lane {key.events}: no replica shows its last commit")
        lane = fold(decode_commit(message.data, sequence=message.sequence).events for message in stored)
        return _Known(lane, stored[-1].sequence if stored else 0)

    def _keep(self, key: LaneKey, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > LANES_CACHED_MAX:
            gone, _ = self._known.popitem(last=False)
            if gone in self._locks and not self._locks[gone].locked():
                del self._locks[gone]

"""Whether a play may start now: the limits of its flow and of its company (spec flow8 section 10, ADR 36)."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Conflict, NotFound
from libs.common.lane import COMPANY
from libs.common.messages import play as m
from libs.common.messages.lane import Seat
from libs.common.subjects import LaneKey, PlayKey
from services.executor import history
from services.executor.history import History, Plans
from services.executor.lane import Limit
from services.executor.lanes import Lanes
from services.executor.play_commands import FREE, Admission
from services.executor.plays import Plays

log = structlog.get_logger(__name__)


class Limits(NamedTuple):
    """What an operator allows: plays of one company at once (0: any number), over how many shards lanes lie."""

    company_plays_max: int
    shards: int


class Admissions:
    """Takes and frees the slots of plays."""

    def __init__(self, bus: Bus, clock: Clock, plans: Plans, plays: Plays, limits: Limits) -> None:
        self._bus = bus
        self._clock = clock
        self._plans = plans
        self._plays = plays
        self._limits = limits
        self._lanes = Lanes(bus, clock)

    async def admit(
        self, key: PlayKey, known: History, command: m.PlayCommand, start: m.StartPlay | None
    ) -> Admission:
        """Return whether a play that has not begun, or stands in line, may start; only that takes a slot.

        Raises Conflict when the play moved meanwhile: decide its command anew.
        """
        play = known.play
        if play.status == "DEFERRED":
            if not isinstance(command, m.ReleasePlay):
                return Admission()
            return await self._acquire(key, known, play.lanes, await self._limit_now(key))
        wanted = command if isinstance(command, m.StartPlay) else start
        if play.begun or wanted is None:
            return FREE
        try:
            flow = (await self._plans.get(wanted.definition)).flow
        except NotFound:
            return FREE  # it ends by itself, for the same reason
        lanes = lanes_of(key.flow_id, wanted.parent, flow.execution.max_concurrent, self._limits)
        if not lanes:
            return FREE
        if not isinstance(command, m.StartPlay | m.ReleasePlay | m.HoldPlay):
            return Admission(lanes=lanes)
        limit = Limit(flow.execution.max_concurrent, wanted.definition)
        return await self._acquire(key, known, lanes, limit)

    async def admit_retry(self, key: PlayKey, known: History) -> Admission:
        """Return whether a play may run again from the end it came to; takes a slot, or a place in the line.

        The newest definition says which limits hold for it, and so another than at an earlier try, which may have
        taken a slot: the end frees one of its flow in any case. Nobody waits for a play that has ended, so it shares
        nobody's slots. What the end itself holds must be free by now. Raises Conflict as `admit`.
        """
        limit = await self._limit_now(key)
        lanes = lanes_of(key.flow_id, None, limit.slots, self._limits)
        return await self._acquire(key, known, lanes, limit, retry=known.play.retries + 1)

    async def free(self, key: PlayKey, lanes: tuple[str, ...], retry: int) -> None:
        """Free what an ended play holds after so many retries, and release who comes next; harmless when repeated."""
        seat = _seat(key, retry)
        # A retry may have taken a slot of its flow at a try that came to nothing, and begun when there was no limit.
        held = dict.fromkeys((*lanes, key.flow_id) if retry else lanes)
        for lane in held:
            limit = Limit(self._limits.company_plays_max) if lane == COMPANY else None
            promoted = await self._lanes.free(self._lane(key, lane), seat, limit)
            await self._release(key, promoted, by=f"{seat.name}-{lane}")

    async def look(self, key: PlayKey, lanes: tuple[str, ...], retry: int) -> None:
        """Release a retry in line that waits no more: whoever let it in may have come before it was put there."""
        seat = _seat(key, retry)
        for lane in lanes:
            if await self._lanes.waits(self._lane(key, lane), seat):
                return
        await self._release(key, [seat], by="line")

    async def _limit_now(self, key: PlayKey) -> Limit:
        """Return the limit of the flow as it is now: it may have been raised since the play was put in line."""
        try:
            flow, sequence = await self._plays.find_flow(key.company_id, key.flow_id)
        except NotFound:
            return Limit(0)  # nothing else will ever start: who waits may go
        return Limit(flow.execution.max_concurrent, sequence)

    async def _acquire(
        self, key: PlayKey, known: History, lanes: tuple[str, ...], limit: Limit, *, retry: int | None = None
    ) -> Admission:
        async def still_wanted() -> None:
            if await history.last_sequence(self._bus, key, leader=True) != known.sequence:
                raise Conflict(f"play {key.play_id} moved while it was about to take a slot")

        seat = _seat(key, known.play.retries if retry is None else retry)
        for lane in lanes:
            slots = Limit(self._limits.company_plays_max) if lane == COMPANY else limit
            standing = await self._lanes.acquire(self._lane(key, lane), seat, slots, still_wanted)
            await self._release(key, standing.promoted, by=f"{seat.name}-{lane}")
            if standing.position is None:
                return Admission(lanes=lanes, is_full=True)
            if standing.position:
                return Admission(lanes=lanes, position=standing.position)
        return Admission(lanes=lanes)

    async def _release(self, of: PlayKey, seats: Sequence[Seat], *, by: str) -> None:
        for seat in seats:
            key = self._plays.key(of.company_id, seat.flow_id, seat.play_id)
            release = m.ReleasePlay(at=self._clock.now())
            # Each seat by each in each lane: a play knows a release after it, and whoever was let in by one lane may
            # have to wait in the next, for the very same end.
            await self._plays.send(key, "release", release, id=f"release-{seat.name}-{by}")

    def _lane(self, key: PlayKey, lane: str) -> LaneKey:
        return subjects.lane_key(key.company_id, lane, shards=self._limits.shards)


def lanes_of(flow_id: str, parent: m.Parent | None, max_concurrent: int, limits: Limits) -> tuple[str, ...]:
    """Return the lanes in which a play needs a slot; `parent` is who waits for it.

    A play that somebody waits for shares the slots of those above it: else they would wait for each other.
    """
    if not max_concurrent and not limits.company_plays_max:
        return ()
    held = parent.lanes if parent is not None else ()
    wanted = []
    if max_concurrent and flow_id not in held:
        wanted.append(flow_id)
    if limits.company_plays_max and parent is None:
        wanted.append(COMPANY)
    return tuple(wanted)


def _seat(key: PlayKey, retry: int) -> Seat:
    return Seat(play_id=key.play_id, flow_id=key.flow_id, retry=retry)

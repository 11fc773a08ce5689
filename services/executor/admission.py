"""Whether a play may start now: the limits of its flow and of its company (spec flow8 section 10, ADR 36)."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from libs.common import subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import Conflict, NotFound
from libs.common.messages import play as m
from libs.common.messages.lane import Seat
from libs.common.subjects import LaneKey, PlayKey
from services.executor import history
from services.executor.history import History, Plans
from services.executor.lane import Limit
from services.executor.lanes import Lanes
from services.executor.play_commands import Admission
from services.executor.plays import Plays

COMPANY = "_"

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
            return Admission()
        try:
            flow = (await self._plans.get(wanted.definition)).flow
        except NotFound:
            return Admission()  # it ends by itself, for the same reason
        lanes = self._lanes_of(key, wanted, flow.execution.max_concurrent)
        if not lanes or not isinstance(command, m.StartPlay | m.ReleasePlay | m.HoldPlay):
            return Admission(lanes=lanes)
        limit = Limit(flow.execution.max_concurrent, wanted.definition)
        return await self._acquire(key, known, lanes, limit)

    async def free(self, key: PlayKey, lanes: tuple[str, ...]) -> None:
        """Free what an ended play holds, and release who comes next; harmless when repeated."""
        for lane in lanes:
            limit = Limit(self._limits.company_plays_max) if lane == COMPANY else None
            promoted = await self._lanes.free(self._lane(key, lane), key.play_id, limit)
            await self._release(key, promoted)

    def _lanes_of(self, key: PlayKey, start: m.StartPlay, max_concurrent: int) -> tuple[str, ...]:
        # A play that somebody waits for shares the slots of those above it: else they would wait for each other.
        held = start.parent.lanes if start.parent is not None else ()
        wanted = []
        if max_concurrent and key.flow_id not in held:
            wanted.append(key.flow_id)
        if self._limits.company_plays_max and start.parent is None:
            wanted.append(COMPANY)
        return tuple(wanted)

    async def _limit_now(self, key: PlayKey) -> Limit:
        """Return the limit of the flow as it is now: it may have been raised since the play was put in line."""
        try:
            flow, sequence = await self._plays.find_flow(key.company_id, key.flow_id)
        except NotFound:
            return Limit(0)  # nothing else will ever start: who waits may go
        return Limit(flow.execution.max_concurrent, sequence)

    async def _acquire(self, key: PlayKey, known: History, lanes: tuple[str, ...], limit: Limit) -> Admission:
        async def still_wanted() -> None:
            if await history.last_sequence(self._bus, key, leader=True) != known.sequence:
                raise Conflict(f"play {key.play_id} moved while it was about to take a slot")

        seat = Seat(play_id=key.play_id, flow_id=key.flow_id)
        for lane in lanes:
            slots = Limit(self._limits.company_plays_max) if lane == COMPANY else limit
            standing = await self._lanes.acquire(self._lane(key, lane), seat, slots, still_wanted)
            await self._release(key, standing.promoted)
            if standing.position is None:
                return Admission(lanes=lanes, is_full=True)
            if standing.position:
                return Admission(lanes=lanes, position=standing.position)
        return Admission(lanes=lanes)

    async def _release(self, by: PlayKey, seats: Sequence[Seat]) -> None:
        for seat in seats:
            key = self._plays.key(by.company_id, seat.flow_id, seat.play_id)
            release = m.ReleasePlay(at=self._clock.now())
            await self._plays.send(key, "release", release, id=f"release-{seat.play_id}-{by.play_id}")

    def _lane(self, key: PlayKey, lane: str) -> LaneKey:
        return subjects.lane_key(key.company_id, lane, shards=self._limits.shards)

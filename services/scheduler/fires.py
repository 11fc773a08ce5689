"""Answers fire commands: decide, commit together with the next timer, start the plays, and only then acknowledge.

Any scheduler may get any fire command, twice or late, and may die at any point: the command comes again, and every step
finds what an earlier attempt left (docs/schedules.md).
"""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from libs.common import codec, metrics, trace
from libs.common.consumer import Delivery
from libs.common.errors import Conflict, Unavailable
from libs.common.messages import schedule as m
from libs.common.subjects import ScheduleKey, parse_fire
from libs.common.topology import FIRE_ACK_WAIT_S
from services.scheduler import firing
from services.scheduler.schedule_log import Known, fire_id

ATTEMPTS_MAX = 10
# A third of what the server waits for a sign of life; also how often a waiting command looks at the clock.
HEARTBEAT_S = FIRE_ACK_WAIT_S / 3
DECIDING_MAX = 512

log = structlog.get_logger(__name__)


class Time(Protocol):
    """The bus's clock."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        ...


class Log(Protocol):
    """What firing needs of the log; see ScheduleLog for what each method does."""

    # ruff: noqa: D102 - said once, there
    async def schedule(self, key: ScheduleKey, *, leader: bool = False) -> Known | None: ...
    async def caused_by(self, key: ScheduleKey, command_id: str) -> Known | None: ...
    async def flow(self, company_id: str, flow_id: str) -> firing.Flow | None: ...
    async def commit(self, event: m.ScheduleEvent, *, expected: int, command_id: str) -> Known: ...
    async def remind(self, known: Known, at: datetime) -> None: ...
    async def start(self, event: m.ScheduleFired, start: m.Start, *, again: bool = False) -> None: ...
    async def cancel(self, event: m.ScheduleFired, running: m.Running) -> None: ...
    async def ended(self, schedule: m.Schedule, *, now: datetime) -> Collection[str]: ...
    async def fire_now(self, schedule: m.Schedule, at: datetime, *, id: str) -> None: ...


class Fires:
    """Turns time into plays."""

    def __init__(self, schedules: Log, clock: Time) -> None:
        self._log = schedules
        self._clock = clock
        self._turns = asyncio.Semaphore(DECIDING_MAX)
        self._stopping = False
        self._held: dict[int, Delivery] = {}

    def stop(self) -> None:
        """Wait for nothing more: commands whose time has not come are left to another scheduler."""
        self._stopping = True

    async def keep_alive(self) -> None:
        """Tell the server, until cancelled, that the commands held here are worked on."""
        while True:
            held = list(self._held.values())
            await asyncio.sleep(HEARTBEAT_S)
            try:
                for delivery in held:
                    if delivery.sequence in self._held:
                        await delivery.in_progress()
            except Unavailable as error:
                # NATS is away: what is held here comes again.
                log.warning("fires_not_kept", held=len(held), error=error.message)

    async def handle(self, delivery: Delivery) -> None:
        """Handle one delivered fire command; it is left for redelivery when the log does not answer."""
        try:
            key = parse_fire(delivery.subject)
            envelope = codec.decode_message(delivery.data)
            command = envelope.data
        except (ValueError, msgspec.DecodeError) as error:
            log.error(  # noqa: TRY400 - the sentence says it all
                "fire_unreadable", subject=delivery.subject, sequence=delivery.sequence, error=str(error)
            )
            await delivery.ack()
            return
        if delivery.sequence in self._held:
            # A sign of life came too late, and the command again: it is held here already, and acknowledged once.
            return
        self._held[delivery.sequence] = delivery
        try:
            await self._handle(delivery, key, command, envelope.traceparent)
        finally:
            del self._held[delivery.sequence]

    async def _handle(
        self, delivery: Delivery, key: ScheduleKey, command: m.WakeSchedule, traceparent: str
    ) -> None:
        async with self._turns:
            known = await self._log.schedule(key)
        is_current = known is not None and known.schedule.revision == command.revision
        if is_current and not await self._wait(command):
            return
        with trace.continued("schedule fire", traceparent, schedule=key.schedule_id):
            async with self._turns:
                # Who had it before may be at it still: look again, for a conflict costs all that share the batch.
                fresh = is_current and delivery.delivery == 1
                await self.fire(key, command, known if fresh else None)
        await delivery.ack()

    async def _wait(self, command: m.WakeSchedule) -> bool:
        """Keep a command until its time; False when it must be left to another scheduler."""
        while (left_s := (command.at - self._clock.now()).total_seconds()) > 0:
            if self._stopping:
                return False
            await asyncio.sleep(min(left_s, HEARTBEAT_S))
        return True

    async def fire(self, key: ScheduleKey, command: m.WakeSchedule, known: Known | None = None) -> None:
        """Do what this revision of a schedule has to do now; harmless when it was done before.

        `known` is what was read of it a moment ago: the commit finds out when that is outdated. Raises
        Unavailable when the log does not answer: the command must come again.
        """
        for attempt in range(ATTEMPTS_MAX):
            if attempt > 0 or known is None:
                known = await self._log.schedule(key)
            if known is None or known.schedule.revision < command.revision:
                known = await self._log.schedule(key, leader=True)
            if known is None:
                return
            if known.schedule.revision != command.revision:
                await self._repair(key, command.revision)
                return
            try:
                if await self._decide(known, command):
                    return
            except (Conflict, Unavailable) as error:
                # Somebody else decided, or nobody knows whether this commit landed: the log tells.
                log.debug("fire_decided_again", schedule=key.schedule_id, reason=error.message)
        raise Unavailable(f"schedule {key.schedule_id} could not be decided in {ATTEMPTS_MAX} attempts")

    async def _decide(self, known: Known, command: m.WakeSchedule) -> bool:
        schedule = known.schedule
        # The bus's clock said that it is time; a reading of it may be a little behind.
        now = max(self._clock.now(), command.at)
        flow = await self._log.flow(schedule.company_id, schedule.flow_id)
        ended = await self._log.ended(schedule, now=now) if schedule.running else ()
        event = firing.fire(schedule, now=now, flow=flow, ended=ended)
        if event is None:
            left = tuple(entry for entry in schedule.running if entry.play_id not in ended)
            again = firing.wake_at(replace(schedule, running=left), now)
            if again is not None:
                await self._log.remind(known, again)
            return True
        await self._log.commit(event, expected=known.sequence, command_id=fire_id(schedule))
        metrics.FIRES.inc()
        await self._carry_out(event)
        return True

    async def _repair(self, key: ScheduleKey, revision: int) -> None:
        """Carry out again what the command of an earlier revision decided, if it decided anything."""
        found = await self._log.caused_by(key, f"fire-{key.schedule_id}-{revision}")
        if found is not None and isinstance(found.event, m.ScheduleFired):
            await self._carry_out(found.event, again=True)

    async def _carry_out(self, event: m.ScheduleFired, *, again: bool = False) -> None:
        # Starts first: a play that was started a moment ago may be among those that are told to end.
        for start in event.started:
            await self._log.start(event, start, again=again)
        for running in event.cancelled:
            await self._log.cancel(event, running)

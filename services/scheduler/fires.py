"""Answers fire commands: decide, commit together with the next timer, start the plays, and only then acknowledge.

Any scheduler may get any fire command, twice or late, and may die at any point: the command comes again, and every step
finds what an earlier attempt left (docs/schedules.md).
"""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import structlog
from msgspec.structs import replace

from libs.common import codec, metrics, newer, trace
from libs.common.consumer import Delivery
from libs.common.errors import Conflict, Unavailable
from libs.common.messages import schedule as m
from libs.common.subjects import ScheduleKey, parse_fire
from libs.common.topology import FIRE_ACK_WAIT_S
from services.scheduler import firing
from services.scheduler.schedule_log import Encoded, Known, fire_id

ATTEMPTS_MAX = 10
# A third of what the server waits for a sign of life; also how often a waiting command looks at the clock.
HEARTBEAT_S = FIRE_ACK_WAIT_S / 3
DECIDING_MAX = 2_048
# What was worked out for its time is good for so long after it; then lateness is looked at.
READY_S_MAX = 5.0

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
    def encoded(self, event: m.ScheduleFired, *, expected: int, command_id: str) -> Encoded: ...
    async def commit(
        self, event: m.ScheduleEvent, *, expected: int, command_id: str, encoded: Encoded | None = None
    ) -> Known: ...
    async def remind(self, known: Known, at: datetime) -> None: ...
    async def start(
        self,
        event: m.ScheduleFired,
        start: m.Start,
        *,
        again: bool = False,
        encoded: Encoded | None = None,
    ) -> None: ...
    async def cancel(self, event: m.ScheduleFired, running: m.Running) -> None: ...
    async def ended(self, schedule: m.Schedule, *, now: datetime) -> Collection[str]: ...
    async def fire_now(self, schedule: m.Schedule, at: datetime, *, id: str) -> None: ...


class Ready(NamedTuple):
    """What a fire command will do at its time, worked out before: thousands may be due in one second.

    It counts while the schedule stands at `known` (its commit finds out), the flow is `flow`, and time has not run on.
    """

    known: Known
    flow: firing.Flow | None
    event: m.ScheduleFired | None
    encoded: Encoded | None


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
        """Handle one delivered fire command; it is left for redelivery when the log does not answer.

        So it is when it, its schedule or its flow is of a type that only a newer release knows.
        """
        try:
            await self._receive(delivery)
        except codec.UnknownType as error:
            newer.note(error, what="fire", subject=delivery.subject, sequence=delivery.sequence)

    async def _receive(self, delivery: Delivery) -> None:
        try:
            key = parse_fire(delivery.subject)
            envelope = codec.decode_message(delivery.data)
            command = envelope.data
        except codec.UnknownType:
            raise
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
        with trace.continued("schedule fire", traceparent, schedule=key.schedule_id):
            async with self._turns:
                ready = await self.prepare(key, command)
            if ready is not None and not await self._wait(command):
                return
            async with self._turns:
                # Who had it before may be at it still: look again, for a conflict costs all that share the batch.
                await self.fire(key, command, ready if delivery.delivery == 1 else None)
        await delivery.ack()

    async def prepare(self, key: ScheduleKey, command: m.WakeSchedule) -> Ready | None:
        """Work out what this command will do at its time; None when the schedule has moved on. Raises Unavailable."""
        known = await self._log.schedule(key)
        if known is None or known.schedule.revision != command.revision:
            return None
        schedule = known.schedule
        if schedule.running:
            # What of it runs at that time is to be seen then.
            return Ready(known, None, None, None)
        flow = await self._log.flow(schedule.company_id, schedule.flow_id)
        event = firing.fire(schedule, now=command.at, flow=flow, ended=())
        if event is None:
            return Ready(known, flow, None, None)
        encoded = self._log.encoded(event, expected=known.sequence, command_id=fire_id(schedule))
        return Ready(known, flow, event, encoded)

    async def _wait(self, command: m.WakeSchedule) -> bool:
        """Keep a command until its time; False when it must be left to another scheduler."""
        while (left_s := (command.at - self._clock.now()).total_seconds()) > 0:
            if self._stopping:
                return False
            await asyncio.sleep(min(left_s, HEARTBEAT_S))
        return True

    async def fire(self, key: ScheduleKey, command: m.WakeSchedule, ready: Ready | None = None) -> None:
        """Do what this revision of a schedule has to do now; harmless when it was done before.

        `ready` is what was worked out a moment ago: the commit finds out when that is outdated. Raises
        Unavailable when the log does not answer: the command must come again.
        """
        for attempt in range(ATTEMPTS_MAX):
            if attempt > 0:
                ready = None
            known = await self._log.schedule(key) if ready is None else ready.known
            if known is None or known.schedule.revision < command.revision:
                known = await self._log.schedule(key, leader=True)
            if known is None:
                return
            if known.schedule.revision != command.revision:
                await self._repair(key, command.revision)
                return
            try:
                await self._decide(known, command, ready)
                return
            except (Conflict, Unavailable) as error:
                # Somebody else decided, or nobody knows whether this commit landed: the log tells.
                log.debug("fire_decided_again", schedule=key.schedule_id, reason=error.message)
        raise Unavailable(f"schedule {key.schedule_id} could not be decided in {ATTEMPTS_MAX} attempts")

    async def _decide(self, known: Known, command: m.WakeSchedule, ready: Ready | None) -> None:
        schedule = known.schedule
        # The bus's clock said that it is time; a reading of it may be a little behind.
        now = max(self._clock.now(), command.at)
        flow = await self._log.flow(schedule.company_id, schedule.flow_id)
        event, encoded = None, None
        if ready is not None and ready.flow == flow and (now - command.at).total_seconds() <= READY_S_MAX:
            event, encoded = ready.event, ready.encoded
        if event is None:
            ended = await self._log.ended(schedule, now=now) if schedule.running else ()
            event = firing.fire(schedule, now=now, flow=flow, ended=ended)
            if event is None:
                await self._look_later(known, now, ended)
                return
        id = fire_id(schedule)
        await self._log.commit(event, expected=known.sequence, command_id=id, encoded=encoded)
        metrics.FIRES.inc()
        await self._carry_out(event, encoded=encoded)

    async def _look_later(self, known: Known, now: datetime, ended: Collection[str]) -> None:
        left = tuple(entry for entry in known.schedule.running if entry.play_id not in ended)
        again = firing.wake_at(replace(known.schedule, running=left), now)
        if again is not None:
            await self._log.remind(known, again)

    async def _repair(self, key: ScheduleKey, revision: int) -> None:
        """Carry out again what the command of an earlier revision decided, if it decided anything."""
        found = await self._log.caused_by(key, f"fire-{key.schedule_id}-{revision}")
        if found is not None and isinstance(found.event, m.ScheduleFired):
            await self._carry_out(found.event, again=True)

    async def _carry_out(
        self, event: m.ScheduleFired, *, again: bool = False, encoded: Encoded | None = None
    ) -> None:
        # Starts first: a play that was started a moment ago may be among those that are told to end.
        for start in event.started:
            await self._log.start(event, start, again=again, encoded=encoded)
        for running in event.cancelled:
            await self._log.cancel(event, running)

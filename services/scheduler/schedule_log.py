"""Schedules and what they touch, as the log has them: read, committed together with their timer, and started."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from libs.common import codec, subjects, trace
from libs.common.atomic import Write
from libs.common.batches import Batches
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected, Stored
from libs.common.errors import Conflict, Unavailable
from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from libs.common.messages.flow import FlowEvent
from libs.common.messages.play import TERMINAL, CancelPlay, StartPlay
from libs.common.subjects import DEFINITIONS, SCHEDULES, ScheduleKey, plays_stream
from services.scheduler.firing import Flow

LEAD_S_MIN = 1.0
LEAD_S_MAX = 16.0
# A play of which the log knows nothing was started a moment ago, or so long ago that it is forgotten.
UNKNOWN_PLAY_S_MAX = 600.0


class Known(NamedTuple):
    """A schedule as the log has it: its last event, that event's place, and the command that caused it."""

    schedule: m.Schedule
    sequence: int
    command_id: str
    event: m.ScheduleEvent


class Encoded(NamedTuple):
    """The messages of a decision: the event and the timer it arms, and the start command of each play."""

    commit: tuple[Write, ...]
    starts: dict[str, Write]


def lead_s(schedule: m.Schedule) -> float:
    """Return how long before its time a schedule's timer fires: spread, and always the same for a schedule.

    A server that syncs before it acknowledges fires a thousand timers a second; those of one minute must not be due at
    once. A scheduler keeps the command until its time.
    """
    share = int(derived_id("lead", schedule.id)[:8], 16) / 2**32
    return LEAD_S_MIN + share * (LEAD_S_MAX - LEAD_S_MIN)


def fire_id(schedule: m.Schedule) -> str:
    """Return the id of the fire command that this revision of a schedule armed."""
    return f"fire-{schedule.id}-{schedule.revision}"


class ScheduleLog:
    """What a scheduler reads and writes."""

    def __init__(self, bus: Bus, shards: int) -> None:
        self._bus = bus
        self._shards = shards
        self._commits = Batches(bus, SCHEDULES)
        self._flows: dict[str, asyncio.Task[Flow | None]] = {}
        self._starts = [Batches(bus, plays_stream(shard)) for shard in range(shards)]

    async def schedule(self, key: ScheduleKey, *, leader: bool = False) -> Known | None:
        """Return a schedule, None when there never was one."""
        stored = await self._bus.last(SCHEDULES, key.events, leader=leader)
        return None if stored is None else _known(stored)

    async def caused_by(self, key: ScheduleKey, command_id: str) -> Known | None:
        """Return the event of a schedule that this command caused, None when the log has none (any more)."""
        for stored in reversed(await self._bus.load(SCHEDULES, key.events)):
            known = _known(stored)
            if known.command_id == command_id:
                return known
        return None

    async def flow(self, company_id: str, flow_id: str) -> Flow | None:
        """Return what starting a play of this flow needs, None when there is no such flow.

        Many may ask for one flow in the same moment: they share a read that begins after the last of them asked.
        """
        subject = subjects.definition("flow", company_id, flow_id)
        task = self._flows.get(subject)
        if task is None:
            task = self._flows[subject] = asyncio.create_task(self._read_flow(subject))
        return await asyncio.shield(task)

    async def _read_flow(self, subject: str) -> Flow | None:
        # A turn of the loop collects who is ready to ask; whoever asks from here on begins a read of its own.
        await asyncio.sleep(0)
        del self._flows[subject]
        stored = await self._bus.last(DEFINITIONS, subject)
        event = None if stored is None else codec.last_event(stored.data).data
        if stored is None or not isinstance(event, FlowEvent):
            return None
        flow = event.flow
        return Flow(flow.id, stored.sequence, flow.version, flow.enabled, flow.deleted)

    def encoded(self, event: m.ScheduleFired, *, expected: int, command_id: str) -> Encoded:
        """Return the messages that committing this event and starting its plays takes."""
        starts = {start.play_id: self._start_of(event, start) for start in event.started}
        return Encoded(_commit_of(event, expected, command_id), starts)

    async def commit(
        self, event: m.ScheduleEvent, *, expected: int, command_id: str, encoded: Encoded | None = None
    ) -> Known:
        """Store an event and, in the same atomic batch, the timer that it arms.

        What is to be done at once is a fire command instead of a timer. Raises Conflict when the last event is not at
        `expected`, Unavailable when the outcome is unknown.
        """
        writes = _commit_of(event, expected, command_id) if encoded is None else encoded.commit
        return Known(event.schedule, await self._commits.append(*writes), command_id, event)

    async def remind(self, known: Known, at: datetime) -> None:
        """Arm the timer of a schedule again, for another time; nothing happens when somebody else moved it on."""
        key = ScheduleKey(known.schedule.company_id, known.schedule.id)
        try:
            await self._bus.schedule(
                key.timer,
                _wake(known.schedule, at),
                at=at,
                target=key.fire,
                id=f"{fire_id(known.schedule)}-{at.timestamp():.3f}",
                expected=Expected(key.events, known.sequence),
            )
        except Conflict:
            return

    async def fire_now(self, schedule: m.Schedule, at: datetime, *, id: str) -> None:
        """Send the fire command of this revision without a timer."""
        key = ScheduleKey(schedule.company_id, schedule.id)
        await self._bus.append(key.fire, _wake(schedule, at), id=id, deadline_s=APPEND_DEADLINE_S)

    async def start(
        self,
        event: m.ScheduleFired,
        start: m.Start,
        *,
        again: bool = False,
        encoded: Encoded | None = None,
    ) -> None:
        """Start a play, if it was not started before; `again` tells that it most likely was.

        Many starts share an atomic batch, which one that is there already would spoil: a repeat goes by itself.
        """
        write = self._start_of(event, start) if encoded is None else encoded.starts[start.play_id]
        if not again:
            shard = subjects.shard_of(start.play_id, self._shards)
            with contextlib.suppress(Conflict, Unavailable):
                await self._starts[shard].append(write)
                return
        # It is there already, or nobody knows: the same id once more settles it.
        await self._bus.append(
            write.subject, write.data, id=write.headers["Nats-Msg-Id"], deadline_s=APPEND_DEADLINE_S
        )

    def _start_of(self, event: m.ScheduleFired, start: m.Start) -> Write:
        schedule = event.schedule
        key = subjects.play_key(schedule.company_id, start.flow_id, start.play_id, shards=self._shards)
        command = StartPlay(
            at=event.at,
            definition=start.definition,
            flow_version=start.flow_version,
            args=schedule.args,
            trigger="schedule",
            by=start.by,
            seed=derived_id("seed", start.play_id),
            schedule_id=schedule.id,
        )
        id = f"start-{start.play_id}"
        context = codec.Context(
            source=codec.source_of(schedule.company_id, start.flow_id),
            subject=start.play_id,
            correlation_id=start.play_id,
            causation_id=schedule.id,
            traceparent=trace.current_traceparent(),
        )
        data = codec.encode_message(command, id=id, context=context)
        return Write(key.command("start"), data, {"Nats-Msg-Id": id})

    async def cancel(self, event: m.ScheduleFired, running: m.Running) -> None:
        """Tell a play to end."""
        schedule = event.schedule
        key = subjects.play_key(schedule.company_id, running.flow_id, running.play_id, shards=self._shards)
        id = f"cancel-{running.play_id}-{schedule.revision}"
        context = codec.Context(
            source=codec.source_of(schedule.company_id, running.flow_id),
            subject=running.play_id,
            correlation_id=running.play_id,
            causation_id=schedule.id,
        )
        data = codec.encode_message(CancelPlay(at=event.at), id=id, context=context)
        await self._bus.append(key.command("cancel"), data, id=id, deadline_s=APPEND_DEADLINE_S)

    async def ended(self, schedule: m.Schedule, *, now: datetime) -> frozenset[str]:
        """Return those of a schedule's running plays that have ended."""
        return frozenset(
            [entry.play_id for entry in schedule.running if await self._has_ended(schedule, entry, now)]
        )

    async def _has_ended(self, schedule: m.Schedule, entry: m.Running, now: datetime) -> bool:
        key = subjects.play_key(schedule.company_id, entry.flow_id, entry.play_id, shards=self._shards)
        stored = await self._bus.last(plays_stream(key.shard), key.events)
        if stored is not None:
            return subjects.parse_play(stored.subject)[1] in TERMINAL
        return (now - entry.at).total_seconds() > UNKNOWN_PLAY_S_MAX


def _known(stored: Stored) -> Known:
    envelope = codec.last_event(stored.data)
    event = envelope.data
    if not isinstance(event, m.ScheduleEvent):
        raise msgspec.ValidationError(f"{envelope.type} on {stored.subject}")
    return Known(event.schedule, stored.sequence, envelope.id, event)


def _commit_of(event: m.ScheduleEvent, expected: int, command_id: str) -> tuple[Write, ...]:
    schedule = event.schedule
    key = ScheduleKey(schedule.company_id, schedule.id)
    data = codec.encode_message(event, id=command_id, context=_context(schedule, command_id))
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(expected),
        "Nats-Expected-Last-Subject-Sequence-Subject": key.events,
    }
    write = Write(key.events, data, headers)
    if schedule.wake_at is None:
        return (write,)
    return (write, _alarm(schedule, schedule.wake_at, now=event.at))


def _alarm(schedule: m.Schedule, at: datetime, *, now: datetime) -> Write:
    key = ScheduleKey(schedule.company_id, schedule.id)
    data = _wake(schedule, at)
    early = at - timedelta(seconds=lead_s(schedule))
    if early <= now:
        return Write(key.fire, data, {})
    headers = {
        "Nats-Schedule": "@at " + early.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "Nats-Schedule-Target": key.fire,
        # Else an age limit would delete it while it waits.
        "Nats-TTL": "never",
    }
    return Write(key.timer, data, headers)


def _wake(schedule: m.Schedule, at: datetime) -> bytes:
    command = m.WakeSchedule(at=at, revision=schedule.revision)
    id = fire_id(schedule)
    return codec.encode_message(command, id=id, context=_context(schedule, id))


def _context(schedule: m.Schedule, command_id: str) -> codec.Context:
    return codec.Context(
        source=codec.source_of(schedule.company_id, schedule.flow_id),
        subject=schedule.id,
        correlation_id=command_id,
        causation_id=command_id,
        traceparent=trace.current_traceparent(),
    )

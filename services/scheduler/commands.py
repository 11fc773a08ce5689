"""Answers what people ask of schedules: load, decide, append with the timer, answer (as the store does for flows)."""

import itertools
import re

import msgspec
import structlog

from libs.common import ids
from libs.common.errors import Conflict, HeadraceError, Invalid, Unavailable
from libs.common.messages import schedule as m
from libs.common.messages.query import Reply
from libs.common.messages.views import schedule_view
from libs.common.subjects import SCHEDULES, ScheduleKey
from services.scheduler import firing
from services.scheduler.fires import Fires, Log, Time
from services.scheduler.occurrences import occurrences
from services.scheduler.schedule import PREVIEW_MAX, Given, decide, existing
from services.scheduler.schedule_log import Known, fire_id

ATTEMPTS_MAX = 20
_COMMAND_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

log = structlog.get_logger(__name__)


class Commands:
    """Answers commands on schedules."""

    def __init__(self, schedules: Log, fires: Fires, clock: Time) -> None:
        self._log = schedules
        self._fires = fires
        self._clock = clock

    async def handle(self, command: m.AnyScheduleCommand) -> Reply:
        """Decide a command once, however often it arrives, and return the schedule after it.

        Raises what the rules raise, and Unavailable when NATS does not answer or others write all the time.
        """
        key = _key(command)
        await self._settle(key, command)
        done = await self._done(key, command)
        if isinstance(done.event, m.RunRequested):
            # The fire command is in the log with the event; doing it here as well saves the caller the wait.
            await self._fires.fire(key, m.WakeSchedule(at=done.event.at, revision=done.schedule.revision))
        log.info("schedule_command_handled", command=type(command).__name__, schedule=key.schedule_id)
        data: msgspec.Struct = schedule_view(done.schedule)
        if isinstance(done.event, m.RunRequested):
            data = m.RunAccepted(play_id=done.event.play_id)
        return Reply(data=msgspec.Raw(msgspec.json.encode(data)), sequences={SCHEDULES: done.sequence})

    async def preview(self, command: m.PreviewSchedule) -> list[m.Preview]:
        """Return the next occurrences and when each will start, jitter included. Raises NotFound, Invalid."""
        known = await self._log.schedule(_key(command))
        schedule = existing(command, known.schedule if known else None)
        if not 1 <= command.count <= PREVIEW_MAX:
            raise Invalid(f"count must be from 1 to {PREVIEW_MAX}")
        found = itertools.islice(occurrences(schedule.timing, self._clock.now()), command.count)
        return [m.Preview(at=at, due_at=firing.due_at(schedule, at)) for at in found]

    async def _settle(self, key: ScheduleKey, command: m.AnyScheduleCommand) -> None:
        """Decide what is due by the old rules before they change."""
        known = await self._log.schedule(key, leader=True)
        if known is None or known.command_id == command.id or known.schedule.wake_at is None:
            return
        if known.schedule.wake_at <= self._clock.now():
            # In the log before it is done: its timer, which may not have fired yet, is about to be replaced.
            at = known.schedule.wake_at
            await self._log.fire_now(known.schedule, at, id=f"{fire_id(known.schedule)}-settle")
            await self._fires.fire(key, m.WakeSchedule(at=at, revision=known.schedule.revision))

    async def _done(self, key: ScheduleKey, command: m.AnyScheduleCommand) -> Known:
        for _ in range(ATTEMPTS_MAX):
            known = await self._log.schedule(key, leader=True)
            if known is not None and known.command_id == command.id:
                return known
            try:
                event = decide(command, known.schedule if known else None, await self._given(command, known))
                expected = known.sequence if known else 0
                return await self._log.commit(event, expected=expected, command_id=command.id)
            except (Conflict, Unavailable):
                earlier = await self._log.caused_by(key, command.id)
            except HeadraceError:
                # A repeated command may well be refused: what it asked for has been done, by itself.
                earlier = await self._log.caused_by(key, command.id)
                if earlier is None:
                    raise
            if earlier is not None:
                return earlier
        raise Unavailable(f"schedule {key.schedule_id} is being changed by others all the time; try again")

    async def _given(self, command: m.AnyScheduleCommand, known: Known | None) -> Given:
        flow_id = None
        if isinstance(command, m.CreateSchedule | m.UpdateSchedule):
            flow_id = command.fields.flow_id
        elif isinstance(command, m.RunSchedule) and known is not None:
            flow_id = known.schedule.flow_id
        flow = None
        if isinstance(flow_id, str) and ids.is_id(flow_id):
            flow = await self._log.flow(command.company_id, flow_id)
        play_id = ids.derived_id("run", command.company_id, command.schedule_id, command.id)
        return Given(now=self._clock.now(), flow=flow, play_id=play_id)


def _key(command: m.AnyScheduleCommand) -> ScheduleKey:
    # All become part of a subject or a header.
    if not (ids.is_id(command.company_id) and ids.is_id(command.schedule_id)):
        raise Invalid("companyId and scheduleId must be ids")
    if not _COMMAND_ID.fullmatch(command.id):
        raise Invalid("the command's id must match ^[A-Za-z0-9_.-]{1,64}$")
    return ScheduleKey(command.company_id, command.schedule_id)

"""Schedules: what people define, the facts about it, and what they ask for (spec flow8 section 15, docs/schedules.md).

Each event carries the whole schedule after it, so the last message on `evt.schedule.<company>.<id>` is the schedule.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.origin import Fact, Wish

MisfirePolicy = Literal["skip", "last", "all"]
OverlapPolicy = Literal["allow", "skip", "queue", "cancelRunning"]
SkipReason = Literal["misfire", "overlap", "queue-full", "flow-disabled", "flow-deleted"]

MISFIRE_POLICIES: tuple[MisfirePolicy, ...] = ("skip", "last", "all")
OVERLAP_POLICIES: tuple[OverlapPolicy, ...] = ("allow", "skip", "queue", "cancelRunning")


class Timing(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """When a schedule occurs: a cron expression or an interval, its zone, its bounds, and what is left out.

    Exactly one of `cron` and `every` is set. `anchor` is where the intervals are counted from. `end_at` is exclusive.
    An exclusion is a date in the zone (`2026-12-25`) or a cron expression whose matches are left out.
    """

    cron: str = ""
    every: str = ""
    timezone: str = "UTC"
    anchor: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    exclusions: tuple[str, ...] = ()


class Waiting(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An occurrence that will run and was not started yet: a run now, or one that waits for the last play."""

    occurrence: datetime
    play_id: str
    manual: bool = False
    by: str = ""


class Running(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play that was started and is not known to have ended."""

    play_id: str
    flow_id: str
    at: datetime


class Backfill(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A range of past occurrences that is being started; `next_at` is the first that was not decided yet."""

    id: str
    from_at: datetime
    to_at: datetime
    next_at: datetime
    parallel: bool = True
    total: int = 0
    started: int = 0


class Schedule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The whole schedule: what people set, and how far it is.

    `revision` counts its events; a timer names the one that armed it. `wake_at` is when the timer is due, `next_at` the
    next occurrence; jitter lies between them.
    """

    id: str
    company_id: str
    name: str
    flow_id: str
    timing: Timing
    created_at: datetime
    updated_at: datetime
    enabled: bool = True
    deleted: bool = False
    note: str = ""
    args: dict[str, Any] = {}
    misfire_policy: MisfirePolicy = "skip"
    misfire_window_seconds: int = 86_400
    overlap_policy: OverlapPolicy = "allow"
    jitter_seconds: int = 0
    revision: int = 1
    next_at: datetime | None = None
    wake_at: datetime | None = None
    last_run_at: datetime | None = None
    last_occurrence: datetime | None = None
    last_play_id: str = ""
    waiting: tuple[Waiting, ...] = ()
    running: tuple[Running, ...] = ()
    backfill: Backfill | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A play that a schedule starts: everything its start command is made of, so that any repeat makes the same."""

    occurrence: datetime
    play_id: str
    flow_id: str
    definition: int
    flow_version: int
    by: str = ""


class Skipped(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Occurrences in a row that were not started, and why. `count` is exact up to a limit (docs/schedules.md)."""

    reason: SkipReason
    first: datetime
    last: datetime
    count: int


# ── commands ────────────────────────────────────────────────────────────────────────────────────────


class WakeSchedule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The timer that this revision of a schedule armed is due (on `cmd.schedule.<company>.<id>.fire`)."""

    at: datetime
    revision: int


class ScheduleFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a schedule; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    flow_id: str | UnsetType = UNSET
    cron: str | None | UnsetType = UNSET
    every: str | None | UnsetType = UNSET
    timezone: str | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    args: dict[str, Any] | None | UnsetType = UNSET
    misfire_policy: str | None | UnsetType = UNSET
    misfire_window_seconds: int | None | UnsetType = UNSET
    overlap_policy: str | None | UnsetType = UNSET
    jitter_seconds: int | None | UnsetType = UNSET
    start_at: datetime | None | UnsetType = UNSET
    end_at: datetime | None | UnsetType = UNSET
    exclusions: list[str] | None | UnsetType = UNSET


class ScheduleCommand(Wish, frozen=True, kw_only=True):
    """A wish about a schedule."""

    schedule_id: str


class CreateSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.create"):
    """Define a new schedule."""

    fields: ScheduleFields


class UpdateSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.update"):
    """Change fields of a schedule (shallow merge, Q4)."""

    fields: ScheduleFields


class DeleteSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.delete"):
    """Delete a schedule softly; its plays stay readable."""


class PauseSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.pause"):
    """Let nothing occur until it is resumed."""

    note: str = ""


class ResumeSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.resume"):
    """Let it occur again, from now on."""

    note: str = ""


class RunSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.run"):
    """Start one play now, whatever the clock and the overlap policy say."""


class BackfillSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.backfill"):
    """Start the occurrences of a past range, `to_at` exclusive, all at once or each after the end of the last."""

    from_at: datetime
    to_at: datetime
    parallel: bool = True


class CancelBackfill(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.backfill.cancel"):
    """Start no more occurrences of the range that is being backfilled; what was started runs on."""


class PreviewSchedule(ScheduleCommand, frozen=True, kw_only=True, tag="schedule.preview"):
    """Tell the next occurrences after `at`; changes nothing."""

    count: int


AnyScheduleCommand = (
    CreateSchedule
    | UpdateSchedule
    | DeleteSchedule
    | PauseSchedule
    | ResumeSchedule
    | RunSchedule
    | BackfillSchedule
    | CancelBackfill
    | PreviewSchedule
)


class Preview(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One coming occurrence, and when its play will be started: jitter lies between them."""

    at: datetime
    due_at: datetime


class RunAccepted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The play that a run now starts."""

    play_id: str


# ── events (on `evt.schedule.<company>.<id>`) ───────────────────────────────────────────────────────


class ScheduleEvent(Fact, frozen=True, kw_only=True):
    """A fact about a schedule, with the whole schedule after it."""

    schedule: Schedule


class ScheduleCreated(ScheduleEvent, frozen=True, kw_only=True):
    """A schedule was defined."""


class ScheduleUpdated(ScheduleEvent, frozen=True, kw_only=True):
    """Fields of a schedule were changed."""

    changed: tuple[str, ...] = ()


class ScheduleDeleted(ScheduleEvent, frozen=True, kw_only=True):
    """A schedule was deleted (softly)."""


class SchedulePaused(ScheduleEvent, frozen=True, kw_only=True):
    """Nothing occurs until it is resumed."""


class ScheduleResumed(ScheduleEvent, frozen=True, kw_only=True):
    """It occurs again, from now on."""


class RunRequested(ScheduleEvent, frozen=True, kw_only=True):
    """Somebody asked for a play now."""

    play_id: str


class BackfillRequested(ScheduleEvent, frozen=True, kw_only=True):
    """Somebody asked for a range of past occurrences."""


class BackfillCancelled(ScheduleEvent, frozen=True, kw_only=True):
    """Somebody ended a backfill before its end; `started` of its occurrences had been started."""

    started: int


class ScheduleFired(ScheduleEvent, frozen=True, kw_only=True):
    """Time was turned into plays: these were started, these left out, and these plays told to end before."""

    started: tuple[Start, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    cancelled: tuple[Running, ...] = ()


AnyScheduleEvent = (
    ScheduleCreated
    | ScheduleUpdated
    | ScheduleDeleted
    | SchedulePaused
    | ScheduleResumed
    | RunRequested
    | BackfillRequested
    | BackfillCancelled
    | ScheduleFired
)

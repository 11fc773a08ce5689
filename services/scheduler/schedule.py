"""The rules for schedules, pure: a command and the schedule as it is give the next event, or a refusal (section 15)."""

from datetime import datetime
from typing import Any, assert_never

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages import schedule as m
from services.scheduler import cron
from services.scheduler.firing import QUEUE_MAX, Flow, wake_at
from services.scheduler.occurrences import INSTANT, next_after, occurrences

NAME_CHARS_MAX = 200
NOTE_CHARS_MAX = 1_000
ARGS_BYTES_MAX = 65_536
JITTER_S_MAX = 86_400
MISFIRE_WINDOW_S_MAX = 366 * 86_400
BACKFILL_OCCURRENCES_MAX = 10_000
PREVIEW_MAX = 100
_TIMING_FIELDS = ("cron", "every", "timezone", "start_at", "end_at", "exclusions")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision reads beside the schedule: the bus's time, the flow it names, and an id for a play."""

    now: datetime
    flow: Flow | None = None
    play_id: str = ""


def decide(command: m.AnyScheduleCommand, schedule: m.Schedule | None, given: Given) -> m.AnyScheduleEvent:
    """Return the event that follows.

    Raises Invalid naming the field, NotFound (SCHEDULE_NOT_FOUND), or Refused.
    """
    if isinstance(command, m.CreateSchedule):
        return _create(command, schedule, given)
    known = existing(command, schedule)
    match command:
        case m.UpdateSchedule():
            return _update(command, known, given)
        case m.DeleteSchedule():
            gone = replace(
                known, deleted=True, enabled=False, next_at=None, waiting=(), running=(), backfill=None
            )
            return m.ScheduleDeleted(at=given.now, **_asked(command), schedule=_after(gone, given))
        case m.PauseSchedule():
            paused = replace(known, enabled=False, note=_note(command.note), next_at=None)
            return m.SchedulePaused(at=given.now, **_asked(command), schedule=_after(paused, given))
        case m.ResumeSchedule():
            resumed = replace(known, enabled=True, note=_note(command.note))
            if not known.enabled:
                resumed = replace(resumed, next_at=next_after(known.timing, given.now))
            return m.ScheduleResumed(at=given.now, **_asked(command), schedule=_after(resumed, given))
        case m.RunSchedule():
            return _run(command, known, given)
        case m.BackfillSchedule():
            return _backfill(command, known, given)
        case m.CancelBackfill():
            return _cancel_backfill(command, known, given)
        case m.PreviewSchedule():
            raise AssertionError("a preview changes nothing and is not decided")
        case _:
            assert_never(command)


def existing(command: m.ScheduleCommand, schedule: m.Schedule | None) -> m.Schedule:
    """Return the schedule that a command is about. Raises NotFound when there is none, or it is deleted."""
    if schedule is None or schedule.deleted:
        raise NotFound(f"there is no schedule {command.schedule_id}", code="SCHEDULE_NOT_FOUND")
    return schedule


def _create(command: m.CreateSchedule, schedule: m.Schedule | None, given: Given) -> m.ScheduleCreated:
    if schedule is not None:
        raise Refused(f"there is a schedule {command.schedule_id} already")
    fields = command.fields
    if fields.name is UNSET:
        raise Invalid("name is required")
    if fields.flow_id is UNSET:
        raise Invalid("flowId is required")
    blank = m.Schedule(
        id=command.schedule_id,
        company_id=command.company_id,
        name="",
        flow_id="",
        timing=m.Timing(anchor=given.now),
        created_at=given.now,
        updated_at=given.now,
        revision=0,
    )
    made = _merged(blank, fields, given)
    cron.check(made.timing)
    if made.enabled:
        made = replace(made, next_at=next_after(made.timing, given.now))
    return m.ScheduleCreated(at=given.now, **_asked(command), schedule=_after(made, given))


def _update(command: m.UpdateSchedule, schedule: m.Schedule, given: Given) -> m.ScheduleUpdated:
    made = _merged(schedule, command.fields, given)
    cron.check(made.timing)
    if not made.enabled:
        made = replace(made, next_at=None)
    elif made.timing != schedule.timing or not schedule.enabled:
        made = replace(made, next_at=next_after(made.timing, given.now))
    given_fields = msgspec.structs.asdict(command.fields)
    changed = tuple(name for name, value in given_fields.items() if value is not UNSET)
    made = replace(made, updated_at=given.now)
    return m.ScheduleUpdated(at=given.now, **_asked(command), schedule=_after(made, given), changed=changed)


def _run(command: m.RunSchedule, schedule: m.Schedule, given: Given) -> m.RunRequested:
    if given.flow is None or given.flow.deleted or not given.flow.enabled:
        raise Refused(f"flow {schedule.flow_id} is disabled or deleted", code="FLOW_DISABLED")
    if len(schedule.waiting) >= 2 * QUEUE_MAX:
        raise Refused("too many runs wait already")
    entry = m.Waiting(occurrence=given.now, play_id=given.play_id, manual=True, by=command.by)
    asked = replace(schedule, waiting=(*schedule.waiting, entry))
    return m.RunRequested(
        at=given.now, **_asked(command), schedule=_after(asked, given), play_id=given.play_id
    )


def _backfill(command: m.BackfillSchedule, schedule: m.Schedule, given: Given) -> m.BackfillRequested:
    if schedule.backfill is not None:
        raise Refused(f"schedule {schedule.id} is being backfilled already")
    if command.to_at <= command.from_at:
        raise Invalid("to must be after from")
    if command.to_at > given.now:
        raise Invalid("to must not be in the future")
    if not schedule.enabled:
        raise Refused(f"schedule {schedule.id} is paused; resume it first")
    found, first = 0, None
    for occurrence in occurrences(schedule.timing, command.from_at - INSTANT, command.to_at - INSTANT):
        first = first or occurrence
        found += 1
        if found > BACKFILL_OCCURRENCES_MAX:
            raise Invalid(
                f"a backfill holds at most {BACKFILL_OCCURRENCES_MAX} occurrences; shorten the range"
            )
    if first is None:
        raise Invalid("there is no occurrence between from and to")
    begun = m.Backfill(
        id=command.id,
        from_at=command.from_at,
        to_at=command.to_at,
        next_at=first,
        parallel=command.parallel,
        total=found,
    )
    after = _after(replace(schedule, backfill=begun), given)
    return m.BackfillRequested(at=given.now, **_asked(command), schedule=after)


def _cancel_backfill(command: m.CancelBackfill, schedule: m.Schedule, given: Given) -> m.BackfillCancelled:
    if schedule.backfill is None:
        raise Refused(f"schedule {schedule.id} is not being backfilled")
    after = _after(replace(schedule, backfill=None), given)
    return m.BackfillCancelled(
        at=given.now, **_asked(command), schedule=after, started=schedule.backfill.started
    )


def _asked(command: m.ScheduleCommand) -> dict[str, Any]:
    """Return what an event says of who asked for it, and from where."""
    return {"by": command.by, "origin": command.origin}


def _after(schedule: m.Schedule, given: Given) -> m.Schedule:
    counted = replace(schedule, revision=schedule.revision + 1)
    return replace(counted, wake_at=wake_at(counted, given.now))


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────


def _merged(schedule: m.Schedule, fields: m.ScheduleFields, given: Given) -> m.Schedule:
    new: dict[str, Any] = {}
    if fields.name is not UNSET:
        new["name"] = _name(fields.name)
    if fields.flow_id is not UNSET:
        if given.flow is None or given.flow.deleted:
            raise Invalid(f"flowId: there is no flow {fields.flow_id[:80]}")
        new["flow_id"] = given.flow.id
    if fields.enabled is not UNSET:
        new["enabled"] = fields.enabled
        new["note"] = ""
    if fields.args is not UNSET:
        new["args"] = _args(fields.args or {})
    if fields.misfire_policy is not UNSET:
        new["misfire_policy"] = _one_of(fields.misfire_policy or "skip", "misfirePolicy", m.MISFIRE_POLICIES)
    if fields.overlap_policy is not UNSET:
        new["overlap_policy"] = _one_of(fields.overlap_policy or "allow", "overlapPolicy", m.OVERLAP_POLICIES)
    if fields.misfire_window_seconds is not UNSET:
        window = 86_400 if fields.misfire_window_seconds is None else fields.misfire_window_seconds
        new["misfire_window_seconds"] = _whole(window, "misfireWindowSeconds", 0, MISFIRE_WINDOW_S_MAX)
    if fields.jitter_seconds is not UNSET:
        new["jitter_seconds"] = _whole(fields.jitter_seconds or 0, "jitterSeconds", 0, JITTER_S_MAX)
    return replace(schedule, timing=_timing(schedule.timing, fields, given), **new)


def _timing(timing: m.Timing, fields: m.ScheduleFields, given: Given) -> m.Timing:
    new: dict[str, Any] = {}
    for name in _TIMING_FIELDS:
        value = getattr(fields, name)
        if value is not UNSET:
            new[name] = value
    if not new:
        return timing
    # One replaces the other; with both given the check refuses.
    if new.get("cron") and "every" not in new:
        new["every"] = ""
    if new.get("every") and "cron" not in new:
        new["cron"] = ""
    for name in ("cron", "every"):
        if name in new:
            new[name] = (new[name] or "").strip()
    if "timezone" in new:
        new["timezone"] = new["timezone"] or "UTC"
    if "exclusions" in new:
        new["exclusions"] = tuple(new["exclusions"] or ())
    for name, shown in (("start_at", "startAt"), ("end_at", "endAt")):
        if new.get(name) is not None and new[name].tzinfo is None:
            raise Invalid(f"{shown}: expected an RFC 3339 timestamp with its zone, such as Z")
    changed = replace(timing, **new)
    return timing if changed == timing else replace(changed, anchor=given.now.replace(microsecond=0))


def _name(value: str) -> str:
    if not value.strip():
        raise Invalid("name must not be empty")
    if len(value) > NAME_CHARS_MAX:
        raise Invalid(f"name holds at most {NAME_CHARS_MAX} characters, not {len(value)}")
    return value


def _note(value: str) -> str:
    if len(value) > NOTE_CHARS_MAX:
        raise Invalid(f"note holds at most {NOTE_CHARS_MAX} characters, not {len(value)}")
    return value


def _args(value: dict[str, Any]) -> dict[str, Any]:
    size = len(msgspec.json.encode(value))
    if size > ARGS_BYTES_MAX:
        raise Invalid(f"args hold at most {ARGS_BYTES_MAX} bytes of JSON, not {size}")
    return value


def _one_of(value: str, field: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Invalid(f"{field} must be one of {', '.join(allowed)}")
    return value


def _whole(value: int, field: str, low: int, high: int) -> int:
    if not low <= value <= high:
        raise Invalid(f"{field} must be from {low} to {high}, not {value}")
    return value

"""What queries answer: plays and their layers as the read models hold them, and the HTTP API shows them."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.play import Hold
from libs.common.messages.schedule import Schedule


class PlayView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A play (spec flow8 section 8); `duration` in milliseconds, null until it ended.

    A page of a list leaves out big values, and says so: `argsTruncated`, `outTruncated`. The play itself has them.
    `queue_position` is there for one play in line for a slot: its place, 1 for the next; null when it has its slot.
    `unlisted` is there when the history of loops was lost before anybody read it: how many runs of each step ended in
    which state, beside those that are listed.
    """

    id: str
    flow_id: str
    state: str
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    duration: int | None = None
    args: dict[str, Any] = {}
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    failed_ref: str | None = None
    flow_version: int = 1
    trigger: str = "api"
    parent_play_id: str | None = None
    schedule_id: str | None = None
    hold: Hold | None = None
    replay_of: str | None = None
    retries: int = 0
    args_truncated: bool | UnsetType = UNSET
    out_truncated: bool | UnsetType = UNSET
    queue_position: int | None | UnsetType = UNSET
    unlisted: dict[str, dict[str, int]] | UnsetType = UNSET


class PlayLayerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step of a play; `layer_id` is the flowlet's id (Q22).

    In a loop `iteration` is the number of the item, in nested loops the list of numbers, the outermost first.
    A list of several steps leaves out big outputs, and says so (`outTruncated`); one named by `ref` has them.
    """

    id: str
    layer_id: str
    ref: str
    state: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration: int | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    attempts: int = 0
    approval: dict[str, Any] | None = None
    iteration: int | list[int] | None = None
    reused: bool = False
    out_truncated: bool | UnsetType = UNSET


class BackfillView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A backfill under way: its range (`to` exclusive), how many occurrences it has, how many are started."""

    from_: datetime = msgspec.field(name="from")
    to: datetime
    parallel: bool
    total: int
    started: int


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A schedule (spec flow8 section 15); `queued` occurrences wait for the end of the last play."""

    id: str
    name: str
    flow_id: str
    cron: str | None
    every: str | None
    timezone: str
    enabled: bool
    note: str
    args: dict[str, Any]
    misfire_policy: str
    misfire_window_seconds: int
    overlap_policy: str
    jitter_seconds: int
    start_at: datetime | None
    end_at: datetime | None
    exclusions: tuple[str, ...]
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_play_id: str | None
    queued: int
    backfill: BackfillView | None
    created_at: datetime
    updated_at: datetime


class TimerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that is waited for: when it is due (null: until somebody decides), what for, and of what."""

    kind: str
    why: str
    due_at: datetime | None
    flow_id: str
    play_id: str | None = None
    ref: str | None = None
    schedule_id: str | None = None


def schedule_view(schedule: Schedule) -> ScheduleView:
    """Return a schedule as the HTTP API shows it."""
    timing, backfill = schedule.timing, schedule.backfill
    return ScheduleView(
        id=schedule.id,
        name=schedule.name,
        flow_id=schedule.flow_id,
        cron=timing.cron or None,
        every=timing.every or None,
        timezone=timing.timezone,
        enabled=schedule.enabled,
        note=schedule.note,
        args=schedule.args,
        misfire_policy=schedule.misfire_policy,
        misfire_window_seconds=schedule.misfire_window_seconds,
        overlap_policy=schedule.overlap_policy,
        jitter_seconds=schedule.jitter_seconds,
        start_at=timing.start_at,
        end_at=timing.end_at,
        exclusions=timing.exclusions,
        next_run_at=schedule.next_at,
        last_run_at=schedule.last_run_at,
        last_play_id=schedule.last_play_id or None,
        queued=sum(1 for entry in schedule.waiting if not entry.manual),
        backfill=None
        if backfill is None
        else BackfillView(
            from_=backfill.from_at,
            to=backfill.to_at,
            parallel=backfill.parallel,
            total=backfill.total,
            started=backfill.started,
        ),
        created_at=schedule.created_at,
        updated_at=schedule.updated_at,
    )

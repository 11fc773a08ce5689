"""Answers `qry.schedule`: schedules, and all that is waited for (spec flow8 section 15)."""

from collections.abc import Sequence

import msgspec

from libs.common.errors import NotFound
from libs.common.ids import is_id
from libs.common.messages.query import (
    GetSchedule,
    ListOverdueSchedules,
    ListSchedules,
    ListTimers,
    OverdueSchedule,
    Page,
    Query,
    Rows,
)
from libs.common.messages.views import ScheduleView, TimerView
from services.store.database import Database, Row
from services.store.progress import Progress

AFTER_WAIT_S_MAX = 1.0
PAGE_SIZE_MAX = 1_000
PAGE_NUMBER_MAX = 10_000_000
OVERDUE_MAX = 10_000
# A deleted flow takes its schedules out of service at once, whatever they look like (spec flow8 section 15).
_SOURCE = "schedules s left join flows f on f.id = s.flow_id"
_COLUMNS = "s.shown, coalesce(f.deleted, false) as orphaned"
_TIMERS = """
    select 'schedule' as kind, s.next_at as due_at, s.flow_id, null as play_id, null as ref, s.id as schedule_id,
        s.name as name, null as waits_for, 0 as attempts
    from schedules s left join flows f on f.id = s.flow_id
    where s.company_id = $1 and not s.deleted and s.enabled and s.next_at is not null
        and not coalesce(f.deleted, false) and ($2::text is null or s.flow_id = $2)
    union all
    select 'play', l.until, p.flow_id, p.id, l.ref, p.schedule_id, l.ref, l.waits_for, l.attempts
    from plays p join layers l on l.play_id = p.id
    where p.company_id = $1 and p.state in ('WAIT', 'DEFERRED') and l.state in ('WAIT', 'DEFERRED')
        and ($2::text is null or p.flow_id = $2)
"""
_WHY = {
    "approval": "step {name} waits for an approval",
    "delay": "step {name} waits for its delay to pass",
    "defer": "step {name} is deferred",
    "kv": "step {name} waits for KV entries, which nobody answers for",
    "kv-filters": "step {name} waits for KV entries, which nobody answers for",
    "retry": "step {name} is tried again after {attempts} failed attempts",
}


class Schedules:
    """Reads schedules and timers."""

    def __init__(self, database: Database, progress: Progress) -> None:
        self._database = database
        self._progress = progress

    async def list(self, query: ListSchedules) -> Rows:
        """Return a page of a company's schedules, oldest first."""
        await self._caught_up(query)
        where = """
            where s.company_id = $1 and not s.deleted and ($2::text is null or s.flow_id = $2)
                and ($3::boolean is null or (s.enabled and not coalesce(f.deleted, false)) = $3)
        """
        args = (query.company_id, query.flow_id, query.enabled)
        size, offset = _page(query.page)
        sql = f"select {_COLUMNS} from {_SOURCE} {where} order by s.created_at, s.id limit $4 offset $5"  # noqa: S608
        rows = await self._database.rows(sql, *args, size, offset)
        counted = await self._database.row(f"select count(*) from {_SOURCE} {where}", *args)  # noqa: S608
        return Rows([_view(row) for row in rows], 0 if counted is None else int(counted["count"]))

    async def get(self, query: GetSchedule) -> ScheduleView:
        """Return one schedule. Raises NotFound (SCHEDULE_NOT_FOUND)."""
        await self._caught_up(query)
        row = None
        if is_id(query.schedule_id):
            sql = f"select {_COLUMNS} from {_SOURCE} where s.company_id = $1 and s.id = $2 and not s.deleted"  # noqa: S608
            row = await self._database.row(sql, query.company_id, query.schedule_id)
        if row is None:
            raise NotFound(f"there is no schedule {query.schedule_id[:80]}", code="SCHEDULE_NOT_FOUND")
        return _view(row)

    async def timers(self, query: ListTimers) -> Rows:
        """Return a page of what a company waits for, the next first; what has no time comes last."""
        await self._caught_up(query)
        size, offset = _page(query.page)
        args = (query.company_id, query.flow_id)
        order = "order by due_at nulls last, play_id, ref, schedule_id limit $3 offset $4"
        rows = await self._database.rows(f"{_TIMERS} {order}", *args, size, offset)
        counted = await self._database.row(f"select count(*) from ({_TIMERS}) as timers", *args)  # noqa: S608
        return Rows([_timer(row) for row in rows], 0 if counted is None else int(counted["count"]))

    async def overdue(self, query: ListOverdueSchedules) -> Sequence[OverdueSchedule]:
        """Return schedules of all companies that should have woken before a time, the longest overdue first."""
        rows = await self._database.rows(
            "select company_id, id from schedules where wake_at < $1 order by wake_at limit $2",
            query.before,
            max(0, min(query.limit, OVERDUE_MAX)),
        )
        return [OverdueSchedule(company_id=row["company_id"], schedule_id=row["id"]) for row in rows]

    async def _caught_up(self, query: Query) -> None:
        for stream, sequence in query.after.items():
            await self._progress.reached(stream, sequence, timeout_s=AFTER_WAIT_S_MAX)


def _page(page: Page) -> tuple[int, int]:
    size = max(1, min(page.size, PAGE_SIZE_MAX))
    return size, max(0, min(page.page, PAGE_NUMBER_MAX)) * size


def _view(row: Row) -> ScheduleView:
    view = msgspec.json.decode(row["shown"], type=ScheduleView)
    if row["orphaned"]:
        return msgspec.structs.replace(view, enabled=False, next_run_at=None)
    return view


def _timer(row: Row) -> TimerView:
    why = "the next occurrence of schedule {name}"
    kind = row["kind"]
    if kind == "play":
        kind = row["waits_for"] or "wait"
        why = _WHY.get(kind, "step {name} waits")
    return TimerView(
        kind=kind,
        why=why.format(name=row["name"], attempts=row["attempts"]),
        due_at=row["due_at"],
        flow_id=row["flow_id"],
        play_id=row["play_id"],
        ref=row["ref"],
        schedule_id=row["schedule_id"],
    )

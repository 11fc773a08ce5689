"""Answers `qry.schedule`: schedules, and all that is waited for (spec flow8 section 15)."""

from collections.abc import Sequence

import msgspec

from libs.common.errors import NotFound
from libs.common.messages.query import (
    GetSchedule,
    ListOverdueSchedules,
    ListSchedules,
    ListTimers,
    OverdueSchedule,
    Rows,
)
from libs.common.messages.views import ScheduleView, TimerView
from services.store.database import Database, Row
from services.store.listing import Listing, Where

OVERDUE_MAX = 10_000
# A deleted flow takes its schedules out of service at once, whatever they look like (spec flow8 section 15).
_SOURCE = "schedules s left join flows f on f.id = s.flow_id"
_COLUMNS = "s.shown, coalesce(f.deleted, false) as orphaned"
# Who reads from it names the company; the planner takes that into both halves.
_TIMERS = """
    select s.company_id, 'schedule' as kind, s.next_at as due_at, s.flow_id, null as play_id, null as ref,
        s.id as schedule_id, s.name as name, null as waits_for, 0 as attempts
    from schedules s left join flows f on f.id = s.flow_id
    where not s.deleted and s.enabled and s.next_at is not null and not coalesce(f.deleted, false)
    union all
    select p.company_id, 'play', l.until, p.flow_id, p.id, l.ref, p.schedule_id, l.ref, l.waits_for, l.attempts
    from plays p join layers l on l.play_id = p.id
    where p.state in ('WAIT', 'DEFERRED') and l.state in ('WAIT', 'DEFERRED')
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

    def __init__(self, database: Database, listing: Listing) -> None:
        self._database = database
        self._listing = listing

    async def list(self, query: ListSchedules) -> Rows:
        """Return a page of a company's schedules, oldest first."""
        await self._listing.caught_up(query)
        where = (
            _of(query.company_id)
            .add("s.flow_id = ", query.flow_id)
            .add("(s.enabled and not coalesce(f.deleted, false)) = ", query.enabled)
        )
        rows, total = await self._listing.page(_COLUMNS, _SOURCE, where, "s.created_at, s.id", query.page)
        return Rows([_view(row) for row in rows], total)

    async def get(self, query: GetSchedule) -> ScheduleView:
        """Return one schedule. Raises NotFound (SCHEDULE_NOT_FOUND)."""
        await self._listing.caught_up(query)
        where = _of(query.company_id).add("s.id = ", query.schedule_id)
        row = await self._listing.row(_COLUMNS, _SOURCE, where)
        if row is None:
            raise NotFound(f"there is no schedule {query.schedule_id[:80]}", code="SCHEDULE_NOT_FOUND")
        return _view(row)

    async def timers(self, query: ListTimers) -> Rows:
        """Return a page of what a company waits for, the next first; what has no time comes last."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("flow_id = ", query.flow_id)
        order = "due_at nulls last, play_id, ref, schedule_id"
        rows, total = await self._listing.page("*", f"({_TIMERS}) as timers", where, order, query.page)
        return Rows([_timer(row) for row in rows], total)

    async def overdue(self, query: ListOverdueSchedules) -> Sequence[OverdueSchedule]:
        """Return schedules of all companies that should have woken before a time, the longest overdue first."""
        rows = await self._database.rows(
            "select company_id, id from schedules where wake_at < $1 order by wake_at limit $2",
            query.before,
            max(0, min(query.limit, OVERDUE_MAX)),
        )
        return [OverdueSchedule(company_id=row["company_id"], schedule_id=row["id"]) for row in rows]


def _of(company_id: str) -> Where:
    return Where(company_id, column="s.company_id").add("s.deleted = ", value=False)


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

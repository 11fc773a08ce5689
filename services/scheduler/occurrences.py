"""When a schedule occurs, pure: the instants of a cron expression or an interval in a time zone (docs/schedules.md).

Cron fields are matched on local time by cronsim, without its own daylight-saving rules; ours stand here. A local time
that does not exist is skipped to the next match, one that comes twice counts the first time (spec flow8 section 15).
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from libs.common.messages.schedule import Timing
from services.scheduler.cron import (
    COMPILED_MAX,
    Exclusions,
    Interval,
    exclusions_of,
    interval_of,
    parsed,
    zone_of,
)

INSTANT = timedelta(microseconds=1)
# Candidates that one search may look at: past that, exclusions are taken to leave nothing.
CANDIDATES_MAX = 20_000
# A look back for the last occurrence widens in these steps.
_LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 1440, 1 / 24, 1, 32, 367, 366 * 9))


class _Calendar(NamedTuple):
    timing: Timing
    zone: ZoneInfo
    exclusions: Exclusions
    interval: Interval | None


class _Key(NamedTuple):
    cron: str
    every: str
    timezone: str
    anchor: datetime | None
    start_at: datetime | None
    end_at: datetime | None
    exclusions: tuple[str, ...]


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(key: _Key) -> _Calendar:
    timing = Timing(**key._asdict())
    interval = interval_of(timing.every) if timing.every else None
    return _Calendar(timing, zone_of(timing.timezone), exclusions_of(timing.exclusions), interval)


@lru_cache(maxsize=COMPILED_MAX)
def _next_after(key: _Key, after: datetime) -> datetime | None:
    # Schedules by the thousand have the same expression and are due in the same second.
    return next(occurrences(_compiled(key).timing, after), None)


def _calendar(timing: Timing) -> _Calendar:
    return _compiled(_key(timing))


def _key(timing: Timing) -> _Key:
    return _Key(
        timing.cron,
        timing.every,
        timing.timezone,
        timing.anchor,
        timing.start_at,
        timing.end_at,
        timing.exclusions,
    )


def next_after(timing: Timing, after: datetime) -> datetime | None:
    """Return the first occurrence later than `after`, in UTC; None when there is none any more."""
    return _next_after(_key(timing), after)


def occurrences(timing: Timing, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """Return the occurrences later than `after`, in order, up to and including `until`."""
    calendar = _calendar(timing)
    if timing.start_at is not None and after < timing.start_at:
        after = timing.start_at - INSTANT
    looked_at = 0
    while looked_at < CANDIDATES_MAX:
        looked_at += 1
        at = _candidate(calendar, after)
        beyond = timing.end_at is not None and at is not None and at >= timing.end_at
        if at is None or beyond or (until is not None and at > until):
            return
        excluded_until = _excluded(calendar, at)
        if excluded_until is None:
            yield at
            after, looked_at = at, 0
        else:
            after = max(at, excluded_until)


def last_before(timing: Timing, before: datetime) -> datetime | None:
    """Return the last occurrence not later than `before`; None when there was none in the last nine years."""
    for look_back in _LOOK_BACK:
        last = None
        for last in occurrences(timing, before - look_back, before):  # noqa: B007 - the last one is wanted
            pass
        if last is not None:
            return last
    return None


def _candidate(calendar: _Calendar, after: datetime) -> datetime | None:
    if calendar.interval is not None:
        return _next_interval(calendar.timing, calendar.interval, after)
    return _next_cron(calendar.timing.cron, calendar.zone, after)


def _next_interval(timing: Timing, interval: Interval, after: datetime) -> datetime | None:
    anchor = interval.start or timing.start_at or timing.anchor
    assert anchor is not None, "an interval is counted from somewhere"
    number = 0 if after < anchor else (after - anchor) // interval.every + 1
    if interval.times and number >= interval.times:
        return None
    try:
        return anchor + number * interval.every
    except OverflowError:
        return None


def _next_cron(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    walk = _walk(cron, after.astimezone(zone).replace(tzinfo=None))
    try:
        for local in walk:
            # fold=0: of a time that comes twice the first one.
            at = local.replace(tzinfo=zone).astimezone(UTC)
            exists = at.astimezone(zone).replace(tzinfo=None) == local
            if exists and at > after:
                return at
    except OverflowError:
        # The calendar ends with the year 9999.
        return None
    return None


def _walk(cron: str, local: datetime) -> Iterator[datetime]:
    read = parsed(cron)
    walk: CronSim = CronSim.__new__(CronSim)
    # Its parsing takes ten times as long as a step; everything it parsed is read, never written.
    walk.__dict__.update(read.__dict__)
    walk.dt = local.replace(microsecond=0, fold=0)
    return walk


def _excluded(calendar: _Calendar, at: datetime) -> datetime | None:
    """Return None when this occurrence counts, else a time before which there is none either."""
    exclusions = calendar.exclusions
    if not (exclusions.dates or exclusions.days or exclusions.times):
        return None
    local = at.astimezone(calendar.zone)
    day = local.date()
    if day in exclusions.dates or any(_on_day(cron, day) for cron in exclusions.days):
        midnight = datetime(day.year, day.month, day.day, tzinfo=calendar.zone) + timedelta(days=1)
        return midnight.astimezone(UTC) - INSTANT
    for cron, seconds in exclusions.times:
        if _matches(cron, local, seconds):
            # Without seconds it leaves out the whole minute.
            return at if seconds else at.replace(second=59, microsecond=0)
    return None


def _on_day(cron: CronSim, day: date) -> bool:
    return day.month in cron.months and cron.match_day(day)


def _matches(cron: CronSim, local: datetime, seconds: bool) -> bool:
    return (
        local.minute in cron.minutes
        and local.hour in cron.hours
        and (not seconds or local.second in cron.seconds)
        and _on_day(cron, local.date())
    )

"""Cron and zone maths against an oracle that walks the real time line and knows nothing of the code under test.

The oracle goes through every instant of a span in UTC, looks at the wall clock there, and takes each wall time that
matches the first time it is shown. So gaps are skipped and repetitions count once by construction.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Invalid
from libs.common.messages.schedule import Timing
from services.scheduler.cron import check
from services.scheduler.occurrences import last_before, next_after, occurrences

MINUTE = timedelta(minutes=1)
ZONES = sorted(
    zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "System"))
)


def field(text: str, low: int, high: int) -> set[int]:
    """Read lists, ranges and steps of one field."""
    found: set[int] = set()
    for term in text.split(","):
        body, _, step = term.partition("/")
        if body == "*":
            first, last = low, high
        elif "-" in body:
            first, last = (int(part) for part in body.split("-"))
        else:
            first = int(body)
            last = high if step else first
        found.update(range(first, last + 1, int(step or 1)))
    return found


def shown_at(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    """Return each minute's instant and what the clock on the wall shows there."""
    at = start
    while at < end:
        yield at, at.astimezone(zone).replace(tzinfo=None, fold=0)
        at += MINUTE


def oracle(cron: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    minute, hour, day, month, weekday = cron.split()
    minutes, hours, months = field(minute, 0, 59), field(hour, 0, 23), field(month, 1, 12)
    days, weekdays = field(day, 1, 31), {number % 7 for number in field(weekday, 0, 7)}
    either = not (day.startswith("*") or weekday.startswith("*"))
    seen: set[datetime] = set()
    found = []
    # A day earlier: what was shown before the span must not count as the first time inside.
    for at, wall in shown_at(start - timedelta(days=1), end, zone):
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            continue
        by_day, by_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        on_day = (by_day or by_weekday) if either else (by_day and by_weekday)
        if not on_day or wall in seen:
            continue
        seen.add(wall)
        if at >= start:
            found.append(at)
    return found


def terms(low: int, high: int) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    spans = st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}")
    one = st.one_of(value.map(str), spans, st.integers(1, 20).map(lambda step: f"*/{step}"))
    return st.one_of(
        st.just("*"), one, st.lists(st.one_of(value.map(str), spans), min_size=2, max_size=3).map(",".join)
    )


CRONS = st.tuples(terms(0, 59), terms(0, 23), terms(1, 31), terms(1, 12), terms(0, 7)).map(" ".join)


def transitions(zone: ZoneInfo, first: int, last: int) -> list[datetime]:
    """Return the hours of these years in which the zone's offset changes."""
    at, end, found = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC), []
    step, before = timedelta(days=3), datetime(first, 1, 1, tzinfo=UTC).astimezone(zone).utcoffset()
    while at < end:
        at += step
        offset = at.astimezone(zone).utcoffset()
        if offset != before:
            found.append(at - step / 2)
            before = offset
    return found


def never(timing: Timing) -> bool:
    """Tell whether a timing is refused because its day is in no month."""
    try:
        check(timing)
    except Invalid as error:
        if "there is no such day" not in error.message:
            raise
        return True
    return False


def between(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    """Return the occurrences from `start` up to, not including, `end`."""
    instant = timedelta(microseconds=1)
    return [] if never(timing) else list(occurrences(timing, start - instant, end - instant))


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Return instants from the first of these years to the last."""
    seconds = [int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last)]
    return st.integers(*seconds).map(lambda second: datetime.fromtimestamp(second, UTC))


CHANGING = [(zone, at) for zone in ZONES for at in transitions(ZoneInfo(zone), 2009, 2012)[:2]]


@settings(max_examples=120)
@given(cron=CRONS, change=st.sampled_from(CHANGING), moved=st.integers(-600, 600))
def test_around_every_change_of_every_zone_the_oracle_agrees(
    cron: str, change: tuple[str, datetime], moved: int
) -> None:
    name, around = change
    start = around - timedelta(days=2) + moved * MINUTE
    end = around + timedelta(days=2) + moved * MINUTE
    assert between(Timing(cron=cron, timezone=name), start, end) == oracle(cron, ZoneInfo(name), start, end)


@settings(max_examples=3)
@given(
    cron=CRONS,
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Gaza"]),
)
def test_over_years_the_oracle_agrees(cron: str, zone: str) -> None:
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    assert between(Timing(cron=cron, timezone=zone), start, end) == oracle(cron, ZoneInfo(zone), start, end)


@given(cron=CRONS, at=moments(1990, 2050))
def test_the_next_occurrence_is_later_and_nothing_lies_between(cron: str, at: datetime) -> None:
    timing = Timing(cron=cron, timezone="America/Sao_Paulo")
    following = None if never(timing) else next_after(timing, at)
    if following is None:
        return
    assert following > at
    assert next_after(timing, following - timedelta(microseconds=1)) == following
    if (following - at).days < 366 * 8:
        assert last_before(timing, following) == following


@given(
    seconds=st.integers(1, 10_000_000),
    anchor=moments(1990, 2050),
    at=moments(1980, 2060),
)
def test_an_interval_occurs_at_whole_multiples_from_its_anchor(
    seconds: int, anchor: datetime, at: datetime
) -> None:
    following = next_after(Timing(every=f"{seconds}s", anchor=anchor), at)
    assert following is not None
    assert following > at
    assert (following - anchor) % timedelta(seconds=seconds) == timedelta(0)
    assert following == anchor or following - timedelta(seconds=seconds) <= at


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
def test_a_day_of_every_hour_has_each_wall_hour_once(zone: str) -> None:
    start = datetime(2011, 12, 1, tzinfo=UTC) if zone == "Pacific/Apia" else datetime(2026, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=366)
    walls = [
        at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        for at in occurrences(Timing(cron="0 * * * *", timezone=zone), start, end)
    ]
    assert len(walls) == len(set(walls))
    assert walls == sorted(walls)

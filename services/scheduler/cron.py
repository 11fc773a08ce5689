"""When a schedule occurs, pure: cron expressions and intervals in a time zone (docs/schedules.md).

Cron fields are matched on local time by cronsim, without its own daylight-saving rules; ours stand here. A local time
that does not exist is skipped to the next match, one that comes twice counts the first time (spec flow8 section 15).
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from libs.common.errors import Invalid
from libs.common.messages.schedule import Timing

CRON_CHARS_MAX = 200
EXCLUSIONS_MAX = 100
INTERVAL_S_MIN = 1
INTERVAL_S_MAX = 366 * 86_400
# Candidates that one search may look at: past that, exclusions are taken to leave nothing.
CANDIDATES_MAX = 20_000
COMPILED_MAX = 20_000
INSTANT = timedelta(microseconds=1)

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ANY = datetime(2000, 1, 1)  # noqa: DTZ001 - cronsim parses only together with a time; local times have no zone here
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PLAIN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.IGNORECASE)
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_REPEAT = re.compile(r"R(\d*)/([^/]*)/(P[^/]+)")
# A look back for the last occurrence widens in these steps.
_LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 1440, 1 / 24, 1, 32, 367, 366 * 9))


class _Field(NamedTuple):
    what: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


class Interval(NamedTuple):
    """A fixed distance; `start` is set by the ISO form, `times` limits how often it occurs (0: no limit)."""

    every: timedelta
    start: datetime | None = None
    times: int = 0


class Exclusions(NamedTuple):
    """What is left out: dates, crons that leave out whole days, and others (whether they name seconds)."""

    dates: frozenset[date]
    days: tuple[CronSim, ...]
    times: tuple[tuple[CronSim, bool], ...]


# ── reading expressions ─────────────────────────────────────────────────────────────────────────────


def zone_of(name: str) -> ZoneInfo:
    """Return an IANA zone. Raises Invalid for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(f"timezone: {name[:60]!r} is no IANA time zone such as Europe/Berlin") from error


@lru_cache(maxsize=COMPILED_MAX)
def _parsed(expression: str) -> CronSim:
    text = ALIASES.get(expression.strip().lower(), expression)
    if text.startswith("@"):
        known = ", ".join(ALIASES)
        raise Invalid(f'"{expression[:40]}": unknown alias; there are {known}')
    if len(text) > CRON_CHARS_MAX:
        raise Invalid(f"a cron expression holds at most {CRON_CHARS_MAX} characters, not {len(text)}")
    parts = text.upper().split()
    if len(parts) not in (5, 6):
        raise Invalid(
            f'"{expression}": a cron expression has five fields (minute hour day-of-month month day-of-week), '
            f"or six with seconds first, not {len(parts)}"
        )
    fields = _FIELDS[6 - len(parts) :]
    for number, (part, field) in enumerate(zip(parts, fields, strict=True), start=1):
        problem = _problem(part, field)
        if problem is not None:
            raise Invalid(f'"{expression}": field {number}: {problem}')
    try:
        parsed = CronSim(" ".join(parts), _ANY)
        if next(CronSim(" ".join(parts), _ANY), None) is None:
            raise Invalid(f'"{expression}": there is no such day')
    except CronSimError as error:
        raise Invalid(f'"{expression}": there is no such day') from error
    return parsed


def _problem(part: str, field: _Field) -> str | None:
    """Return what is wrong with one field of a cron expression, None when nothing is."""
    for term in part.split(","):
        body, slash, step = term.partition("/")
        if slash and (not step.isascii() or not step.isdigit() or int(step) == 0):
            return f"step {step!r} must be a whole number from 1"
        problem = _term_problem(body, field)
        if problem is not None:
            return problem
        if slash and body in {"L", "LW"}:
            return f"{body} takes no step"
    return None


def _term_problem(body: str, field: _Field) -> str | None:
    if body == "*":
        return None
    if field.what == "day of month" and body in {"L", "LW"}:
        return None
    if field.what == "day of week":
        day, hash_, number = body.partition("#")
        if hash_:
            if number not in ("1", "2", "3", "4", "5"):
                return f"{body} must end in #1 to #5"
            return _value_problem(day, field)
        if body.endswith("L") and body != "L" and not body.isalpha():
            return _value_problem(body[:-1], field)
    first, dash, last = body.partition("-")
    problem = _value_problem(first, field)
    if problem is not None or not dash:
        return problem
    problem = _value_problem(last, field)
    if problem is None and _value(last, field) < _value(first, field):
        return f"range {body} ends before it begins"
    return problem


def _value_problem(text: str, field: _Field) -> str | None:
    if text in field.names:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 4:
        if field.low <= int(text) <= field.high:
            return None
        return f"{text} is not a {field.what} ({field.low} to {field.high})"
    if text.isalpha() and field.names:
        return f"unknown name {text}"
    return f"{text!r} is not a {field.what}" if text else f"a {field.what} is missing"


def _value(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    return int(text)


@lru_cache(maxsize=COMPILED_MAX)
def interval_of(text: str) -> Interval:
    """Return an interval from `15m`, `1h30m`, `PT15M`, `R/2026-01-01T00:00:00Z/PT15M` or `R5/…`.

    Raises Invalid naming what is wrong. Days are 24 hours; months and years have no fixed length and are refused.
    """
    plain = text.strip()
    if repeat := _REPEAT.fullmatch(plain.upper()):
        count, start, duration = repeat.groups()
        if count and int(count) == 0:
            raise Invalid(f'every: "{text}": R0 never occurs')
        return Interval(_duration(duration, text), _start(start, text), int(count) if count else 0)
    return Interval(_duration(plain, text))


def _start(start: str, text: str) -> datetime | None:
    if not start:
        return None
    try:
        at = datetime.fromisoformat(start)
    except ValueError as error:
        raise Invalid(f'every: "{text}": {start!r} is no RFC 3339 timestamp') from error
    if at.tzinfo is None:
        raise Invalid(f'every: "{text}": {start!r} needs a zone, such as Z')
    return at.astimezone(UTC)


def _duration(duration: str, text: str) -> timedelta:
    iso, plain = _ISO.fullmatch(duration.upper()), _PLAIN.fullmatch(duration)
    if iso and any(iso.groups()):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in iso.groups())
    elif plain and any(plain.groups()):
        weeks = 0
        days, hours, minutes, seconds = (int(part or 0) for part in plain.groups())
    elif re.match(r"P[^T]*[YM]", duration.upper()):
        raise Invalid(f'every: "{text}": months and years have no fixed length; use cron')
    else:
        raise Invalid(f'every: "{text[:60]}": expected a duration such as 15m, 1h30m or PT15M')
    seconds = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if not INTERVAL_S_MIN <= seconds <= INTERVAL_S_MAX:
        raise Invalid(f'every: "{text}": must be from {INTERVAL_S_MIN} s to {INTERVAL_S_MAX // 86_400} days')
    return timedelta(seconds=seconds)


def exclusions_of(given: tuple[str, ...]) -> Exclusions:
    """Return exclusions in a form that is fast to ask. Raises Invalid for what is neither a date nor a cron."""
    dates, days, times = set(), [], []
    for entry in given:
        if _DATE.fullmatch(entry):
            try:
                dates.add(date.fromisoformat(entry))
            except ValueError as error:
                raise Invalid(f'exclusions: "{entry}" is no date') from error
            continue
        try:
            parsed = _parsed(entry)
        except Invalid as error:
            raise Invalid(f"exclusions: {error.message}") from error
        if all(part == "*" for part in parsed.parts[1:3]) and len(entry.split()) == 5:
            days.append(parsed)
        else:
            times.append((parsed, len(entry.split()) == 6))
    return Exclusions(frozenset(dates), tuple(days), tuple(times))


def check(timing: Timing) -> None:
    """Raise Invalid, naming the field, when a timing cannot be."""
    if bool(timing.cron) == bool(timing.every):
        raise Invalid("cron: exactly one of cron and every must be given")
    zone_of(timing.timezone)
    if timing.cron:
        try:
            _parsed(timing.cron)
        except Invalid as error:
            raise Invalid(f"cron: {error.message}") from error
    else:
        interval_of(timing.every)
    if len(timing.exclusions) > EXCLUSIONS_MAX:
        raise Invalid(f"exclusions: at most {EXCLUSIONS_MAX}, not {len(timing.exclusions)}")
    exclusions_of(timing.exclusions)
    if timing.start_at and timing.end_at and timing.end_at <= timing.start_at:
        raise Invalid("endAt must be after startAt")


# ── occurrences ─────────────────────────────────────────────────────────────────────────────────────


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
    parsed = _parsed(cron)
    walk: CronSim = CronSim.__new__(CronSim)
    # Its parsing takes ten times as long as a step; everything it parsed is read, never written.
    walk.__dict__.update(parsed.__dict__)
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

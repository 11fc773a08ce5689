"""Reading what people write for when a schedule occurs, pure: cron expressions, intervals, exclusions, zones.

cronsim reads the fields; what is wrong with one is said here, by its number (docs/schedules.md).
"""

import re
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
COMPILED_MAX = 20_000

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
def parsed(expression: str) -> CronSim:
    """Return a cron expression, read. Raises Invalid naming the field that is wrong."""
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
        read = CronSim(" ".join(parts), _ANY)
        if next(CronSim(" ".join(parts), _ANY), None) is None:
            raise Invalid(f'"{expression}": there is no such day')
    except CronSimError as error:
        raise Invalid(f'"{expression}": there is no such day') from error
    return read


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
        return f"{text} is no {field.what} ({field.low} to {field.high})"
    if text.isalpha() and field.names:
        return f"unknown name {text}"
    return f"{text!r} is no {field.what}" if text else f"a {field.what} is missing"


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
            read = parsed(entry)
        except Invalid as error:
            raise Invalid(f"exclusions: {error.message}") from error
        if all(part == "*" for part in read.parts[1:3]) and len(entry.split()) == 5:
            days.append(read)
        else:
            times.append((read, len(entry.split()) == 6))
    return Exclusions(frozenset(dates), tuple(days), tuple(times))


def check(timing: Timing) -> None:
    """Raise Invalid, naming the field, when a timing cannot be."""
    if bool(timing.cron) == bool(timing.every):
        raise Invalid("cron: exactly one of cron and every must be given")
    zone_of(timing.timezone)
    if timing.cron:
        try:
            parsed(timing.cron)
        except Invalid as error:
            raise Invalid(f"cron: {error.message}") from error
    else:
        interval_of(timing.every)
    if len(timing.exclusions) > EXCLUSIONS_MAX:
        raise Invalid(f"exclusions: at most {EXCLUSIONS_MAX}, not {len(timing.exclusions)}")
    exclusions_of(timing.exclusions)
    if timing.start_at and timing.end_at and timing.end_at <= timing.start_at:
        raise Invalid("endAt must be after startAt")

"""Dates as text: RFC 3339 in and out, and Go's reference-time layouts (`2006-01-02`), in UTC unless a zone is named."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from libs.expressions.errors import Fault
from libs.expressions.limits import (
    DAYS_MAX,
    LAYOUT_CHARS_MAX,
    LAYOUTS_CACHED_MAX,
    ZONE_CHARS_MAX,
    ZONES_CACHED_MAX,
)
from libs.expressions.values import kind_of, number_of

_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)
_MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()  # noqa: SIM905

_Piece = Callable[[datetime], str]


def rfc3339(moment: datetime) -> str:
    """`2025-01-31T12:00:00Z`: whole seconds, as everywhere in the API (flow8 section 2)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def date_of(value: Any) -> datetime:
    """A moment from an RFC 3339 text (a bare date is midnight, no zone is UTC) or unix seconds; others are a Fault."""
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if found:
            return _from_match(found)
        seconds = number_of(value)
        if seconds is not None:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Fault("the date is not in the calendar") from error
    raise Fault(f"a date is an RFC 3339 text or unix seconds, this is {kind_of(value)}")


def add_days(moment: datetime, days: float) -> datetime:
    """`moment` plus so many days of 24 hours, fractions and negative ones included. Raises Fault past the calendar."""
    if abs(days) > DAYS_MAX:
        raise Fault("the date is not in the calendar")
    try:
        return moment + timedelta(days=days)
    except OverflowError as error:
        raise Fault("the date is not in the calendar") from error


def add_months(moment: datetime, months: int) -> datetime:
    """The same day and time so many months later, the last day of a month that has no such day.

    Raises Fault past the calendar.
    """
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not MINYEAR <= year <= MAXYEAR:
        raise Fault("the date is not in the calendar")
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def format_date(layout: str, moment: datetime, zone: tzinfo = UTC) -> str:
    """The moment in a layout of Go's `time.Format`. Raises Fault for a layout too long, a moment past the calendar."""
    if len(layout) > LAYOUT_CHARS_MAX:
        raise Fault(f"a layout has at most {LAYOUT_CHARS_MAX} characters")
    try:
        there = moment.astimezone(zone)
    except OverflowError as error:
        raise Fault("the date is not in the calendar") from error
    return "".join([piece if isinstance(piece, str) else piece(there) for piece in _pieces(layout)])


@lru_cache(maxsize=ZONES_CACHED_MAX)
def zone_of(name: str) -> tzinfo:
    """The IANA time zone of this name. Raises Fault when there is none."""
    try:
        return ZoneInfo(name[:ZONE_CHARS_MAX])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Fault("this is no IANA time zone such as Europe/Berlin") from error


def _from_match(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micros = int((fraction or "").ljust(6, "0")[:6])
    offset = timedelta()
    if zone and zone not in "Zz":
        offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[4:]))
    return (
        datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micros, UTC
        )
        - offset
    )


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _year_day(moment: datetime) -> int:
    return moment.timetuple().tm_yday


# The longer spellings first, as below.
_OFFSETS = (
    "-070000",
    "-07:00:00",
    "-0700",
    "-07:00",
    "-07",
    "Z070000",
    "Z07:00:00",
    "Z0700",
    "Z07:00",
    "Z07",
)


def _offset_as(token: str) -> _Piece:
    mark = ":" if ":" in token else ""
    parts = len(token.replace(":", "")) // 2  # hours, minutes, seconds

    def offset(moment: datetime) -> str:
        seconds = int((moment.utcoffset() or timedelta()).total_seconds())
        if seconds == 0 and token[0] == "Z":
            return "Z"
        shown = (abs(seconds) // 3600, abs(seconds) // 60 % 60, abs(seconds) % 60)[:parts]
        return ("-" if seconds < 0 else "+") + mark.join(f"{part:02}" for part in shown)

    return offset


# Go's reference time, Mon Jan 2 15:04:05 MST 2006; longer spellings stand before their beginnings.
_TOKENS: tuple[tuple[str, str | _Piece], ...] = (
    ("January", lambda t: _MONTHS[t.month - 1]),
    ("Jan", lambda t: _MONTHS[t.month - 1][:3]),
    ("Monday", lambda t: _DAYS[t.weekday()]),
    ("Mon", lambda t: _DAYS[t.weekday()][:3]),
    ("MST", lambda t: t.tzname() or ""),
    ("002", lambda t: f"{_year_day(t):03}"),
    ("01", lambda t: f"{t.month:02}"),
    ("02", lambda t: f"{t.day:02}"),
    ("03", lambda t: f"{_hour12(t):02}"),
    ("04", lambda t: f"{t.minute:02}"),
    ("05", lambda t: f"{t.second:02}"),
    ("06", lambda t: f"{t.year % 100:02}"),
    ("15", lambda t: f"{t.hour:02}"),
    ("1", lambda t: str(t.month)),
    ("2006", lambda t: f"{t.year:04}"),
    ("2", lambda t: str(t.day)),
    ("__2", lambda t: f"{_year_day(t):3}"),
    ("_2006", lambda t: f"_{t.year:04}"),
    ("_2", lambda t: f"{t.day:2}"),
    ("3", lambda t: str(_hour12(t))),
    ("4", lambda t: str(t.minute)),
    ("5", lambda t: str(t.second)),
    ("PM", lambda t: "PM" if t.hour >= 12 else "AM"),
    ("pm", lambda t: "pm" if t.hour >= 12 else "am"),
    *((token, _offset_as(token)) for token in _OFFSETS),
)
_NOT_BEFORE_LOWER_CASE = ("Jan", "Mon")  # "Month" is a word, not a weekday
_FRACTION = re.compile(r"[.,](?:0+|9+)(?!\d)", re.ASCII)


@lru_cache(maxsize=LAYOUTS_CACHED_MAX)
def _pieces(layout: str) -> tuple[str | _Piece, ...]:
    pieces: list[str | _Piece] = []
    at = 0
    while at < len(layout):
        token, piece = _piece_at(layout, at)
        pieces.append(piece)
        at += len(token)
    return tuple(pieces)


def _piece_at(layout: str, at: int) -> tuple[str, str | _Piece]:
    fraction = _FRACTION.match(layout, at)
    if fraction:
        return fraction[0], _fraction(fraction[0])
    for token, piece in _TOKENS:
        if layout.startswith(token, at):
            after = layout[at + len(token) : at + len(token) + 1]
            if token in _NOT_BEFORE_LOWER_CASE and "a" <= after <= "z":
                continue
            return token, piece
    return layout[at], layout[at]


def _fraction(token: str) -> _Piece:
    mark, digits = token[0], len(token) - 1

    def zeros(moment: datetime) -> str:
        return mark + f"{moment.microsecond:06}".ljust(digits, "0")[:digits]

    def nines(moment: datetime) -> str:
        shown = zeros(moment)[1:].rstrip("0")
        return mark + shown if shown else ""

    return zeros if token[1] == "0" else nines

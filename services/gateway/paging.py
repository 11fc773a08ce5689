"""Query parameters that lists share: pages, states, switches, times (spec flow8 sections 2 and 8)."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from libs.common.errors import Invalid
from libs.common.messages.query import Page

SIZE_DEFAULT = 25
SIZE_MAX = 100
# Past any list; keeps page times size inside 64 bits on its way to SQL.
PAGE_MAX = 10**15
_SURROGATE = re.compile("[\ud800-\udfff]")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
# A `+` that a client did not escape arrives as a space.
_LOST_PLUS = re.compile(r" (?=\d{2}:\d{2}$)")


class Envelope(msgspec.Struct, frozen=True):
    """One page of a list."""

    data: list[Any]
    total: int
    page: int
    size: int
    pages: int


def page_of(query: Mapping[str, str]) -> Page:
    """Return the page asked for; a size above SIZE_MAX is clamped (Q5). Raises Invalid for what is no number."""
    page = count(query, "page", default=0, minimum=0)
    size = count(query, "size", default=SIZE_DEFAULT, minimum=1)
    return Page(page=min(page, PAGE_MAX), size=min(size, SIZE_MAX))


def envelope(data: list[Any], *, total: int, page: Page) -> Envelope:
    """Return a page in its envelope; `pages` is 0 for an empty list."""
    return Envelope(data=data, total=total, page=page.page, size=page.size, pages=-(-total // page.size))


def count(query: Mapping[str, str], name: str, *, default: int, minimum: int) -> int:
    """Return a parameter that is a whole number. Raises Invalid when it is none, or below the minimum."""
    value = query.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > 30:
        raise Invalid(f"{name}: expected a whole number, at least {minimum}")
    number = int(value)
    if number < minimum:
        raise Invalid(f"{name}: expected a whole number, at least {minimum}")
    return number


def text(query: Mapping[str, str], name: str) -> str | None:
    """Return a parameter, None when absent or empty. Raises Invalid for U+0000 and for what is no UTF-8."""
    value = query.get(name)
    if value is not None and ("\x00" in value or _SURROGATE.search(value)):
        raise Invalid(f"{name}: expected UTF-8 without the character U+0000")
    return value or None


def switch(query: Mapping[str, str], name: str) -> bool | None:
    """Return a parameter that is true or false, None when absent. Raises Invalid for anything else."""
    match text(query, name):
        case None:
            return None
        case "true":
            return True
        case "false":
            return False
        case _:
            raise Invalid(f"{name}: expected true or false")


def choice(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    """Return a parameter that is one of some words, None when absent. Raises Invalid for another."""
    value = text(query, name)
    if value is not None and value not in allowed:
        raise Invalid(f"{name}: expected one of {', '.join(allowed)}")
    return value


def moment(query: Mapping[str, str], name: str) -> datetime | None:
    """Return the instant at which a span begins: a date (its midnight, UTC) or a timestamp; None when absent.

    Raises Invalid when it is neither.
    """
    value = text(query, name)
    return None if value is None else _instant(name, value)


def moment_after(query: Mapping[str, str], name: str) -> datetime | None:
    """Return the first instant after a span that includes its last day, or last second; None when absent.

    Raises Invalid as `moment`.
    """
    value = text(query, name)
    if value is None:
        return None
    instant = _instant(name, value)
    if _DATE.fullmatch(value):
        step = timedelta(days=1)
    else:
        # Times are shown in whole seconds, so a shown time means all of its second.
        step = timedelta(seconds=1) if instant.microsecond == 0 else timedelta(microseconds=1)
    try:
        return instant + step
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _instant(name: str, value: str) -> datetime:
    try:
        if _DATE.fullmatch(value):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        instant = msgspec.convert(_LOST_PLUS.sub("+", value), datetime)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        # msgspec.ValidationError is a ValueError.
        raise Invalid(f"{name}: expected a date such as 2026-01-31, or an RFC 3339 timestamp") from error

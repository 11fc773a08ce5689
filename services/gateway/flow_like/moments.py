"""Times as callers may write them: a timestamp, or seconds since 1970."""

from datetime import UTC, datetime

import msgspec

from libs.common.errors import Invalid


def moment_of(given: int | str | None, field: str) -> datetime | None:
    """Return the time, None for none. Raises Invalid naming the field."""
    if given is None:
        return None
    try:
        if isinstance(given, int):
            return datetime.fromtimestamp(given, UTC)
        moment = msgspec.convert(given, datetime)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Invalid(f"{field}: expected an RFC 3339 timestamp, or seconds since 1970") from error

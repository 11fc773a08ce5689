"""Secrets kept out of sight: what a step read as a secret does not stand in its errors and log lines (D14)."""

from collections.abc import Iterable, Iterator
from typing import Any

MASK = "***"
# A shorter one would be found everywhere, and its mask would tell what it is.
SECRET_CHARS_MIN = 4


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the texts in a secret value that are long enough to be masked."""
    match value:
        case str():
            if len(value) >= SECRET_CHARS_MIN:
                yield value
        case dict():
            for part in value.values():
                yield from secrets_in(part)
        case list():
            for part in value:
                yield from secrets_in(part)
        case bool() | None:
            return
        case _:
            yield from secrets_in(str(value))


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets."""
    # The longest first: one may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text

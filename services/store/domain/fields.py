"""Checks of single fields: each returns the value, or raises Invalid with a sentence that names the field."""

from typing import Any

from libs.common.errors import Invalid

SECOND_MS = 1_000
TIMEOUT_S_MAX = 7 * 86_400
WAIT_MS_MAX = TIMEOUT_S_MAX * SECOND_MS
NAME_CHARS_MAX = 200


def given(value: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an object that say something: null is a field that was left out."""
    return {name: inner for name, inner in value.items() if inner is not None}


def text(value: Any, field: str, *, chars_max: int = NAME_CHARS_MAX) -> str:
    """Return a text that is not longer than allowed."""
    if not isinstance(value, str):
        raise Invalid(f"{field} must be a string")
    if len(value) > chars_max:
        raise Invalid(f"{field} holds at most {chars_max} characters, not {len(value)}")
    return value


def name(value: Any, field: str = "name") -> str:
    """Return a name: a text that is not blank."""
    if not text(value, field).strip():
        raise Invalid(f"{field} must not be empty")
    return str(value)


def whole(value: Any, field: str, *, low: int = 0, high: int) -> int:
    """Return a whole number within its bounds, both included."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{field} must be a whole number")
    if not low <= value <= high:
        raise Invalid(f"{field} must be from {low} to {high}, not {value}")
    return value


def number(value: Any, field: str, *, low: float, high: float) -> float:
    """Return a number within its bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"{field} must be a number")
    if not low <= value <= high:
        raise Invalid(f"{field} must be from {low:g} to {high:g}, not {value:g}")
    return float(value)


def boolean(value: Any, field: str) -> bool:
    """Return true or false; nothing else counts as either."""
    if not isinstance(value, bool):
        raise Invalid(f"{field} must be true or false")
    return value


def one_of(value: Any, field: str, allowed: tuple[str, ...]) -> str:
    """Return one of the allowed words."""
    if value not in allowed:
        raise Invalid(f"{field} must be one of {', '.join(allowed)}")
    return str(value)


def text_map(value: Any, field: str, *, entries_max: int) -> dict[str, str]:
    """Return a map of texts to texts."""
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise Invalid(f"{field} must be an object of strings")
    if len(value) > entries_max:
        raise Invalid(f"{field} holds at most {entries_max} entries, not {len(value)}")
    return {text(key, field): text(entry, f"{field}.{key[:40]}") for key, entry in value.items()}

"""The rules for KV entries: what may be kept, how values grow, and which scope wins (spec flow8 section 13)."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from libs.common.errors import Invalid, Refused
from libs.common.messages.kv import KV_SCOPES, AppendKv, IncrementKv, KvConflict, KvScope, SetKv
from services.store.domain import fields as check

KEY_CHARS_MAX = 512
VALUE_BYTES_MAX = 262_144
# Of one step's expressions together: what they read stands, encrypted, in an event of the play.
STEP_KEYS_MAX = 64
STEP_BYTES_MAX = 524_288
# Commands that come again are known by their ids as long as no more than these came after.
APPLIED_MAX = 16
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
MISSING = object()


def check_key(key: Any) -> str:
    """Return a key. Raises Invalid when it is empty, too long, or holds U+0000."""
    text = check.text(key, "key", chars_max=KEY_CHARS_MAX)
    if not text or "\0" in text:
        raise Invalid("key must not be empty, nor hold the character U+0000")
    return text


def check_scope(scope: str | None) -> KvScope:
    """Return a scope. Raises Invalid when it is none."""
    for known in KV_SCOPES:
        if scope == known:
            return known
    raise Invalid(f"scope must be one of {', '.join(KV_SCOPES)}")


def next_value(command: SetKv | AppendKv | IncrementKv, old: Any) -> Any:
    """Return an entry's value after a command; `old` is MISSING when there is none.

    Raises Refused (KV_TYPE_MISMATCH) when the old value does not take it, Invalid when the new one is too large.
    """
    match command:
        case SetKv():
            new = command.value
        case AppendKv():
            new = _appended(old, command.value)
        case IncrementKv():
            new = _incremented(old, command.amount)
    size = len(msgspec.json.encode(new))
    if size > VALUE_BYTES_MAX:
        raise Invalid(f"value: at most {VALUE_BYTES_MAX} bytes of JSON are kept, not {size}")
    return new


def _appended(old: Any, value: Any) -> Any:
    if old is MISSING:
        return [value]
    if isinstance(old, list):
        return [*old, value]
    if isinstance(old, str):
        return old + (value if isinstance(value, str) else msgspec.json.encode(value).decode())
    raise Refused("only an array or a string can be appended to", code="KV_TYPE_MISMATCH")


def _incremented(old: Any, amount: float) -> Any:
    if old is MISSING or old is None:
        return amount
    number = _number(old)
    if number is None:
        raise Refused("only a number can be incremented", code="KV_TYPE_MISMATCH")
    new = number + amount
    if isinstance(new, int) and not INTEGER_MIN <= new <= INTEGER_MAX:
        raise Refused("the sum does not fit in 64 bits", code="KV_TYPE_MISMATCH")
    if isinstance(new, float) and not math.isfinite(new):
        raise Refused("the sum is no finite number", code="KV_TYPE_MISMATCH")
    # Modules keep scalars as strings (Q19): a counter of theirs stays one.
    return str(new) if isinstance(old, str) else new


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def resolved(values: Sequence[Any], conflict: KvConflict) -> Any:
    """Return what a reader gets of the values that the scopes of a chain hold, the narrowest first (Q18).

    `values` holds MISSING for a scope without the key; MISSING is returned when all are.
    """
    present = [value for value in values if value is not MISSING]
    if not present:
        return MISSING
    if conflict == "parent":
        return present[-1]
    if conflict == "child":
        return present[0]
    merged = present[-1]
    for narrower in reversed(present[:-1]):
        merged = _merged(merged, narrower)
    return merged


def _merged(wide: Any, narrow: Any) -> Any:
    if isinstance(wide, dict) and isinstance(narrow, dict):
        both = {key: _merged(wide[key], narrow[key]) for key in wide.keys() & narrow.keys()}
        return {**wide, **narrow, **both}
    if isinstance(wide, list) and isinstance(narrow, list):
        return [*wide, *narrow]
    return narrow

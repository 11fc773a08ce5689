"""The functions that make and take apart lists and objects."""

from typing import Any

from libs.expressions.errors import Fault
from libs.expressions.function import Function, text, weight, whole
from libs.expressions.limits import ITEM_WORK_BYTES, SORTED_WORK_BYTES
from libs.expressions.scope import Frame
from libs.expressions.values import (
    NESTED,
    WITH_LENGTH,
    contains,
    json_text,
    kind_of,
    number_of,
    step,
    stringify,
    value_at,
)


def _list_of(name: str, value: Any) -> list[Any]:
    """The list that an argument is; null is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Fault(f"{name} needs a list, not {kind_of(value)}")
    return value


def _items(frame: Frame, name: str, value: Any) -> list[Any]:
    """The list that an argument is, a copy of it paid for."""
    items = _list_of(name, value)
    frame.spend(len(items) * ITEM_WORK_BYTES)
    return items


def _fields(frame: Frame, name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Fault(f"{name} needs an object, not {kind_of(value)}")
    frame.spend(len(value) * ITEM_WORK_BYTES)
    return value


def _contains(frame: Frame, container: Any, item: Any) -> bool:
    frame.spend(weight(container) + weight(item) * (len(container) if isinstance(container, list) else 1))
    return contains(container, item)


def _len(_: Frame, value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, WITH_LENGTH):
        raise Fault(f"len needs a string, a list or an object, not {kind_of(value)}")
    return len(value)


def _index(_: Frame, value: Any, *keys: Any) -> Any:
    for key in keys:
        value = step(value, key if type(key) is int else stringify(key))
    return value


def _slice(frame: Frame, value: Any, start: Any = 0, end: Any = None) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | list):
        raise Fault(f"slice needs a string or a list, not {kind_of(value)}")
    first, last = whole("slice", start), len(value) if end is None else whole("slice", end)
    if first < 0 or last < 0:
        raise Fault("slice counts from 0")
    part = value[first:last]
    frame.spend(len(part) * (1 if isinstance(part, str) else ITEM_WORK_BYTES))
    return part


def _first(_: Frame, value: Any) -> Any:
    items = _list_of("first", value)
    return items[0] if items else None


def _last(_: Frame, value: Any) -> Any:
    items = _list_of("last", value)
    return items[-1] if items else None


def _reverse(frame: Frame, value: Any) -> Any:
    if isinstance(value, str):
        frame.spend(len(value))
        return value[::-1]
    return _items(frame, "reverse", value)[::-1]


def _sort(frame: Frame, value: Any) -> list[Any]:
    """Numbers and numeric strings first, by what they count; the rest by its text."""
    items = _list_of("sort", value)
    frame.spend(weight(items) + len(items) * SORTED_WORK_BYTES)
    return sorted(items, key=_place)


def _place(value: Any) -> tuple[int, float, str]:
    number = number_of(value)
    return (1, 0, stringify(value)) if number is None else (0, number, "")


def _unique(frame: Frame, value: Any) -> list[Any]:
    """Each value once, where it first stands; equal is what `eq` finds equal."""
    items = _items(frame, "unique", value)
    frame.spend(weight(items))
    kept: dict[tuple[bool, str], Any] = {}
    for item in items:
        holds = isinstance(item, NESTED)
        kept.setdefault((holds, json_text(item, ordered=True) if holds else stringify(item)), item)
    return list(kept.values())


def _pluck(frame: Frame, value: Any, path: Any) -> list[Any]:
    shown = text(frame, path)
    items = _items(frame, "pluck", value)
    frame.spend(len(items) * len(shown))
    return [value_at(item, shown) for item in items]


def _keys(frame: Frame, value: Any) -> list[str]:
    return list(_fields(frame, "keys", value))


def _values(frame: Frame, value: Any) -> list[Any]:
    return list(_fields(frame, "values", value).values())


def _list(_: Frame, *values: Any) -> list[Any]:
    return list(values)


def _dict(frame: Frame, *given: Any) -> dict[str, Any]:
    if len(given) % 2:
        raise Fault("dict needs a value for each key")
    return {text(frame, key): value for key, value in zip(given[::2], given[1::2], strict=True)}


# Where Go has a function of the name, the piped value comes last, as there.
LISTS: dict[str, Function] = {
    "contains": Function(_contains, 2, 2),
    "len": Function(_len, 1, 1, "last"),
    "index": Function(_index, 1, None, "last"),
    "slice": Function(_slice, 1, 3, "last"),
    "first": Function(_first, 1, 1),
    "last": Function(_last, 1, 1),
    "reverse": Function(_reverse, 1, 1),
    "sort": Function(_sort, 1, 1),
    "unique": Function(_unique, 1, 1),
    "pluck": Function(_pluck, 2, 2),
    "keys": Function(_keys, 1, 1),
    "values": Function(_values, 1, 1),
    "list": Function(_list, 0, None),
    "dict": Function(_dict, 0, None),
}

"""How JSON values become text, numbers and truth, and how two of them compare."""

import math
import re
from functools import lru_cache
from typing import Any, Literal

import msgspec

from libs.expressions.errors import Fault
from libs.expressions.limits import EXACT_FLOAT_MAX, INT_BITS_MAX, INT_MAX, INT_MIN, NUMBER_CHARS_MAX

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
PATHS_CACHED_MAX = 512

_INDEX = re.compile(r"\[(\d+)\]", re.ASCII)
_INT = re.compile(r"[+-]?\d+", re.ASCII)
_BLANKS = " \t\r\n"
# Made once: `list | dict` written into a comparison is made anew each time, for as much as the comparison costs.
NESTED = (list, dict)
WITH_LENGTH = (str, list, dict)
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def kind_of(value: Any) -> str:
    """What a value is, for messages: a value itself may be a secret."""
    return _KINDS.get(type(value), "not a JSON value")


def stringify(value: Any) -> str:
    """The canonical string (flow8 sections 6 and 7): null is empty, integral floats have no `.0`, the rest JSON."""
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return _int_text(value)
    return _float_text(value) if kind is float else json_text(value)


def json_text(value: Any, *, ordered: bool = False) -> str:
    """Compact JSON with integral floats as whole numbers; `ordered` sorts the keys."""
    return json_bytes(value, ordered=ordered).decode()


def json_bytes(value: Any, *, ordered: bool = False) -> bytes:
    """Like `json_text`, in UTF-8. Raises Fault, as that does, for what JSON cannot hold."""
    order: Literal["sorted"] | None = "sorted" if ordered else None
    try:
        encoded = msgspec.json.encode(value, order=order)
        if b".0" in encoded:  # perhaps only inside a string: the walk then changes nothing
            encoded = msgspec.json.encode(_plain(value), order=order)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Fault("a value cannot be written as JSON") from error
    return bytes(encoded)


def parse_json(text: str) -> Any:
    """The JSON value that `text` holds. Raises Fault when it holds none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Fault("the text is not valid JSON") from error


def number_of(value: Any) -> int | float | None:
    """The value as a finite number, numeric strings included; None when it is none (booleans are none)."""
    kind = type(value)
    if kind is int:
        return int(value) if value.bit_length() <= INT_BITS_MAX else None
    if kind is float:
        return float(value) if math.isfinite(value) else None
    return _number_in(value.strip(_BLANKS)) if kind is str and len(value) <= NUMBER_CHARS_MAX else None


def settle(number: float) -> int | float:
    """A result as JSON may hold it: finite, a 64-bit integer, integral floats as integers. Raises Fault for others."""
    if type(number) is int:
        if not INT_MIN <= number <= INT_MAX:
            raise Fault("the number is outside the 64-bit integers")
        return number
    if not math.isfinite(number):
        raise Fault("the number is not finite")
    if number.is_integer() and abs(number) < EXACT_FLOAT_MAX:
        return int(number)
    return number


def truthy(value: Any) -> bool:
    """False are: null, false, 0, `""`, `"false"`, `"0"`, `[]` and `{}` (flow8 section 17.1, router)."""
    if type(value) is str:
        return value not in ("", "false", "0")
    return bool(value)


def is_empty(value: Any) -> bool:
    """Null, `""`, `[]` or `{}` (flow8 section 6)."""
    return value is None or (isinstance(value, WITH_LENGTH) and not value)


def equal(left: Any, right: Any) -> bool:
    """Equality across types: by canonical string; two lists or two objects by what they hold."""
    if type(left) is str and type(right) is str:
        return left == right
    if isinstance(left, NESTED) and isinstance(right, NESTED):
        return json_bytes(left, ordered=True) == json_bytes(right, ordered=True)
    return stringify(left) == stringify(right)


def order_of(left: Any, right: Any) -> int:
    """-1, 0 or 1: as numbers when both sides are numbers, else as canonical strings."""
    a: Any = number_of(left)
    b: Any = number_of(right)
    if a is None or b is None:
        a, b = stringify(left), stringify(right)
    return int(a > b) - int(a < b)


def contains(container: Any, item: Any) -> bool:
    """Membership in a list, a key of an object, else a substring of the canonical string; nothing is in null."""
    match container:
        case None:
            return False
        case list():
            return any(equal(element, item) for element in container)
        case dict():
            return stringify(item) in container
        case _:
            return stringify(item) in stringify(container)


def step(value: Any, key: Any) -> Any:
    """One step of a path: a field of an object or an element of a list; null when there is none."""
    if isinstance(value, dict):
        return value.get(key) if type(key) is str else value.get(stringify(key))
    if isinstance(value, list):
        index = int(key) if type(key) is str and key.isdecimal() and len(key) < NUMBER_CHARS_MAX else key
        if type(index) is int and 0 <= index < len(value):
            return value[index]
    return None


def text_bytes(text: str) -> int:
    """The length in UTF-8; a lone surrogate counts as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def json_size(value: Any) -> int:
    """About how many bytes a list or an object has as JSON. Raises Fault for what JSON cannot hold."""
    try:
        return len(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Fault("a value cannot be written as JSON") from error


def _int_text(value: int) -> str:
    # Python refuses to print integers beyond 4,300 digits, and JSON may bring longer ones.
    if value.bit_length() > INT_BITS_MAX:
        raise Fault("a number is too long to be written")
    return str(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise Fault("a number is not finite")
    if value.is_integer() and abs(value) < EXACT_FLOAT_MAX:
        return str(int(value))
    return repr(value)


def _number_in(text: str) -> int | float | None:
    if _INT.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) < EXACT_FLOAT_MAX:
            return int(value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def value_at(item: Any, path: str) -> Any:
    """Return what stands at a path (`a.b`, `a[0].b`, `a.0.b`) below an element; null when nothing does."""
    for name in _names(path):
        if isinstance(item, dict):
            item = item.get(name)
        elif isinstance(item, list) and name.isdecimal() and int(name) < len(item):
            item = item[int(name)]
        else:
            return None
    return item


@lru_cache(maxsize=PATHS_CACHED_MAX)
def _names(path: str) -> tuple[str, ...]:
    return tuple(_INDEX.sub(r".\1", path).removeprefix(".").split(".")) if path else ()

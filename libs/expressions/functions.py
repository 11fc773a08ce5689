"""The functions of the language, value first; each takes the frame and JSON values and returns a JSON value."""

import html
import math
import operator
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Literal
from urllib.parse import quote_plus

import msgspec

from libs.expressions.errors import Fault
from libs.expressions.limits import ITEM_WORK_BYTES, ROUND_DIGITS_MAX, XPATH_WORK_FACTOR
from libs.expressions.printf import printf
from libs.expressions.scope import Frame
from libs.expressions.values import (
    contains,
    equal,
    is_empty,
    json_text,
    kind_of,
    number_of,
    order_of,
    parse_json,
    settle,
    step,
    stringify,
    truthy,
)
from libs.expressions.xpath import FORMATS, select

_DIGITS = Context(prec=2 * ROUND_DIGITS_MAX + 2)

_NUMBERS = frozenset({int, float})

Piped = Literal["first", "last"]
Later = Callable[[Frame], Any]  # an argument that is evaluated only when it is wanted


class Function(msgspec.Struct, frozen=True):
    """A function: `run(frame, *args)` with `least` to `most` arguments (None: any number).

    `piped` says where `x | f` puts x. A `lazy` function gets its arguments as `Later`, a `seeded` one gets a seed
    as its second argument.
    """

    run: Callable[..., Any]
    least: int
    most: int | None
    piped: Piped = "first"
    lazy: bool = False
    seeded: bool = False


def text(frame: Frame, value: Any) -> str:
    """The canonical string of an argument, its length paid for."""
    shown = stringify(value)
    frame.spend(len(shown))
    return shown


def number(name: str, value: Any) -> int | float:
    """A numeric argument, numeric strings included."""
    found = number_of(value)
    if found is None:
        detail = "a string that is no number" if isinstance(value, str) else kind_of(value)
        raise Fault(f"{name} needs numbers, not {detail}")
    return found


def whole(name: str, value: Any) -> int:
    """An integral argument."""
    found = settle(number(name, value))
    if type(found) is not int:
        raise Fault(f"{name} needs a whole number")
    return found


def _arithmetic(
    run: Callable[..., int | float], plain: Callable[[int, int], int] | None = None
) -> Callable[..., Any]:
    def bounded(_: Frame, *values: Any) -> int | float:
        try:
            if plain and len(values) == 2 and type(values[0]) is int and type(values[1]) is int:
                return settle(plain(values[0], values[1]))
            return settle(run(*values))
        except OverflowError as error:
            raise Fault("the number is not finite") from error

    return bounded


def _or_zero(value: Any) -> Any:
    # The first run of a counter reads a KV entry that does not exist yet.
    return 0 if value is None else value


def _add(*values: Any) -> int | float:
    return sum(number("add", _or_zero(value)) for value in values)


def _sub(a: Any, b: Any) -> int | float:
    return number("sub", _or_zero(a)) - number("sub", _or_zero(b))


def _mul(*values: Any) -> int | float:
    product: int | float = 1
    for value in values:
        product = settle(product * number("mul", value))
    return product


def _div(a: Any, b: Any) -> int | float:
    dividend, divisor = number("div", a), number("div", b)
    if divisor == 0:
        raise Fault("division by zero")
    if type(dividend) is int and type(divisor) is int and dividend % divisor == 0:
        return dividend // divisor
    return dividend / divisor


def _mod(a: Any, b: Any) -> int | float:
    dividend, divisor = number("mod", a), number("mod", b)
    if divisor == 0:
        raise Fault("division by zero")
    if type(dividend) is int and type(divisor) is int:
        rest = abs(dividend) % abs(divisor)
        return -rest if dividend < 0 else rest  # the sign of the dividend, as in Go
    return math.fmod(dividend, divisor)


def _round(value: Any, digits: Any = 0) -> int | float:
    places = whole("round", digits)
    if not 0 <= places <= ROUND_DIGITS_MAX:
        raise Fault(f"round keeps 0 to {ROUND_DIGITS_MAX} digits")
    given = settle(number("round", value))
    if type(given) is int or abs(given) >= 10**ROUND_DIGITS_MAX:
        return given
    # By its decimal digits and half away from zero, as people round: 2.675 is 2.68.
    return float(Decimal(repr(given)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _DIGITS))


def _replace(frame: Frame, value: Any, old: Any, new: Any) -> str:
    shown, before, after = text(frame, value), text(frame, old), text(frame, new)
    frame.spend(len(shown) + shown.count(before) * len(after))
    return shown.replace(before, after)


def _split(frame: Frame, value: Any, separator: Any) -> list[str]:
    shown, mark = text(frame, value), text(frame, separator)
    frame.spend(len(shown) + ITEM_WORK_BYTES * (shown.count(mark) + 1))
    return shown.split(mark) if mark else list(shown)


def _join(frame: Frame, items: Any, separator: Any) -> str:
    if items is None:
        return ""
    if not isinstance(items, list):
        raise Fault(f"join needs a list, not {kind_of(items)}")
    mark = text(frame, separator)
    frame.spend(len(items) * (len(mark) + 1))
    return mark.join([text(frame, item) for item in items])


def _contains(frame: Frame, container: Any, item: Any) -> bool:
    frame.spend(_weight(container) + _weight(item) * (len(container) if isinstance(container, list) else 1))
    return contains(container, item)


def _eq(frame: Frame, value: Any, *others: Any) -> bool:
    for other in others:
        frame.spend(_weight(value) + _weight(other))
        if equal(value, other):
            return True
    return False


def _ordering(accepts: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(frame: Frame, left: Any, right: Any) -> bool:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            return accepts(left, right)
        frame.spend(_weight(left) + _weight(right))
        return accepts(order_of(left, right), 0)

    return compare


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | dict):
        return len(json_text(value))
    return 1


def _and(frame: Frame, *values: Later) -> Any:
    value = None
    for later in values:
        value = later(frame)
        if not truthy(value):
            break
    return value


def _or(frame: Frame, *values: Later) -> Any:
    value = None
    for later in values:
        value = later(frame)
        if truthy(value):
            break
    return value


def _default(frame: Frame, value: Later, fallback: Later) -> Any:
    given = value(frame)
    return fallback(frame) if is_empty(given) else given


def _ternary(frame: Frame, condition: Later, then: Later, otherwise: Later) -> Any:
    return then(frame) if truthy(condition(frame)) else otherwise(frame)


def _len(_: Frame, value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, str | list | dict):
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


def _print(frame: Frame, *values: Any) -> str:
    return " ".join([text(frame, value) for value in values])


def _printf(frame: Frame, layout: Any, *values: Any) -> str:
    for value in values:
        frame.spend(_weight(value))
    return paid(frame, printf(text(frame, layout), values))


def paid(frame: Frame, made: str) -> str:
    """A text that was made, its length paid for."""
    frame.spend(len(made))
    return made


def to_json(frame: Frame, value: Any) -> str:
    """The value as JSON text."""
    return paid(frame, json_text(value))


def from_json(frame: Frame, value: Any) -> Any:
    """The JSON value in a text; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    # The shortest JSON with the heaviest value is a list of empty lists: some 25 bytes for each character.
    frame.spend(4 * len(value))
    return parse_json(value)


def url_encode(frame: Frame, value: Any) -> str:
    """Form style: a space becomes `+` (flow8 section 17.2)."""
    shown = text(frame, value)
    frame.spend(9 * len(shown))
    try:
        return quote_plus(shown)
    except UnicodeEncodeError as error:
        raise Fault("the text cannot be encoded") from error


def _html(frame: Frame, value: Any) -> str:
    shown = text(frame, value)
    frame.spend(6 * len(shown))
    return html.escape(shown)


def _xpath(frame: Frame, document: Any, expression: Any, kind: Any = "auto") -> Any:
    """What an XPath expression finds in XML or HTML: a list for nodes, else a value."""
    if not isinstance(document, str):
        raise Fault(f"xpath needs a document, not {kind_of(document)}")
    if kind not in FORMATS:
        raise Fault(f"xpath reads one of {', '.join(FORMATS)}")
    frame.spend(XPATH_WORK_FACTOR * len(document))
    found = select(document, text(frame, expression), kind=kind)
    for part in found if isinstance(found, list) else ():
        frame.spend(len(part) + ITEM_WORK_BYTES)
    return found


def _xpath_first(frame: Frame, *given: Any) -> Any:
    found = _xpath(frame, *given)
    if not isinstance(found, list):
        return found
    return found[0] if found else None


_GE = _ordering(operator.ge)
_LE = _ordering(operator.le)


def _ne(frame: Frame, left: Any, right: Any) -> bool:
    return not _eq(frame, left, right)


# Where Go has a function of the name, operands and pipe follow Go: the piped value comes last.
FUNCTIONS: dict[str, Function] = {
    "add": Function(_arithmetic(_add, operator.add), 2, None),
    "sub": Function(_arithmetic(_sub, operator.sub), 2, 2),
    "mul": Function(_arithmetic(_mul, operator.mul), 2, None),
    "div": Function(_arithmetic(_div), 2, 2),
    "mod": Function(_arithmetic(_mod), 2, 2),
    "round": Function(_arithmetic(_round), 1, 2),
    "upper": Function(lambda frame, value: text(frame, value).upper(), 1, 1),
    "lower": Function(lambda frame, value: text(frame, value).lower(), 1, 1),
    "trim": Function(lambda frame, value: text(frame, value).strip(), 1, 1),
    "replace": Function(_replace, 3, 3),
    "split": Function(_split, 2, 2),
    "join": Function(_join, 2, 2),
    "contains": Function(_contains, 2, 2),
    "hasPrefix": Function(lambda frame, value, part: text(frame, value).startswith(text(frame, part)), 2, 2),
    "hasSuffix": Function(lambda frame, value, part: text(frame, value).endswith(text(frame, part)), 2, 2),
    "default": Function(_default, 2, 2, lazy=True),
    "ternary": Function(_ternary, 3, 3, lazy=True),
    "toJson": Function(to_json, 1, 1),
    "eq": Function(_eq, 2, None, "last"),
    "ne": Function(_ne, 2, 2, "last"),
    "neq": Function(_ne, 2, 2, "last"),
    "gt": Function(_ordering(operator.gt), 2, 2, "last"),
    "ge": Function(_GE, 2, 2, "last"),
    "gte": Function(_GE, 2, 2, "last"),
    "lt": Function(_ordering(operator.lt), 2, 2, "last"),
    "le": Function(_LE, 2, 2, "last"),
    "lte": Function(_LE, 2, 2, "last"),
    "and": Function(_and, 1, None, "last", lazy=True),
    "or": Function(_or, 1, None, "last", lazy=True),
    "not": Function(lambda _, value: not truthy(value), 1, 1, "last"),
    "len": Function(_len, 1, 1, "last"),
    "index": Function(_index, 1, None, "last"),
    "slice": Function(_slice, 1, 3, "last"),
    "print": Function(_print, 0, None, "last"),
    "printf": Function(_printf, 1, None, "last"),
    "xpath": Function(_xpath, 2, 3),
    "xpathFirst": Function(_xpath_first, 2, 3),
    "html": Function(_html, 1, 1, "last"),
    "urlquery": Function(url_encode, 1, 1, "last"),
}

"""Go's `printf` for JSON values."""

import math
import re
import sys
from typing import Any

from libs.expressions.errors import Fault
from libs.expressions.limits import PRINTF_CHARS_MAX
from libs.expressions.values import json_text, kind_of, number_of, stringify

_VERB = re.compile(r"%([-+# 0]*)(\d{0,9})(?:\.(\d{0,9}))?(.)", re.ASCII | re.DOTALL)
_INTEGER_VERBS = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}
_FLOAT_VERBS = {"f": "f", "F": "f", "e": "e", "E": "E", "g": "g", "G": "G"}


def printf(layout: str, values: tuple[Any, ...]) -> str:
    """The layout with each verb replaced: `%v %s %q %t %d %x %X %o %b %c %f %e %g %%`, flags `-+0 #`, width, precision.

    Faults on an unknown verb, on a value of the wrong kind, and on too few or too many values.
    """
    parts: list[str] = []
    given = iter(values)
    at = 0
    for verb in _VERB.finditer(layout):
        parts += [_plain(layout[at : verb.start()]), _shown(verb, given)]
        at = verb.end()
    parts.append(_plain(layout[at:]))
    if next(given, given) is not given:
        raise Fault("printf has more values than verbs")
    return "".join(parts)


def _plain(text: str) -> str:
    if "%" in text:
        raise Fault("printf's layout ends inside a verb")
    return text


def _shown(verb: re.Match[str], given: Any) -> str:
    flags, width_text, precision_text, letter = verb.groups()
    if letter == "%":
        return "%"
    width = int(width_text or 0)
    precision = None if precision_text is None else int(precision_text or 0)
    if max(width, precision or 0) > PRINTF_CHARS_MAX:
        raise Fault(f"printf's width and precision are at most {PRINTF_CHARS_MAX}")
    missing = object()
    value = next(given, missing)
    if value is missing:
        raise Fault("printf has more verbs than values")
    shown = _value(letter, flags, precision, value)
    return _padded(shown, flags, width, numeric=letter in _INTEGER_VERBS or letter in _FLOAT_VERBS)


def _value(letter: str, flags: str, precision: int | None, value: Any) -> str:
    if letter in _INTEGER_VERBS:
        return format(
            _whole(letter, value), f"{_sign(flags)}{'#' if '#' in flags else ''}{_INTEGER_VERBS[letter]}"
        )
    if letter in _FLOAT_VERBS:
        return _float(letter, flags, precision, value)
    if letter in "vs":
        return stringify(value)[:precision]
    if letter == "q":
        return json_text(stringify(value))
    if letter == "t" and type(value) is bool:
        return stringify(value)
    if letter == "c" and _is_character(_whole(letter, value)):
        return chr(_whole(letter, value))
    raise Fault(f"printf cannot show {kind_of(value)} with %{letter}")


def _float(letter: str, flags: str, precision: int | None, value: Any) -> str:
    number = number_of(value)
    if number is None or abs(number) > 1e308:
        raise Fault(f"printf cannot show {kind_of(value)} with %{letter}")
    if letter in "gG" and precision is None:
        return format(float(number), _sign(flags)).removesuffix(".0")
    return format(
        float(number), f"{_sign(flags)}.{6 if precision is None else precision}{_FLOAT_VERBS[letter]}"
    )


def _whole(letter: str, value: Any) -> int:
    number = number_of(value)
    if number is None or (type(number) is float and not number.is_integer()) or abs(number) > 1e308:
        raise Fault(f"printf cannot show {kind_of(value)} with %{letter}")
    return math.trunc(number)


def _is_character(code: int) -> bool:
    # Surrogates are no characters: they could not be encoded later.
    return 0 <= code < 0xD800 or 0xE000 <= code <= sys.maxunicode


def _sign(flags: str) -> str:
    return "+" if "+" in flags else " " if " " in flags else ""


def _padded(shown: str, flags: str, width: int, *, numeric: bool) -> str:
    if "-" in flags:
        return shown.ljust(width)
    if "0" in flags and numeric:
        return shown.zfill(width)
    return shown.rjust(width)

"""The functions that make text from values, and values from text."""

import binascii
import html
import re
from base64 import b64decode
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from libs.expressions.errors import Fault
from libs.expressions.function import Function, paid, text, weight, whole
from libs.expressions.limits import ITEM_WORK_BYTES, TITLE_WORK_FACTOR, XPATH_WORK_FACTOR
from libs.expressions.printf import printf
from libs.expressions.regex import compile_pattern
from libs.expressions.scope import Frame
from libs.expressions.values import json_text, kind_of, parse_json
from libs.expressions.xpath import FORMATS, select

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FIRST_LETTER = re.compile(r"(?<![\w'\u2019])[^\W\d_]")


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


def _trim_prefix(frame: Frame, value: Any, part: Any) -> str:
    return text(frame, value).removeprefix(text(frame, part))


def _trim_suffix(frame: Frame, value: Any, part: Any) -> str:
    return text(frame, value).removesuffix(text(frame, part))


def _repeat(frame: Frame, value: Any, count: Any) -> str:
    shown, times = text(frame, value), whole("repeat", count)
    if times < 0:
        raise Fault("repeat counts from 0")
    frame.spend(len(shown) * times)
    return shown * times


def _title(frame: Frame, value: Any) -> str:
    shown = text(frame, value)
    frame.spend(TITLE_WORK_FACTOR * len(shown))
    return _FIRST_LETTER.sub(lambda letter: letter[0].upper(), shown)


def _regex_match(frame: Frame, value: Any, pattern: Any) -> bool:
    return compile_pattern(text(frame, pattern)).search(text(frame, value)) is not None


def _regex_find(frame: Frame, value: Any, pattern: Any) -> str | None:
    """The first part that the pattern finds, of its first group if it has one; null when it finds nothing."""
    compiled = compile_pattern(text(frame, pattern))
    found = compiled.search(text(frame, value))
    return None if found is None else found[1 if compiled.groups else 0]


def _print(frame: Frame, *values: Any) -> str:
    return " ".join([text(frame, value) for value in values])


def _printf(frame: Frame, layout: Any, *values: Any) -> str:
    for value in values:
        frame.spend(weight(value))
    return paid(frame, printf(text(frame, layout), values))


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
    """Form style: a space becomes `+` (flow8 section 17.2). Raises Fault for a lone surrogate."""
    shown = text(frame, value)
    frame.spend(9 * len(shown))
    try:
        return quote_plus(shown)
    except UnicodeEncodeError as error:
        raise Fault("the text cannot be encoded") from error


def url_decode(frame: Frame, value: Any) -> str:
    """The text that `url_encode` encoded; a `+` is a space. Raises Fault for a bad escape and for no UTF-8."""
    shown = text(frame, value)
    if _BAD_ESCAPE.search(shown):
        raise Fault("a % is not followed by two hex digits")
    try:
        return paid(frame, unquote_plus(shown, errors="strict"))
    except UnicodeError as error:
        raise Fault("the text does not hold UTF-8") from error


def base64_decode(frame: Frame, value: Any) -> str:
    """The UTF-8 text in base64 of either alphabet, with or without padding and blanks. Raises Fault for others."""
    shown = "".join(text(frame, value).split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(shown + "=" * (-len(shown) % 4), validate=True).decode()
    except UnicodeDecodeError as error:
        raise Fault("the base64 does not hold UTF-8 text") from error
    except (binascii.Error, ValueError) as error:
        raise Fault("the text is not base64") from error


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


# Where Go has a function of the name, the piped value comes last, as there.
TEXTS: dict[str, Function] = {
    "upper": Function(lambda frame, value: text(frame, value).upper(), 1, 1),
    "lower": Function(lambda frame, value: text(frame, value).lower(), 1, 1),
    "title": Function(_title, 1, 1),
    "trim": Function(lambda frame, value: text(frame, value).strip(), 1, 1),
    "trimPrefix": Function(_trim_prefix, 2, 2),
    "trimSuffix": Function(_trim_suffix, 2, 2),
    "replace": Function(_replace, 3, 3),
    "repeat": Function(_repeat, 2, 2),
    "split": Function(_split, 2, 2),
    "join": Function(_join, 2, 2),
    "hasPrefix": Function(lambda frame, value, part: text(frame, value).startswith(text(frame, part)), 2, 2),
    "hasSuffix": Function(lambda frame, value, part: text(frame, value).endswith(text(frame, part)), 2, 2),
    "regexMatch": Function(_regex_match, 2, 2),
    "regexFind": Function(_regex_find, 2, 2),
    "toString": Function(text, 1, 1),
    "toJson": Function(to_json, 1, 1),
    "fromJson": Function(from_json, 1, 1),
    "print": Function(_print, 0, None, "last"),
    "printf": Function(_printf, 1, None, "last"),
    "xpath": Function(_xpath, 2, 3),
    "xpathFirst": Function(_xpath_first, 2, 3),
    "html": Function(_html, 1, 1, "last"),
    "urlquery": Function(url_encode, 1, 1, "last"),
}

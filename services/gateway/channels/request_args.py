"""What a flow gets of a request, as `$prev.args` (spec flow8 section 14.1)."""

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from multidict import CIMultiDictProxy

from libs.common.errors import Invalid
from services.gateway import bodies
from services.gateway.routing import as_utf8

QUERY_FIELDS_MAX = 1_000
FORM_FIELDS_MAX = 1_000
REDACTED = "[redacted]"
_json: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any)


def headers_of(headers: "CIMultiDictProxy[str]", *, hide_token: bool) -> dict[str, str]:
    """Return headers by lower-case name, repeated ones joined by a comma.

    With `hide_token` the one that carries the channel's token is not shown: args are stored in the clear (D14).
    """
    shown: dict[str, str] = {}
    for name, value in headers.items():
        text = as_utf8(value).replace("\0", "")
        lower = name.lower()
        if hide_token and lower == "authorization":
            text = REDACTED
        shown[lower] = f"{shown[lower]}, {text}" if lower in shown else text
    return shown


def query_of(query_string: str) -> dict[str, Any]:
    """Return the query; a key that comes more than once has an array. Raises Invalid for what cannot be read."""
    return _fields(query_string, "query", fields_max=QUERY_FIELDS_MAX)


def body_of(data: bytes, content_type: str) -> dict[str, Any]:
    """Return `body` as JSON, form fields or text, by its content type, null when there is none.

    What is neither is in base64, and `bodyEncoding` says so. Raises Invalid for JSON or a form that cannot be read.
    """
    if not data:
        return {"body": None}
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return {"body": bodies.parse(data, _json)}
    if kind == "application/x-www-form-urlencoded":
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Invalid("the body is not UTF-8") from error
        return {"body": _fields(text, "the body", fields_max=FORM_FIELDS_MAX)}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return {"body": base64.b64encode(data).decode(), "bodyEncoding": "base64"}
    return {"body": text}


def message_of(text: str) -> Any:
    """Return a socket's message: its JSON, or the text when it is none (section 14.2)."""
    try:
        return bodies.parse(text.encode(), _json)
    except Invalid:
        if "\0" in text:
            raise
        return text


def _fields(text: str, where: str, *, fields_max: int) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=fields_max, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid(f"{where} is not UTF-8") from error
    except ValueError as error:
        raise Invalid(f"{where} holds at most {fields_max} fields") from error
    return _grouped(pairs, where)


def _grouped(pairs: Iterable[tuple[str, str]], where: str) -> dict[str, Any]:
    grouped: dict[str, Any] = {}
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise Invalid(f"{where} holds the character U+0000, which cannot be stored")
        known = grouped.get(name)
        if known is None:
            grouped[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            grouped[name] = [known, value]
    return grouped

"""Request bodies: read, checked against a struct, and refused with a sentence that names the field.

Any content type is taken as JSON, as the documented samples need (spec flow8 section 2, Q6). Of two equal keys the
last one counts. A field that is null and may not be is one that was left out.
"""

import asyncio
import re
from functools import cache
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError

from libs.common.errors import HeadraceError, Invalid, TooLarge

BODY_READ_S_MAX = 20.0
NESTING_MAX = 100
# What msgspec writes, and what Postgres and any client can read: signed or unsigned 64 bits.
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1

T = TypeVar("T")
_EXPECTED = re.compile(r"^Expected `([^`]+)`, got `([^`]+)`")
_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_LONG_NUMBER = re.compile(rb"\d{19}")
_WORDS = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "an array", "null": "null",
}  # fmt: skip


class TooSlow(HeadraceError):
    """The body did not come in time."""

    status = 408
    default_code = "REQUEST_TIMEOUT"


async def read(request: web.BaseRequest, decoder: msgspec.json.Decoder[T], *, optional: bool = False) -> T:
    """Return the body as the decoder's struct; with `optional`, no body means `{}`.

    Raises Invalid when it is no JSON object or a field does not fit, and what `received` raises.
    """
    data = await received(request)
    if not data:
        if not optional:
            raise Invalid("the body is empty; a JSON object is expected")
        data = b"{}"
    return parse(data, decoder)


async def received(request: web.BaseRequest) -> bytes:
    """Return the bytes of a body, uncompressed.

    Raises TooLarge above the configured limit, TooSlow after BODY_READ_S_MAX, Invalid when they are not encoded as
    the headers say.
    """
    try:
        if request.content.is_eof():
            # It came with the headers, as nearly all do: nothing to wait for.
            return await request.read()
        async with asyncio.timeout(BODY_READ_S_MAX):
            return await request.read()
    except TimeoutError as error:
        raise TooSlow(f"the body did not come within {BODY_READ_S_MAX:g} s") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge("the request body is too large") from error
    except (web.RequestPayloadError, PayloadEncodingError) as error:
        raise Invalid("the body is not encoded as Content-Encoding and Transfer-Encoding say") from error


def parse(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return JSON as the decoder's struct. Raises Invalid as `read` does."""
    try:
        value = _decoded(data, decoder)
        if _suspicious(data):
            _check(msgspec.json.decode(data), NESTING_MAX)
    except msgspec.ValidationError as error:
        raise Invalid(sentence(str(error))) from error
    except msgspec.DecodeError as error:
        raise Invalid(f"the body is not JSON: {error}") from error
    except UnicodeDecodeError as error:
        raise Invalid("the body is not UTF-8") from error
    except RecursionError as error:
        raise Invalid(f"the body is nested deeper than {NESTING_MAX} levels") from error
    return value


def _decoded(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        given = msgspec.json.decode(data)
        if not isinstance(given, dict):
            raise
        shape: Any = decoder.type
        empty = {name for name in never_null(shape) & given.keys() if given[name] is None}
        if not empty:
            raise
        left = {name: value for name, value in given.items() if name not in empty}
        return decoder.decode(msgspec.json.encode(left))


@cache
def never_null(shape: Any) -> frozenset[str]:
    """Return the names of a body's fields whose value is never null; of what is no struct none."""
    kind = msgspec.inspect.type_info(shape)
    if not isinstance(kind, msgspec.inspect.StructType):
        return frozenset()
    return frozenset(field.encode_name for field in kind.fields if not _may_be_null(field.type))


def _may_be_null(kind: msgspec.inspect.Type) -> bool:
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return any(isinstance(each, msgspec.inspect.NoneType | msgspec.inspect.AnyType) for each in kinds)


def sentence(message: str) -> str:
    """Say msgspec's message in the API's words, the field first."""
    if missing := _MISSING.match(message):
        inside = _PATH.search(message)
        place = f"{inside[1]}." if inside and inside[1] else ""
        return f"{place}{missing[1]} is required"
    found = _PATH.search(message)
    field = found[1] if found and found[1] else "the body"
    if expected := _EXPECTED.match(message):
        wanted = " or ".join(_words(part) for part in expected[1].split(" | "))
        return f"{field}: expected {wanted}, got {_words(expected[2])}"
    return f"{field}: {message[: found.start()] if found else message}"


def _words(kind: str) -> str:
    return _WORDS.get(kind, kind)


def _suspicious(data: bytes) -> bool:
    """Tell, without parsing, whether the body may hold what storage refuses."""
    return (
        data.count(b"[") + data.count(b"{") > NESTING_MAX
        or b"\\u0000" in data
        or _LONG_NUMBER.search(data) is not None
    )


def _check(value: Any, levels_left: int) -> None:
    match value:
        case str():
            if "\x00" in value:
                raise Invalid("the body holds the character U+0000, which cannot be stored")
        case int():
            if not INTEGER_MIN <= value <= INTEGER_MAX:
                raise Invalid("the body holds an integer that does not fit in 64 bits")
        case dict() | list():
            if levels_left == 0:
                raise Invalid(f"the body is nested deeper than {NESTING_MAX} levels")
            if isinstance(value, dict):
                for key in value:
                    _check(key, levels_left)
            for item in value.values() if isinstance(value, dict) else value:
                _check(item, levels_left - 1)
        case _:
            return

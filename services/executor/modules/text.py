"""Text: encodings and regular expressions (spec flow8 section 17.2)."""

import binascii
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Annotated, Any, Literal
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from msgspec import Meta, Struct

from libs.expressions import OUTPUT_BYTES_MAX
from services.executor.modules.contract import Module, ModuleFailed, PureModule, Step
from services.executor.modules.language import pattern_of

MATCHES_MAX = 100_000

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Go's replacement text: $1, ${1}, ${name} and $$ for the sign itself.
_GROUP = re.compile(r"\$(?:(\$)|(\d{1,3})|\{(\w+)\}|([A-Za-z_]\w*))", re.ASCII)


class TextArgs(Struct, frozen=True, kw_only=True):
    """Args of the modules that turn one text into another."""

    input: Annotated[str, Meta(description="The text.")]


class Base64EncodeArgs(Struct, frozen=True, kw_only=True, rename="camel"):
    """Args of `base64-encode`."""

    input: Annotated[str, Meta(description="The text.")]
    url_safe: Annotated[bool, Meta(description="With `-` and `_`, and without padding.")] = False


class Base64Encode(PureModule[Base64EncodeArgs]):
    """Text to base64."""

    app_id = "base64-encode"
    isolated = True
    docs = "Encodes text, as UTF-8, in base64."
    Args = Base64EncodeArgs
    shown_args = frozenset({"input"})
    args_example = {"input": "Grüße"}
    out_example = {"result": "R3LDvMOfZQ=="}

    def evaluate(self, args: Base64EncodeArgs, step: Step) -> dict[str, str]:
        """Return the base64 text (RFC 4648 sections 4 and 5)."""
        content = args.input.encode()
        encoded = urlsafe_b64encode(content).rstrip(b"=") if args.url_safe else b64encode(content)
        return {"result": encoded.decode()}


class Base64Decode(PureModule[TextArgs]):
    """Base64 to text."""

    app_id = "base64-decode"
    isolated = True
    docs = "Decodes base64, of the common or the URL-safe alphabet, with or without padding, to UTF-8 text."
    Args = TextArgs
    shown_args = frozenset({"input"})
    args_example = {"input": "R3LDvMOfZQ=="}
    out_example = {"result": "Grüße"}

    def evaluate(self, args: TextArgs, step: Step) -> dict[str, str]:
        """Return the text. Raises ModuleFailed when input is no base64, or what it holds is no text."""
        common = "".join(args.input.split()).rstrip("=").replace("-", "+").replace("_", "/")
        try:
            content = b64decode(common + "=" * (-len(common) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ModuleFailed("base64-decode: input is not base64", final=True) from error
        try:
            return {"result": content.decode()}
        except UnicodeDecodeError as error:
            raise ModuleFailed("base64-decode: input does not hold UTF-8 text", final=True) from error


class UrlArgs(Struct, frozen=True, kw_only=True):
    """Args of `url-encode` and `url-decode`."""

    input: Annotated[str, Meta(description="The text.")]
    style: Annotated[
        Literal["form", "component"],
        Meta(
            description="`form`: a space is `+`; `component`, for paths and what lies in them: a space is `%20`."
        ),
    ] = "form"


class UrlEncode(PureModule[UrlArgs]):
    """Text for a URL's query."""

    app_id = "url-encode"
    isolated = True
    docs = "Encodes text for a query or a form: a space becomes `+`, `&` becomes `%26`."
    Args = UrlArgs
    shown_args = frozenset({"input"})
    args_example = {"input": "salt & pepper"}
    out_example = {"result": "salt+%26+pepper"}

    def evaluate(self, args: UrlArgs, step: Step) -> dict[str, str]:
        """Return the encoded text."""
        return {"result": quote_plus(args.input) if args.style == "form" else quote(args.input, safe="")}


class UrlDecode(PureModule[UrlArgs]):
    """Text from a URL's query."""

    app_id = "url-decode"
    isolated = True
    docs = "Decodes text of a query or a form: `+` becomes a space, `%26` becomes `&`."
    Args = UrlArgs
    shown_args = frozenset({"input"})
    args_example = {"input": "salt+%26+pepper"}
    out_example = {"result": "salt & pepper"}

    def evaluate(self, args: UrlArgs, step: Step) -> dict[str, str]:
        """Return the text. Raises ModuleFailed for a `%` without two hex digits, or bytes that are no UTF-8."""
        if _BAD_ESCAPE.search(args.input):
            raise ModuleFailed("url-decode: a % in input is not followed by two hex digits", final=True)
        try:
            decode = unquote_plus if args.style == "form" else unquote
            return {"result": decode(args.input, errors="strict")}
        except UnicodeDecodeError as error:
            raise ModuleFailed("url-decode: input does not hold UTF-8 text", final=True) from error


class RegexArgs(Struct, frozen=True, kw_only=True):
    """Args of `regex`."""

    input: Annotated[str, Meta(description="The text to search.")]
    pattern: Annotated[str, Meta(description="A regular expression (RE2), found anywhere in the text.")]
    operation: Annotated[
        Literal["match", "find", "findAll", "replace", "split"], Meta(description="What to do.")
    ] = "match"
    replacement: Annotated[
        str, Meta(description="For `replace`: `$1` or `${name}` is a group, `$$` a dollar sign.")
    ] = ""
    flags: Annotated[
        str,
        Meta(
            pattern="^[imsU]*$",
            description="`i` ignores case, `m` lets `^` and `$` match at lines, `s` lets `.` match line ends, "
            "`U` makes repeats lazy.",
        ),
    ] = ""


class Regex(PureModule[RegexArgs]):
    """Search, replace or split by a pattern."""

    app_id = "regex"
    isolated = True
    docs = (
        "Applies a regular expression in linear time (RE2: no look-around, no back-references). `match` gives "
        "`{matched, found}`, `find` `{match, groups, found}` and, when groups have names, `named`, `findAll` "
        "`{matches, found, count}` and, when there are groups, `groups` with those of each match, `replace` "
        "`{result, found}`, `split` `{parts, count}`."
    )
    Args = RegexArgs
    shown_args = frozenset({"input", "pattern", "replacement"})
    args_example = {"input": "orders 17, 23 and 42", "pattern": "[0-9]+", "operation": "findAll"}
    out_example = {"matches": ["17", "23", "42"], "found": True, "count": 3}

    def evaluate(self, args: RegexArgs, step: Step) -> dict[str, Any]:
        """Return what the operation finds. Raises ModuleFailed for a bad pattern or too many matches."""
        pattern = pattern_of(f"(?{args.flags}){args.pattern}" if args.flags else args.pattern)
        match args.operation:
            case "match":
                found = pattern.search(args.input) is not None
                return {"matched": found, "found": found}
            case "find":
                return _find(pattern, args.input)
            case "findAll":
                return _find_all(pattern, args.input)
            case "replace":
                return _replace(pattern, args.input, args.replacement)
            case "split":
                parts = _split(pattern, args.input)
                return {"parts": parts, "count": len(parts)}


def _matches(pattern: Any, text: str) -> list[Any]:
    matches: list[Any] = []
    for match in pattern.finditer(text):
        if len(matches) == MATCHES_MAX:
            raise ModuleFailed(f"regex: there are more than {MATCHES_MAX:,} matches", final=True)
        matches.append(match)
    return matches


def _find(pattern: Any, text: str) -> dict[str, Any]:
    match = pattern.search(text)
    if match is None:
        return {"match": None, "groups": [], "found": False}
    found = {"match": match.group(0), "groups": list(match.groups()), "found": True}
    named = {name: match.group(name) for name in pattern.groupindex}
    return {**found, "named": named} if named else found


def _find_all(pattern: Any, text: str) -> dict[str, Any]:
    found = _matches(pattern, text)
    matches = [match.group(0) for match in found]
    out = {"matches": matches, "found": bool(matches), "count": len(matches)}
    return {**out, "groups": [list(match.groups()) for match in found]} if pattern.groups else out


def _replace(pattern: Any, text: str, replacement: str) -> dict[str, Any]:
    pieces: list[str] = []
    at, room = 0, OUTPUT_BYTES_MAX - len(text)
    for match in _matches(pattern, text):
        start, stop = match.span()
        put = _GROUP.sub(lambda group, match=match: _group_text(match, group), replacement)  # type: ignore[misc]
        # A short text of many matches and a long replacement would fill the memory.
        room -= len(put)
        if room < 0:
            raise ModuleFailed(f"regex: the result is larger than {OUTPUT_BYTES_MAX:,} bytes", final=True)
        pieces += (text[at:start], put)
        at = stop
    return {"result": "".join([*pieces, text[at:]]), "found": bool(pieces)}


def _group_text(match: Any, group: re.Match[str]) -> str:
    if group[1]:
        return "$"
    name = group[2] or group[3] or group[4]
    try:
        return match.group(int(name) if name.isdigit() else name) or ""
    except (IndexError, KeyError):
        return ""  # as in Go, a group that is not there is empty


def _split(pattern: Any, text: str) -> list[str]:
    """Return the pieces between the matches, as Go's Regexp.Split does."""
    parts: list[str] = []
    at = end = 0
    for match in _matches(pattern, text):
        end, stop = match.span()
        if stop:
            parts.append(text[at:end])
        at = stop
    return [*parts, text[at:]] if end != len(text) or not text else parts


MODULES: tuple[type[Module[Any]], ...] = (Base64Encode, Base64Decode, UrlEncode, UrlDecode, Regex)

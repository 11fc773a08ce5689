"""Secrets kept out of sight: what a step read as a secret stands in no event and no log line of it (D14, ADR 38).

Two fences. `read_by` finds the args that read a secret entry, whatever was done to it: modules refuse those that their
output shows. `masked` and `masked_value` then take the texts of the secrets out of what is recorded all the same, such
as an answer that repeats its request: as they are, and in the encodings in which texts travel.
"""

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from libs.expressions import ExpressionError, NeedsValue, Scope, compile_module_args

MASK = "***"
SHOWN_CODE = "SECRET_SHOWN"  # the error code of a step that would have shown a secret
# A shorter one would be found everywhere, and its mask would tell what it is.
SECRET_CHARS_MIN = 4
# Of so many texts the encodings are looked for as well; an entry with more is a document, not a credential.
ENCODED_TEXTS_MAX = 16

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


class Watched(Mapping[Any, Any]):
    """KV entries that remember whether one of these keys was read, and may show another value in their place."""

    def __init__(self, entries: Mapping[Any, Any], keys: Collection[Any], *, veil: Any = None) -> None:
        self._entries = entries
        self._keys = keys
        self._veil = veil
        self.read = False

    def __getitem__(self, key: Any) -> Any:
        """Return an entry."""
        if key not in self._keys:
            return self._entries[key]
        self.read = True
        return self._entries[key] if self._veil is None else self._veil

    def __contains__(self, key: Any) -> bool:
        """Tell whether there is such an entry, without reading it."""
        return key in self._entries

    def __iter__(self) -> Iterator[Any]:
        """Return the keys."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)


def read_by(
    args: Mapping[str, Any], scope: Scope, secrets: Collection[Any], raw: frozenset[str]
) -> list[str]:
    """Return the names of the args whose evaluation reads one of these secret entries, in whatever expression."""
    return [name for name, value in args.items() if _reads(name, value, scope, secrets, raw)]


def veiled(name: str, value: Any, scope: Scope, secrets: Collection[Any]) -> Any:
    """Return an arg evaluated as if every one of these secret entries were the mask; the mask when it cannot be."""
    entries = Watched(scope.kv, secrets, veil=MASK)
    try:
        return _evaluated(name, value, scope, entries, frozenset())
    except (ExpressionError, NeedsValue):
        return MASK


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the texts in a secret value that are long enough to be masked."""
    match value:
        case str():
            if len(value) >= SECRET_CHARS_MIN:
                yield value
        case dict():
            for part in value.values():
                yield from secrets_in(part)
        case list():
            for part in value:
                yield from secrets_in(part)
        case bool() | None:
            return
        case _:
            yield from secrets_in(str(value))


def masked(text: str, secrets: Collection[str]) -> str:
    """Return a text without these secrets, as they are or encoded."""
    return _without(text, _forms(secrets))


def masked_error(text: str, secrets: Collection[str]) -> str:
    """Return why a step failed that read secrets, even short ones: without them, and without anything it quotes."""
    return _QUOTED.sub(MASK, masked(text, secrets))


def masked_value(value: Any, secrets: Collection[str]) -> Any:
    """Return a JSON value without these secrets in any text or name of it; the value itself when it has none."""
    forms = _forms(secrets)
    written = msgspec.json.encode(value).decode()
    # Most values hold none: then nothing is built anew.
    return value if not any(form in written for form in forms) else _value_without(value, forms)


def _reads(name: str, value: Any, scope: Scope, secrets: Collection[Any], raw: frozenset[str]) -> bool:
    entries = Watched(scope.kv, secrets)
    try:
        _evaluated(name, value, scope, entries, raw)
    except (ExpressionError, NeedsValue):
        # The step as a whole was evaluated: what it read up to here is what counts.
        return True
    return entries.read


def _evaluated(name: str, value: Any, scope: Scope, entries: Watched, raw: frozenset[str]) -> Any:
    template = compile_module_args({name: value}, raw=raw)
    return template.evaluate(msgspec.structs.replace(scope, kv=entries))[name]


def _value_without(value: Any, forms: list[str]) -> Any:
    match value:
        case str():
            return _without(value, forms)
        case dict():
            return {_without(name, forms): _value_without(part, forms) for name, part in value.items()}
        case list():
            return [_value_without(part, forms) for part in value]
        case int() | float() if not isinstance(value, bool) and str(value) in forms:
            return MASK
        case _:
            return value


def _without(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        text = text.replace(form, MASK)
    return text


def _forms(secrets: Collection[str]) -> list[str]:
    """Return what to look for, the longest first: one may be a part of another."""
    forms = {*secrets, *map(_escaped, secrets)}
    if len(secrets) <= ENCODED_TEXTS_MAX:
        forms |= {form for secret in secrets for form in _encodings(secret)}
    return sorted((form for form in forms if len(form) >= SECRET_CHARS_MIN), key=len, reverse=True)


def _encodings(secret: str) -> Iterator[str]:
    content = secret.encode("utf-8", "replace")
    yield quote(content)
    yield quote(content, safe="")
    yield quote_plus(content)
    yield content.hex()
    yield content.hex().upper()
    # Where a secret begins in what was encoded decides how it looks in base64; its first and last characters are
    # shared with its neighbours.
    for shift, start in enumerate((0, 2, 3)):
        end = (shift + len(content)) * 8 // 6
        common = b64encode(bytes(shift) + content).decode()[start:end]
        yield common
        yield common.translate(_URL_SAFE)


def _escaped(secret: str) -> str:
    """Return a text as it stands in JSON."""
    return msgspec.json.encode(secret)[1:-1].decode()


_URL_SAFE = str.maketrans("+/", "-_")

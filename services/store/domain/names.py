"""Names derived from names, a flow's permanentId and a step's ref, and names of people (spec flow8 section 5)."""

import re
import unicodedata
from collections.abc import Container

from libs.common.ids import is_id
from libs.common.messages.access import PERMISSIONS

SLUG_CHARS_MAX = 80
REF_CHARS_MAX = 64
EMAIL_CHARS_MAX = 254
REF_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Special under `$prev`.
REFS_RESERVED = frozenset({"args", "input"})
_PERMANENT_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_WORDS = re.compile(r"[A-Za-z0-9]+")


def is_person(name: str) -> bool:
    """Tell whether a name may stand for people: a role, a user's id, or an email."""
    return name in PERMISSIONS or is_id(name) or ("@" in name and len(name) <= EMAIL_CHARS_MAX)


def slug_of(name: str) -> str:
    """Return the kebab-case form of a flow's first name: `Invoice Processing` → `invoice-processing`."""
    slug = "-".join(_words(name)).lower()[:SLUG_CHARS_MAX].strip("-")
    if not slug:
        return "flow"
    # What looks like an id would be taken for one wherever both are accepted.
    return f"flow-{slug}" if is_id(slug) else slug


def slug_candidate(slug: str, number: int) -> str:
    """Return the `number`-th name to try, from 1: the slug, then `slug-2`, `slug-3` and so on."""
    return slug if number == 1 else f"{slug}-{number}"


def is_permanent_id(text: str) -> bool:
    """Tell whether this text has the form of a permanentId."""
    return len(text) <= SLUG_CHARS_MAX + 20 and _PERMANENT_ID.fullmatch(text) is not None and not is_id(text)


def derived_ref(name: str, taken: Container[str]) -> str:
    """Return a camelCase ref for a step of this name that is not taken: `Fetch invoice` → `fetchInvoice`."""
    words = _words(name)
    first, rest = (words[0], words[1:]) if words else ("step", [])
    start = first.lower() if first.isupper() else first[0].lower() + first[1:]
    ref = start + "".join(word[0].upper() + word[1:] for word in rest)
    if ref[0].isdigit():
        ref = f"step{ref}"
    ref = ref[:REF_CHARS_MAX]
    candidate, number = ref, 2
    while candidate in taken or candidate in REFS_RESERVED:
        suffix = str(number)
        candidate, number = ref[: REF_CHARS_MAX - len(suffix)] + suffix, number + 1
    return candidate


def _words(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return _WORDS.findall(plain)

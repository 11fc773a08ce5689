"""Identifiers: one of the two places where chance enters the system (the other is time, in `clock`)."""

import hashlib
import itertools
import os
import secrets
import time

ID_HEX_LENGTH = 24
_counter = itertools.count(secrets.randbits(24))


def new_id() -> str:
    """Return a new id: 24 hex digits, the first 8 the second it was made in (spec flow8 section 2).

    Ids of one process sort by the time they were made; eight random bytes keep processes apart.
    """
    seconds = int(time.time())
    return f"{seconds & 0xFFFFFFFF:08x}{os.urandom(5).hex()}{next(_counter) & 0xFFFFFF:06x}"


def derived_id(*parts: str) -> str:
    """Return the id that these parts always give; used where a retry must name the same thing again."""
    digest = hashlib.blake2b(digest_size=ID_HEX_LENGTH // 2)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part.encode())
    return digest.hexdigest()


def is_id(text: str) -> bool:
    """Tell whether this text has the form of an id."""
    return len(text) == ID_HEX_LENGTH and all(c in "0123456789abcdef" for c in text)


def commit_id() -> str:
    """Return a random id for one decided commit: 32 hex digits, never derived from its content (design D3)."""
    return os.urandom(16).hex()


def random_seed() -> str:
    """Return 128 random bits as hex; every random choice of one play derives from such a seed (design D8)."""
    return os.urandom(16).hex()


def chance() -> float:
    """Return a random number in [0, 1); spreads retries, decides nothing."""
    return int.from_bytes(os.urandom(4)) / 2**32


def new_secret() -> str:
    """Return 256 random bits, URL-safe; for session ids and generated passwords."""
    return secrets.token_urlsafe(32)


def new_traceparent() -> str:
    """Return a W3C `traceparent` that starts a new, unsampled trace (https://www.w3.org/TR/trace-context/)."""
    raw = os.urandom(24).hex()
    return f"00-{raw[:32]}-{raw[32:]}-00"

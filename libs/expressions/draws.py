"""Randomness that is derived: the same seed and place give the same draw, in any process."""

from collections.abc import Iterator
from hashlib import blake2b

from libs.expressions.errors import Fault
from libs.expressions.limits import RANDOM_CHARS_MAX

_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_BASE36 = _LOWER + "0123456789"
_CUID_CHARS = 24  # CUID2: a letter, then base 36


def uuid(seed: str) -> str:
    """A UUID of version 4 (RFC 9562) by its bits."""
    bits = bytearray(_digest(seed, 0)[:16])
    bits[6] = bits[6] & 0x0F | 0x40
    bits[8] = bits[8] & 0x3F | 0x80
    text = bits.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def cuid(seed: str) -> str:
    """24 characters in the form of a CUID2."""
    first, *rest = _letters(seed, _CUID_CHARS, _BASE36)
    return _LOWER[_BASE36.index(first) % len(_LOWER)] + "".join(rest)


def integer(seed: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included. Raises Fault when there is none."""
    if low > high:
        raise Fault("the smallest number is above the largest")
    # 512 bits onto at most 64: the bias of the remainder is far below anything observable.
    return low + int.from_bytes(_digest(seed, 0), "big") % (high - low + 1)


def alphanumeric(seed: str, length: int) -> str:
    """So many letters and digits. Raises Fault for more than RANDOM_CHARS_MAX."""
    if not 0 <= length <= RANDOM_CHARS_MAX:
        raise Fault(f"a random string has 0 to {RANDOM_CHARS_MAX} characters")
    return "".join(_letters(seed, length, _ALPHANUMERIC))


def _letters(seed: str, length: int, alphabet: str) -> list[str]:
    fair_below = 256 - 256 % len(alphabet)
    fair = (byte for byte in _bytes(seed) if byte < fair_below)
    return [alphabet[byte % len(alphabet)] for _, byte in zip(range(length), fair, strict=False)]


def _bytes(seed: str) -> Iterator[int]:
    counter = 0
    while True:
        yield from _digest(seed, counter)
        counter += 1


def _digest(seed: str, counter: int) -> bytes:
    return blake2b(f"{counter}:{seed}".encode("utf-8", "surrogatepass")).digest()

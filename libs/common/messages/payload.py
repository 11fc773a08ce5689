"""Big values: a message names them, and their bytes lie beside the log (design D13)."""

import msgspec


class PayloadRef(msgspec.Struct, frozen=True):
    """Names a value by the SHA-256 of its JSON, in hex, and the length of that JSON in bytes."""

    digest: str
    bytes: int

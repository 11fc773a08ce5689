"""Everything raised on purpose, and the form in which it crosses the bus.

HeadraceError
├── Invalid            the request does not fit its schema             400
├── Unauthorized       no credential, or one that does not hold        401
├── Forbidden          the caller's role does not allow it             403
├── NotFound           there is no such thing (for this caller)        404
├── Refused            the rules of the domain forbid it               409
├── TooLarge           a limit on size was passed                      413
├── TooMany            a limit on rate or number was passed            429
├── PayloadLost        a big value that a message names is gone         500
├── Unavailable        NATS, Postgres or a service does not answer     503
│   ├── NobodyListens  no process of that service is connected         503
│   └── Unanswered     whoever was asked said nothing in time          503
└── Conflict           somebody else appended first                    decided again
"""

from typing import ClassVar

import msgspec


class HeadraceError(Exception):
    """An error that a caller can act on: an upper-snake code and a sentence."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class Invalid(HeadraceError):
    """The request does not fit its schema; the message names the field."""

    status = 400
    default_code = "VALIDATION_ERROR"


class Unauthorized(HeadraceError):
    """No credential was given, or it does not hold."""

    status = 401
    default_code = "UNAUTHORIZED"


class Forbidden(HeadraceError):
    """The caller is known, and may not."""

    status = 403
    default_code = "FORBIDDEN"


class NotFound(HeadraceError):
    """There is no such thing, or none that this caller may see."""

    status = 404
    default_code = "NOT_FOUND"


class Refused(HeadraceError):
    """The rules of the domain forbid it in the present state."""

    status = 409
    default_code = "CONFLICT"


class TooLarge(HeadraceError):
    """A limit on size was passed."""

    status = 413
    default_code = "PAYLOAD_TOO_LARGE"


class TooMany(HeadraceError):
    """A limit on rate or number was passed."""

    status = 429
    default_code = "TOO_MANY_REQUESTS"


class Unavailable(HeadraceError):
    """NATS, Postgres or a service does not answer; trying again later is safe."""

    status = 503
    default_code = "UNAVAILABLE"


class NobodyListens(Unavailable):
    """A request found no listener, so nothing has been done; asking again is safe whatever it asked."""


class Unanswered(Unavailable):
    """No answer came in time: what was asked may have been done, and asking again is safe for what changes nothing."""


class PayloadLost(HeadraceError):
    """A message names a big value whose bytes are not in the log any more: somebody deleted them."""

    default_code = "PAYLOAD_LOST"


class Conflict(HeadraceError):
    """Somebody else appended first (optimistic concurrency, design D3); load what is new and decide again."""

    status = 409
    default_code = "CONFLICT"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error on the wire between services."""

    status: int
    code: str
    message: str

    @classmethod
    def of(cls, error: HeadraceError) -> "Problem":
        """Return the wire form of this error."""
        return cls(status=error.status, code=error.code, message=error.message)

    def to_error(self) -> HeadraceError:
        """Return the error that this problem stands for, as its own class."""
        kind = _BY_STATUS.get(self.status, HeadraceError)
        return kind(self.message, code=self.code)


_BY_STATUS: dict[int, type[HeadraceError]] = {
    kind.status: kind
    for kind in (Invalid, Unauthorized, Forbidden, NotFound, Refused, TooLarge, TooMany, Unavailable)
}

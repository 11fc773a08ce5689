"""Personal access tokens: what programs of a user bring along (spec flow-like sections 2.1 and 4.1)."""

from datetime import datetime

import msgspec

from libs.common.messages.origin import Fact, Wish
from libs.common.messages.query import Query, Span

# Tokens name themselves, and no company.
EVERYBODY = "everybody"
# Section 2.2.
ALL, PROJECTS, TEAMS, NOTIFICATIONS, STORE, BILLING = 1, 2, 4, 8, 16, 32
PERMISSION_BITS = ALL | PROJECTS | TEAMS | NOTIFICATIONS | STORE | BILLING


class Pat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token without its secret, of which only the SHA-256 is kept."""

    id: str
    company_id: str
    user_id: str
    name: str
    digest: str
    permissions: int
    created_at: datetime
    valid_until: datetime | None = None
    revoked: bool = False


class PatView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token as lists show it."""

    id: str
    name: str
    permissions: int
    created_at: datetime
    valid_until: datetime | None


class IssuePat(Wish, frozen=True, kw_only=True, tag="pat.issue"):
    """Make a token that acts for the user `by`, under the SHA-256 of its secret."""

    pat_id: str
    name: str
    digest: str
    permissions: int = ALL
    valid_until: datetime | None = None


class RevokePat(Wish, frozen=True, kw_only=True, tag="pat.revoke"):
    """Make a token of the user `by` hold no longer."""

    pat_id: str


AnyPatCommand = IssuePat | RevokePat


class ListPats(Query, frozen=True, kw_only=True, tag="pat.list"):
    """The tokens of a user that were not revoked, oldest first."""

    user_id: str
    span: Span = Span()


AnyPatQuery = ListPats


class PatEvent(Fact, frozen=True, kw_only=True):
    """A fact about a token, with the whole of it (on `evt.pat.everybody.<id>`)."""

    pat: Pat


class PatIssued(PatEvent, frozen=True, kw_only=True):
    """A token was made."""


class PatRevoked(PatEvent, frozen=True, kw_only=True):
    """A token holds no longer."""

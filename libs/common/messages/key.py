"""API keys: tokens that act for a user, as definitions in the log (spec flow8 section 4)."""

from datetime import datetime
from typing import Literal

import msgspec

from libs.common.messages.origin import Fact, Wish
from libs.common.messages.query import Page, Query

Scope = Literal["standard", "mcp"]
SCOPES: tuple[Scope, ...] = ("standard", "mcp")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key without its token, which is shown once and stored nowhere."""

    id: str
    company_id: str
    user_id: str
    name: str
    scopes: tuple[Scope, ...]
    issued_at: datetime
    revoked: bool = False


class KeyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key as lists show it; `last_used_at` is coarse: at most one minute old per gateway."""

    id: str
    name: str
    scopes: tuple[str, ...]
    user_id: str
    issued_at: datetime
    last_used_at: datetime | None = None
    revoked: bool = False


class IssueKey(Wish, frozen=True, kw_only=True, tag="key.issue"):
    """Make a key that acts for the user `by`."""

    key_id: str
    name: str
    scopes: tuple[str, ...]


class RevokeKey(Wish, frozen=True, kw_only=True, tag="key.revoke"):
    """Make a key hold no longer; without `any_owner` only one of the user `by`."""

    key_id: str
    any_owner: bool = False


AnyKeyCommand = IssueKey | RevokeKey


class ListKeys(Query, frozen=True, kw_only=True, tag="key.list"):
    """Keys of a company, oldest first; of one user when `user_id` is given."""

    page: Page = Page()
    user_id: str | None = None


AnyKeyQuery = ListKeys


class KeyEvent(Fact, frozen=True, kw_only=True):
    """A fact about a key, with the whole of it (on `evt.key.<company>.<id>`)."""

    key: ApiKey


class KeyIssued(KeyEvent, frozen=True, kw_only=True):
    """A key was made."""


class KeyRevoked(KeyEvent, frozen=True, kw_only=True):
    """A key holds no longer."""


class KeyUsed(Fact, frozen=True, kw_only=True):
    """A gateway has seen a key in use; at most once a minute per key and gateway."""

    key_id: str
    company_id: str

"""Keys of apps: what programs of an app bring along, with a role of it (spec flow-like sections 2.1 and 4.3)."""

from datetime import datetime

import msgspec

from libs.common.messages.app import AppCommand
from libs.common.messages.origin import Fact

# Keys name themselves and their app, and no company.
EVERYBODY = "everybody"


class AppKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key without its secret, of which only the SHA-256 is kept."""

    id: str
    app_id: str
    company_id: str
    role_id: str
    name: str
    digest: str
    created_by: str
    created_at: datetime
    description: str | None = None
    valid_until: datetime | None = None
    revoked: bool = False


class IssueAppKey(AppCommand, frozen=True, kw_only=True, tag="app.key.issue"):
    """Make a key under the SHA-256 of its secret; without a role it has the app's default role."""

    key_id: str
    name: str
    digest: str
    role_id: str = ""
    description: str | None = None
    valid_until: datetime | None = None


class RevokeAppKey(AppCommand, frozen=True, kw_only=True, tag="app.key.revoke"):
    """Make a key hold no longer."""

    key_id: str


AnyAppKeyCommand = IssueAppKey | RevokeAppKey


class AppKeyEvent(Fact, frozen=True, kw_only=True):
    """A fact about a key, with the whole of it (on `evt.appkey.everybody.<id>`)."""

    key: AppKey


class AppKeyIssued(AppKeyEvent, frozen=True, kw_only=True):
    """A key was made."""


class AppKeyRevoked(AppKeyEvent, frozen=True, kw_only=True):
    """A key holds no longer."""

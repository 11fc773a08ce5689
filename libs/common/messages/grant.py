"""Grants: what a sign-in on the second surface leaves behind, a family of refresh tokens of which one holds at a time.

The tokens are in no message: a grant names the SHA-256 of the one that holds, and each token's SHA-256 names its grant.
"""

from datetime import datetime
from typing import Literal

import msgspec

from libs.common.messages.origin import Fact, Origin

# Grants are found by what a token says, and that is no company.
EVERYBODY = "everybody"
EndReason = Literal["logout", "reuse"]


class Grant(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One sign-in; `digest` is the SHA-256 of the refresh token that holds, `generation` how many came before it."""

    id: str
    company_id: str
    user_id: str
    digest: str
    generation: int
    opened_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ended: bool = False


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


class GrantEvent(Fact, frozen=True, kw_only=True):
    """A fact about a grant, with the whole of it (on `evt.grant.everybody.<id>`)."""

    grant: Grant


class GrantOpened(GrantEvent, frozen=True, kw_only=True):
    """Somebody signed in."""


class GrantRefreshed(GrantEvent, frozen=True, kw_only=True):
    """The refresh token was used, and another one holds now."""


class GrantEnded(GrantEvent, frozen=True, kw_only=True):
    """None of its tokens holds any more: its user left, or a refresh token was used twice."""

    reason: EndReason = "logout"


class RefreshIssued(Fact, frozen=True, kw_only=True):
    """Which grant a refresh token belongs to (on `evt.refresh.everybody.<digest>`)."""

    grant_id: str
    company_id: str


class AttemptUsed(Fact, frozen=True, kw_only=True):
    """A sign-in through a provider was finished (on `evt.attempt.everybody.<digest>`); that happens once."""

    provider: str


# ── requests to the store ───────────────────────────────────────────────────────────────────────────


class Opening(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", omit_defaults=True
):
    """What every way to sign in says: the new refresh token's SHA-256, and how long what holds."""

    at: datetime
    digest: str
    refresh_ttl_s: float
    access_ttl_s: float
    origin: Origin = Origin()


class SignIn(Opening, frozen=True, kw_only=True, tag="grant.open"):
    """Check the password of the user with this email, or else this username, and open the grant `grant_id`."""

    grant_id: str
    password: str
    email: str = ""
    username: str = ""


class Register(Opening, frozen=True, kw_only=True, tag="grant.register"):
    """Make a user in a company of their own and open the grant `grant_id` for them."""

    id: str
    grant_id: str
    email: str
    password: str
    username: str = ""
    name: str = ""


class SignInWith(Opening, frozen=True, kw_only=True, tag="grant.vouched"):
    """Open the grant `grant_id` for whom a provider vouches; `subject` is a SHA-256 of who they are there."""

    id: str
    grant_id: str
    provider: str
    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    may_register: bool = True


class Refresh(Opening, frozen=True, kw_only=True, tag="grant.refresh"):
    """Let the refresh token `digest` take the place of `used`; one that was used before ends its grant."""

    used: str


class EndGrant(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="grant.end"):
    """Let no token of a grant of this user hold any more."""

    at: datetime
    grant_id: str
    by: str
    origin: Origin = Origin()


AnyGrantCommand = SignIn | SignInWith | Register | Refresh | EndGrant


class Granted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A grant that was opened or refreshed, with the access token that goes with it."""

    access_token: str
    grant_id: str
    user_id: str
    company_id: str
    # How far into DEFINITIONS its user is.
    user_sequence: int = 0

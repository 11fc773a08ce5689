"""Signs people in on the second surface, refreshes and ends what that opened (spec flow-like section 11.3).

Each refresh token's SHA-256 is a subject that names its grant; the grant names the one that holds. Both expire from the
log with the grant.
"""

import math
from datetime import datetime

import structlog

from libs.common import codec, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected
from libs.common.errors import Conflict, Forbidden, Invalid, Unauthorized
from libs.common.ids import commit_id, is_id
from libs.common.messages.access import User, UserCreated, UserUpdated
from libs.common.messages.grant import (
    EVERYBODY,
    EndGrant,
    Grant,
    Granted,
    GrantEnded,
    GrantEvent,
    GrantOpened,
    GrantRefreshed,
    Opening,
    Refresh,
    RefreshIssued,
    Register,
    SignIn,
    SignInWith,
)
from libs.common.messages.query import Reply
from services.store.accounts import Accounts
from services.store.database import Database
from services.store.domain import access
from services.store.domain import grant as rules
from services.store.passwords import PASSWORD_CHARS_MAX, Passwords
from services.store.refusals import Refusals
from services.store.tokens import AccessTokens

# A mark of the end must outlive what it ends.
KEPT_EXTRA_S = 60
REFUSED = "email, username or password is wrong"
OVER = "this refresh token does not hold; sign in again"

log = structlog.get_logger(__name__)


class Grants:
    """Answers `cmd.grant`."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        passwords: Passwords,
        accounts: Accounts,
        tokens: AccessTokens,
        refusals: Refusals,
    ) -> None:
        self._refusals = refusals
        self._bus = bus
        self._database = database
        self._passwords = passwords
        self._accounts = accounts
        self._tokens = tokens

    async def sign_in(self, command: SignIn) -> Granted:
        """Check the password and open a grant.

        Raises Unauthorized in the same words and time for an unknown user and a wrong password, Forbidden for a
        disabled user with the right one, Invalid for what is malformed.
        """
        _check(command, command.grant_id)
        user = await self._named(command)
        # A longer one is none that was ever set; hashing it would be work for whoever sends it.
        password = command.password if len(command.password) <= PASSWORD_CHARS_MAX else ""
        sealed = user.password or None if user is not None else None
        matches = await self._passwords.matches(password, sealed, user_id="" if user is None else user.id)
        if user is None or not matches:
            log.info("sign_in_refused", known=user is not None)
            if user is not None:
                self._refusals.note(command, user)
            raise Unauthorized(REFUSED)
        if user.disabled:
            raise Forbidden("this user may not sign in any more")
        return await self._open(command, command.grant_id, user)

    async def register(self, command: Register) -> Reply:
        """Make a user in a company of their own and open a grant.

        Raises Invalid naming the field, Refused (EMAIL_TAKEN, USERNAME_TAKEN).
        """
        _check(command, command.grant_id)
        user, sequence = await self._accounts.register(command)
        granted = await self._open(command, command.grant_id, user, user_sequence=sequence)
        return Reply(data=codec.raw(granted), sequences={subjects.DEFINITIONS: sequence})

    async def refresh(self, command: Refresh) -> Granted:
        """Let a refresh token take another's place.

        Raises Unauthorized when it is unknown, over, or was used before, which ends its grant.
        """
        access.check_digest(command.digest)
        access.check_digest(command.used)
        rules.check_lengths(command)
        issued = await self._event(subjects.definition("refresh", EVERYBODY, command.used))
        if not isinstance(issued, RefreshIssued):
            raise Unauthorized(OVER)
        subject = subjects.definition("grant", EVERYBODY, issued.grant_id)
        while True:
            grant, sequence = await self._grant(subject)
            if grant is None:
                raise Unauthorized(OVER)
            user = await self._user(grant)
            if user is None or user.disabled or not rules.holds(grant, user, at=command.at):
                raise Unauthorized(OVER)
            event = rules.refreshed(command, grant)
            try:
                return await self._refreshed(event, command, sequence)
            except Conflict:
                # Somebody else was faster: now this token is a used one.
                continue

    async def end(self, command: EndGrant) -> dict[str, bool]:
        """End a grant; ending one that is over is fine. Raises NotFound for one of another user, Invalid."""
        subject = subjects.definition("grant", EVERYBODY, command.grant_id)
        if not is_id(command.grant_id):
            raise Invalid("grantId is not an id")
        while True:
            grant, sequence = await self._grant(subject)
            event = rules.ended(command, grant)
            if event is None:
                return {"ended": False}
            try:
                await self._store(event, sequence, at=command.at)
            except Conflict:
                continue
            return {"ended": True}

    async def vouched(self, command: SignInWith) -> Granted:
        """Open a grant for whom a provider vouches. Raises Forbidden when they may not sign in (`Accounts.vouched`)."""
        _check(command, command.grant_id)
        access.check_digest(command.subject)
        user, sequence = await self._accounts.vouched(command)
        if user.disabled:
            raise Forbidden("this user may not sign in any more")
        return await self._open(command, command.grant_id, user, user_sequence=sequence)

    async def _open(self, command: Opening, grant_id: str, user: User, *, user_sequence: int = 0) -> Granted:
        event = rules.opened(command, grant_id, user)
        await self._issue(command.digest, event.grant, at=command.at)
        try:
            await self._store(event, 0, at=command.at)
        except Conflict as error:
            raise Invalid("there is such a grant already") from error
        log.info("signed_in", user=user.id)
        return await self._granted(event.grant, command, user_sequence)

    async def _refreshed(
        self, event: GrantRefreshed | GrantEnded, command: Refresh, sequence: int
    ) -> Granted:
        if isinstance(event, GrantEnded):
            await self._store(event, sequence, at=command.at)
            log.warning("refresh_token_reused", user=event.grant.user_id, grant=event.grant.id)
            raise Unauthorized(OVER)
        # First where it belongs, then that it holds: one that holds is always found.
        await self._issue(command.digest, event.grant, at=command.at)
        await self._store(event, sequence, at=command.at)
        return await self._granted(event.grant, command, 0)

    async def _granted(self, grant: Grant, command: Opening, user_sequence: int) -> Granted:
        token = await self._tokens.sign(grant, at=command.at, ttl_s=command.access_ttl_s)
        return Granted(
            access_token=token,
            grant_id=grant.id,
            user_id=grant.user_id,
            company_id=grant.company_id,
            user_sequence=user_sequence,
        )

    async def _named(self, command: SignIn) -> User | None:
        column, value = ("email", command.email) if command.email else ("username", command.username)
        row = await self._database.row(
            f"select id, company_id from users where lower({column}) = lower($1) and {column} <> ''"  # noqa: S608
            " order by created_at, id limit 1",
            value.strip().replace("\0", ""),
        )
        if row is None:
            return None
        return _user_of(await self._event(subjects.definition("user", row["company_id"], row["id"])))

    async def _user(self, grant: Grant) -> User | None:
        return _user_of(await self._event(subjects.definition("user", grant.company_id, grant.user_id)))

    async def _grant(self, subject: str) -> tuple[Grant | None, int]:
        stored = await self._bus.last(subjects.DEFINITIONS, subject, leader=True)
        if stored is None:
            return None, 0
        event = codec.last_event(stored.data).data
        return (event.grant if isinstance(event, GrantEvent) else None), stored.sequence

    async def _event(self, subject: str) -> object:
        stored = await self._bus.last(subjects.DEFINITIONS, subject, leader=True)
        return None if stored is None else codec.last_event(stored.data).data

    async def _issue(self, digest: str, grant: Grant, *, at: datetime) -> None:
        event = RefreshIssued(at=at, grant_id=grant.id, company_id=grant.company_id)
        subject = subjects.definition("refresh", EVERYBODY, digest)
        await self._append(subject, event, grant, 0, ttl_s=_ttl_s(grant, at))

    async def _store(
        self, event: GrantOpened | GrantRefreshed | GrantEnded, expected: int, *, at: datetime
    ) -> None:
        subject = subjects.definition("grant", EVERYBODY, event.grant.id)
        ttl_s = _ttl_s(event.grant, at) + KEPT_EXTRA_S
        await self._append(subject, event, event.grant, expected, ttl_s=ttl_s)

    async def _append(
        self, subject: str, event: GrantEvent | RefreshIssued, grant: Grant, expected: int, *, ttl_s: int
    ) -> None:
        id = commit_id()
        context = codec.Context(source=codec.source_of(grant.company_id), subject=grant.id, correlation_id=id)
        await self._bus.append(
            subject,
            codec.encode_message(event, id=id, context=context),
            id=id,
            expected=Expected(subject, expected),
            headers={"Nats-TTL": f"{ttl_s}s"},
            deadline_s=APPEND_DEADLINE_S,
        )


def _check(command: Opening, grant_id: str) -> None:
    access.check_digest(command.digest)
    rules.check_lengths(command)
    if not is_id(grant_id):
        raise Invalid("grantId is not an id")


def _ttl_s(grant: Grant, at: datetime) -> int:
    return max(1, math.ceil((grant.expires_at - at).total_seconds()))


def _user_of(event: object) -> User | None:
    return event.user if isinstance(event, UserCreated | UserUpdated) else None

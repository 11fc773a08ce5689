"""Logs people in and out: a session lives on its own subject until its message expires (spec flow8 section 4)."""

import math

import structlog

from libs.common import codec, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus
from libs.common.errors import Unauthorized
from libs.common.ids import commit_id
from libs.common.messages.access import (
    LogIn,
    LogOut,
    Session,
    SessionClosed,
    SessionOpened,
    User,
)
from services.store.database import Database
from services.store.domain import access
from services.store.passwords import PASSWORD_CHARS_MAX, Passwords
from services.store.refusals import Refusals

# A mark of the end must outlive the session that it ends.
CLOSED_EXTRA_S = 60
REFUSED = "email or password is wrong"

log = structlog.get_logger(__name__)


class Sessions:
    """Answers LogIn and LogOut."""

    def __init__(self, bus: Bus, database: Database, passwords: Passwords, refusals: Refusals) -> None:
        self._bus = bus
        self._database = database
        self._passwords = passwords
        self._refusals = refusals

    async def open(self, command: LogIn) -> Session:
        """Check the password and open a session.

        Raises Unauthorized in the same words and time for an unknown email, a wrong password and a disabled user,
        Invalid for a malformed digest or length, Unavailable when NATS or Postgres is away.
        """
        access.check_digest(command.digest)
        user = await self._user(command.email)
        sealed = None if user is None else user.password
        user_id = "" if user is None else user.id
        # A longer one is none that was ever set; hashing it would be work for whoever sends it.
        password = command.password if len(command.password) <= PASSWORD_CHARS_MAX else ""
        matches = await self._passwords.matches(password, sealed, user_id=user_id)
        if user is None or user.disabled or not matches:
            log.info("login_refused", known=user is not None)
            if user is not None:
                self._refusals.note(command, user)
            raise Unauthorized(REFUSED)
        event = access.session_opened(command, user)
        await self._append(command.digest, event, user.company_id, ttl_s=math.ceil(command.ttl_s))
        log.info("login_accepted", user=user.id)
        return event.session

    async def close(self, command: LogOut) -> dict[str, bool]:
        """Close a session; closing one that is not open is fine."""
        access.check_digest(command.digest)
        subject = subjects.session(command.digest)
        stored = await self._bus.last(subjects.DEFINITIONS, subject, leader=True)
        opened = None if stored is None else codec.last_event(stored.data).data
        if not isinstance(opened, SessionOpened):
            return {"closed": False}
        session = opened.session
        left_s = max(0.0, (session.expires_at - min(command.at, session.opened_at)).total_seconds())
        event = SessionClosed(at=command.at, by=session.user_id, origin=command.origin)
        await self._append(
            command.digest, event, session.company_id, ttl_s=math.ceil(left_s) + CLOSED_EXTRA_S
        )
        return {"closed": True}

    async def _user(self, email: str) -> User | None:
        row = await self._database.row(
            """
            select id, company_id, email, name, role, disabled, password, created_at, updated_at
            from users where lower(email) = lower($1) order by created_at, id limit 1
            """,
            email.strip().replace("\0", ""),
        )
        return None if row is None else User(**dict(row))

    async def _append(
        self,
        digest: str,
        event: SessionOpened | SessionClosed,
        company_id: str,
        *,
        ttl_s: int,
    ) -> None:
        id = commit_id()
        context = codec.Context(source=codec.source_of(company_id), subject=digest, correlation_id=id)
        await self._bus.append(
            subjects.session(digest),
            codec.encode_message(event, id=id, context=context),
            id=id,
            headers={"Nats-TTL": f"{ttl_s}s"},
            deadline_s=APPEND_DEADLINE_S,
        )

"""The first company and its admin, from the environment: at each start, once, by however many stores (Q28)."""

from typing import Any

import structlog

from libs.common import codec, subjects
from libs.common.bus import Bus, Expected
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import Conflict, Unavailable
from libs.common.ids import commit_id
from libs.common.messages.access import User, UserCreated, UserUpdated
from services.store.claims import EMAIL, EVERYBODY, Claims
from services.store.domain import access
from services.store.passwords import Passwords
from services.store.users import email_name

ATTEMPTS_MAX = 10
APPEND_DEADLINE_S = 30.0

log = structlog.get_logger(__name__)


class Seeding:
    """Makes sure that the environment's admin exists and can log in with the environment's password."""

    def __init__(self, bus: Bus, config: Config, passwords: Passwords, clock: Clock) -> None:
        self._bus = bus
        self._config = config
        self._passwords = passwords
        self._clock = clock

    async def run(self) -> int:
        """Seed what is missing and return the sequence that holds it, 0 when nothing is to be seeded.

        Raises Invalid for an admin that could not log in, Unavailable when NATS is away.
        """
        email, password = self._config.admin_email.strip(), self._config.admin_password
        if not email or not password:
            log.info("seeding_skipped", reason="HEADRACE_ADMIN_EMAIL and HEADRACE_ADMIN_PASSWORD are not set")
            return 0
        access.check_admin(email, password)
        await self._company()
        for _ in range(ATTEMPTS_MAX):
            try:
                return await self._admin(email, password)
            except Conflict:
                continue
        raise Unavailable("other stores change the admin all the time")

    async def _company(self) -> None:
        event = access.first_company(self._config.company_name, at=self._clock.now())
        subject = subjects.definition("company", access.FIRST_COMPANY_ID, access.FIRST_COMPANY_ID)
        try:
            await self._append(subject, event, expected=0)
        except Conflict:
            return
        log.info("company_seeded", company=access.FIRST_COMPANY_ID)

    async def _admin(self, email: str, password: str) -> int:
        id = access.admin_id(email)
        await Claims(self._bus, EVERYBODY, EMAIL).claim(email_name(email), id, at=self._clock.now())
        subject = subjects.definition("user", access.FIRST_COMPANY_ID, id)
        stored = await self._bus.last(subjects.DEFINITIONS, subject, leader=True)
        if stored is None:
            sealed = await self._passwords.seal(password, user_id=id)
            log.info("admin_seeded", user=id)
            return await self._append(
                subject, access.first_admin(email, sealed, at=self._clock.now()), expected=0
            )
        user = _user(codec.last_event(stored.data).data)
        same = await self._passwords.matches(password, user.password, user_id=id)
        if same and user.role == "admin" and not user.disabled:
            return stored.sequence
        sealed = await self._passwords.seal(password, user_id=id)
        log.info("admin_restored", user=id)
        restored = access.admin_restored(user, sealed, at=self._clock.now())
        return await self._append(subject, restored, expected=stored.sequence)

    async def _append(self, subject: str, event: Any, *, expected: int) -> int:
        id = commit_id()
        context = codec.Context(
            source=codec.source_of(access.FIRST_COMPANY_ID),
            subject=subject.rpartition(".")[2],
            correlation_id=id,
        )
        body = codec.encode_message(event, id=id, context=context)
        place = await self._bus.append(
            subject, body, id=id, expected=Expected(subject, expected), deadline_s=APPEND_DEADLINE_S
        )
        return place.sequence


def _user(event: Any) -> User:
    assert isinstance(event, UserCreated | UserUpdated), "a user's subject holds a user's events"
    return event.user

"""People who register get a company of their own; everybody says of themself what they like (spec flow-like 11.3)."""

import contextlib
import hashlib

from libs.common import codec, subjects
from libs.common.bus import Bus, Expected
from libs.common.errors import Conflict
from libs.common.ids import commit_id
from libs.common.messages.access import User
from libs.common.messages.grant import Register
from libs.common.messages.query import Reply
from libs.common.messages.user import CreateUser, UpdateAccount
from services.store.claims import EMAIL, EVERYBODY, USERNAME, Claims
from services.store.domain import account as rules
from services.store.domain import user as user_rules
from services.store.domain.access import user_id_of
from services.store.users import Users, email_name

APPEND_DEADLINE_S = 5.0
# In a company of one's own one may do everything.
ROLE = "admin"


class Accounts:
    """Makes accounts, and changes what users say of themselves."""

    def __init__(self, bus: Bus, users: Users) -> None:
        self._bus = bus
        self._users = users
        self._emails = Claims(bus, EVERYBODY, EMAIL)
        self._usernames = Claims(bus, EVERYBODY, USERNAME)

    async def register(self, command: Register) -> tuple[User, int]:
        """Make a user in a company of their own, and return them with their place in DEFINITIONS.

        Raises Invalid naming the field, Refused (EMAIL_TAKEN, USERNAME_TAKEN).
        """
        email = user_rules.email_of(command.email)
        user_rules.check_password(command.password)
        company = rules.company_of(command, email)
        user_id = user_id_of(company.company.id, email)
        if await self._emails.owner(email_name(email)) not in (None, user_id):
            raise user_rules.taken(email)
        if command.username:
            await self._claim_username(rules.username_of(command.username), user_id, command)
        id = commit_id()
        subject = subjects.definition("company", company.company.id, company.company.id)
        context = codec.Context(source=codec.source_of(company.company.id), subject=company.company.id)
        body = codec.encode_message(company, id=id, context=context)
        # It may be there from a try that got no further, or its user may be there too, which is found out next.
        with contextlib.suppress(Conflict):
            await self._bus.append(
                subject, body, id=id, expected=Expected(subject, 0), deadline_s=APPEND_DEADLINE_S
            )
        done = await self._users.made(
            CreateUser(
                id=command.id,
                at=command.at,
                company_id=company.company.id,
                by=user_id,
                origin=command.origin,
                email=email,
                name=command.name,
                role=ROLE,
                password=command.password,
                username=command.username,
            )
        )
        user: User = done.event.user
        return user, done.sequence

    async def update(self, command: UpdateAccount) -> Reply:
        """Change what a user says of themself. Raises Invalid naming the field, Refused (USERNAME_TAKEN)."""
        username = command.fields.username
        if isinstance(username, str):
            await self._claim_username(rules.username_of(username), command.by, command)
        return await self._users.changed(command)

    async def _claim_username(self, username: str, user_id: str, command: Register | UpdateAccount) -> None:
        name = hashlib.sha256(username.lower().encode()).hexdigest()
        if not await self._usernames.claim(name, user_id, at=command.at):
            raise rules.username_taken(username)

"""People who register get a company of their own; everybody says of themself what they like (spec flow-like 11.3)."""

import contextlib
import hashlib

from libs.common import codec, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected
from libs.common.errors import Conflict, Forbidden
from libs.common.ids import commit_id, new_secret
from libs.common.messages.access import User, UserCreated, UserUpdated
from libs.common.messages.grant import Opening, Register, SignInWith
from libs.common.messages.query import Reply
from libs.common.messages.user import CreateUser, UpdateAccount
from services.store.claims import EMAIL, EVERYBODY, IDENTITY, USERNAME, Claims
from services.store.database import Database
from services.store.domain import account as rules
from services.store.domain import user as user_rules
from services.store.domain.access import user_id_of
from services.store.users import Users, email_name

# In a company of one's own one may do everything.
ROLE = "admin"


class Accounts:
    """Makes accounts, and changes what users say of themselves."""

    def __init__(self, bus: Bus, database: Database, users: Users) -> None:
        self._bus = bus
        self._database = database
        self._identities = Claims(bus, EVERYBODY, IDENTITY)
        self._users = users
        self._emails = Claims(bus, EVERYBODY, EMAIL)
        self._usernames = Claims(bus, EVERYBODY, USERNAME)

    async def vouched(self, command: SignInWith) -> tuple[User, int]:
        """Return the user whom a provider vouches for, made if need be, with their place in DEFINITIONS.

        Raises Forbidden when they may not be made, or their email is an account's that is not surely theirs.
        """
        owner = await self._identities.owner(command.subject)
        user = None if owner is None else await self._by("id = $1", owner)
        if user is not None:
            return user, 0
        if not command.email:
            raise Forbidden(f"{command.provider} says no email address of this user")
        user = await self._by("lower(email) = lower($1)", command.email.strip().replace("\0", ""))
        sequence = 0
        if user is None:
            if not command.may_register:
                raise Forbidden("registration is closed; ask whoever runs this installation for an account")
            user, sequence = await self._made_for(command)
        elif not rules.may_be_linked(user, command):
            # Whoever made this account may not own the mailbox, and the provider may not know who does.
            raise Forbidden("there is an account with this email; sign in with its password")
        if not await self._identities.claim(command.subject, user.id, at=command.at):
            raise Forbidden("this sign-in belongs to another user")
        return user, sequence

    async def _made_for(self, command: SignInWith) -> tuple[User, int]:
        register = Register(
            **{field: getattr(command, field) for field in Opening.__struct_fields__},
            id=command.id,
            grant_id=command.grant_id,
            email=command.email,
            # Nobody knows it: they sign in as they came.
            password=new_secret(),
            name=command.name,
        )
        return await self.register(register, email_verified=command.email_verified)

    async def _by(self, condition: str, value: str) -> User | None:
        sql = f"select id, company_id from users where {condition} order by created_at, id limit 1"  # noqa: S608
        row = await self._database.row(sql, value)
        if row is None:
            return None
        subject = subjects.definition("user", row["company_id"], row["id"])
        stored = await self._bus.last(subjects.DEFINITIONS, subject, leader=True)
        event = None if stored is None else codec.last_event(stored.data).data
        return event.user if isinstance(event, UserCreated | UserUpdated) else None

    async def register(self, command: Register, *, email_verified: bool = False) -> tuple[User, int]:
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
                email_verified=email_verified,
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

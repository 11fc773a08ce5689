"""Users: made, changed and listed for admins, passwords changed (spec flow8 section 20)."""

import hashlib

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.errors import Forbidden
from libs.common.ids import is_id
from libs.common.messages.access import User, UserCreated, UserUpdated
from libs.common.messages.query import Reply, Rows
from libs.common.messages.user import (
    AnyUserCommand,
    ChangePassword,
    CreateUser,
    GetUser,
    ListUsers,
    ResetPassword,
    UpdateAccount,
    UpdateUser,
    UserView,
)
from services.store.claims import EMAIL, EVERYBODY, Claims
from services.store.domain import account
from services.store.domain import user as rules
from services.store.domain.access import user_id_of
from services.store.ledger import Decided, Ledger, Rule, Stand, check_command
from services.store.listing import Listing, Where
from services.store.passwords import Passwords

_COLUMNS = "id, email, name, role, disabled, company_id, created_at, updated_at"


class Users:
    """Answers `cmd.user` and `qry.user`."""

    def __init__(self, bus: Bus, ledger: Ledger, listing: Listing, passwords: Passwords) -> None:
        self._ledger = ledger
        self._listing = listing
        self._passwords = passwords
        self._emails = Claims(bus, EVERYBODY, EMAIL)

    async def create(self, command: CreateUser) -> Reply:
        """Make a user. Raises Invalid naming the field, Refused (EMAIL_TAKEN) when another user has the email."""
        return _reply(await self.made(command))

    async def made(self, command: CreateUser) -> Stand:
        """Make a user and return the event that did. Raises as `create`."""
        check_command(command)
        email = rules.email_of(command.email)
        rules.role_of(command.role)
        rules.check_password(command.password)
        user_id = user_id_of(command.company_id, email)
        if not await self._emails.claim(email_name(email), user_id, at=command.at):
            raise rules.taken(email)
        sealed = await self._passwords.seal(command.password, user_id=user_id)

        async def rule(known: Stand | None) -> Decided:
            return Decided(rules.created(command, _user(known), user_id=user_id, sealed=sealed))

        return await self._done(command, user_id, rule)

    async def update(self, command: UpdateUser) -> Reply:
        """Change a user. Raises Invalid, NotFound (USER_NOT_FOUND), Refused (LAST_ADMIN)."""
        everybody = subjects.definition("user", command.company_id, "*")

        async def rule(known: Stand | None) -> Decided:
            if not rules.takes_admin(command, _user(known)):
                return Decided(rules.updated(command, _user(known), ()))
            # Whoever else loses the role meanwhile moves the lock: there is always one left.
            stands = await self._ledger.all(everybody)
            users = {user.id: user for stand in stands if (user := _user(stand)) is not None}
            event = rules.updated(command, users.get(command.user_id), users.values())
            return Decided(event, lock=everybody, expected=stands[-1].sequence)

        return await self._commit(command, command.user_id, rule)

    async def changed(self, command: UpdateAccount) -> Reply:
        """Change what the caller says of themself. Raises Invalid naming the field, NotFound (USER_NOT_FOUND)."""

        async def rule(known: Stand | None) -> Decided:
            return Decided(account.changed(command, _user(known)))

        return await self._commit(command, command.by, rule)

    async def reset_password(self, command: ResetPassword) -> Reply:
        """Give a user another password. Raises Invalid, NotFound (USER_NOT_FOUND)."""
        rules.check_password(command.password)
        return await self._set_password(command, command.user_id, command.password)

    async def change_password(self, command: ChangePassword) -> Reply:
        """Give the caller another password. Raises Invalid, Forbidden when the old one is wrong."""
        rules.check_password(command.new, "newPassword")
        check_command(command)
        subject = subjects.definition("user", command.company_id, command.by)
        user = rules.found(_user(await self._ledger.last(subject)), command.by)
        if not await self._passwords.matches(command.old, user.password, user_id=user.id):
            raise Forbidden("oldPassword is wrong")
        return await self._set_password(command, command.by, command.new)

    async def page(self, query: ListUsers) -> Rows:
        """Return a page of users, oldest first."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("role = ", query.role).add("disabled = ", query.disabled)
        rows, total = await self._listing.page(_COLUMNS, "users", where, "created_at, id", query.page)
        return Rows([UserView(**row) for row in rows], total)

    async def get(self, query: GetUser) -> UserView:
        """Return one user. Raises NotFound (USER_NOT_FOUND)."""
        await self._listing.caught_up(query)
        row = await self._listing.row(_COLUMNS, "users", Where(query.company_id).add("id = ", query.user_id))
        if row is None:
            rules.found(None, query.user_id)
        assert row is not None
        return UserView(**row)

    async def _set_password(
        self, command: ResetPassword | ChangePassword, user_id: str, password: str
    ) -> Reply:
        check_command(command)
        sealed = await self._passwords.seal(password, user_id=user_id)

        async def rule(known: Stand | None) -> Decided:
            return Decided(rules.password_changed(command, _user(known), user_id, sealed))

        return await self._commit(command, user_id, rule)

    async def _commit(self, command: AnyUserCommand, user_id: str, rule: Rule) -> Reply:
        return _reply(await self._done(command, user_id, rule))

    async def _done(self, command: AnyUserCommand, user_id: str, rule: Rule) -> Stand:
        if not is_id(user_id):
            rules.found(None, user_id)
        subject = subjects.definition("user", command.company_id, user_id)
        return await self._ledger.commit(command, subject, rule)


def email_name(email: str) -> str:
    """Return the token under which an email is claimed: a hash, for an address does not fit in a subject."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()


def _reply(done: Stand) -> Reply:
    user = done.event.user
    view = UserView(**{field: getattr(user, field) for field in UserView.__struct_fields__})
    return Reply(data=codec.raw(view), sequences={subjects.DEFINITIONS: done.sequence})


def _user(known: Stand | None) -> User | None:
    event = None if known is None else known.event
    return event.user if isinstance(event, UserCreated | UserUpdated) else None

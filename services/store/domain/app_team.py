"""The rules for the roles and members of apps (spec flow-like section 4.3)."""

import msgspec

from libs.common.errors import Forbidden, Invalid, NotFound, Refused
from libs.common.messages.app import (
    AnswerJoin,
    App,
    AppUpdated,
    AssignRole,
    Bit,
    DeleteRole,
    InviteMember,
    JoinApp,
    JoinRequest,
    Member,
    PutRole,
    RemoveMember,
    Role,
    SetDefaultRole,
)
from services.store.domain import fields as check
from services.store.domain.app import (
    allowed,
    bits_of,
    changed,
    check_permissions,
    is_listed,
    no_such,
    owner_of,
    role_of,
)

ROLES_MAX = 50
MEMBERS_MAX = 1_000
QUEUE_MAX = 1_000
ATTRIBUTES_MAX = 50
MESSAGE_CHARS_MAX = 1_000

TeamCommand = (
    PutRole | DeleteRole | SetDefaultRole | AssignRole | InviteMember | RemoveMember | JoinApp | AnswerJoin
)


def decided(command: TeamCommand, app: App, *, user_exists: bool) -> AppUpdated:
    """Return the event of a change of roles or members; `user_exists` in the company, for who is invited.

    Raises NotFound, Forbidden, Invalid naming the field, Refused.
    """
    match command:
        case RemoveMember():
            return changed(command, _removed(command, app))
        case JoinApp():
            return changed(command, _joined(command, app))
    allowed(app, command.by, Bit.ADMIN)
    match command:
        case PutRole():
            made = _with_role(command, app)
        case DeleteRole():
            made = _without_role(command, app)
        case SetDefaultRole():
            if role_of(app, command.role_id).permissions & Bit.OWNER:
                raise Forbidden("an app has one owner")
            made = msgspec.structs.replace(app, default_role_id=command.role_id)
        case AssignRole():
            made = _assigned(command, app)
        case InviteMember():
            made = _invited(command, app, user_exists=user_exists)
        case AnswerJoin():
            made = _answered(command, app)
    return changed(command, made)


def _with_role(command: PutRole, app: App) -> App:
    known = {role.id: role for role in app.roles}
    old = known.get(command.role_id)
    if old is not None and old.permissions & Bit.OWNER:
        raise Forbidden("the owner's role stays as it is")
    if len(command.attributes) > ATTRIBUTES_MAX:
        raise Invalid(f"attributes holds at most {ATTRIBUTES_MAX} entries")
    known[command.role_id] = Role(
        id=command.role_id,
        name=check.name(command.name),
        permissions=check_permissions(command.permissions),
        description=None
        if command.description is None
        else check.text(command.description, "description", chars_max=MESSAGE_CHARS_MAX),
        attributes=tuple(check.text(entry, "attributes") for entry in command.attributes),
    )
    if len(known) > ROLES_MAX:
        raise Refused(f"an app has at most {ROLES_MAX} roles")
    return msgspec.structs.replace(app, roles=tuple(known.values()))


def _without_role(command: DeleteRole, app: App) -> App:
    role = role_of(app, command.role_id)
    if role.permissions & Bit.OWNER or role.id == app.default_role_id:
        raise Forbidden("the owner's role and the default role cannot be deleted")
    members = tuple(
        msgspec.structs.replace(m, role_id=app.default_role_id) if m.role_id == role.id else m
        for m in app.members
    )
    roles = tuple(other for other in app.roles if other.id != role.id)
    return msgspec.structs.replace(app, roles=roles, members=members)


def _assigned(command: AssignRole, app: App) -> App:
    role = role_of(app, command.role_id)
    if command.user_id == command.by:
        raise Forbidden("nobody gives themself a role")
    if bits_of(app, command.user_id) == 0:
        raise NotFound(f"there is no member {command.user_id[:80]}")
    owner = owner_of(app)
    if role.permissions & Bit.OWNER:
        if owner != command.by:
            raise Forbidden("only the owner hands an app over")
        admin = next(r for r in app.roles if r.permissions & Bit.ADMIN)
        return _given(_given(app, owner, admin.id), command.user_id, role.id)
    if command.user_id == owner:
        raise Forbidden("the owner stays owner until they hand the app over")
    return _given(app, command.user_id, role.id)


def _given(app: App, user_id: str, role_id: str) -> App:
    members = tuple(
        msgspec.structs.replace(m, role_id=role_id) if m.user_id == user_id else m for m in app.members
    )
    return msgspec.structs.replace(app, members=members)


def _invited(command: InviteMember, app: App, *, user_exists: bool) -> App:
    if app.visibility in ("Private", "Offline"):
        raise Forbidden(f"an app that is {app.visibility} has no members but its owner")
    if not user_exists:
        raise NotFound(f"there is no user {command.user_id[:80]}")
    return _admitted(app, command.user_id, command)


def _admitted(app: App, user_id: str, command: InviteMember | JoinApp | AnswerJoin) -> App:
    queue = tuple(entry for entry in app.queue if entry.user_id != user_id)
    if bits_of(app, user_id):
        return msgspec.structs.replace(app, queue=queue)
    if len(app.members) >= MEMBERS_MAX:
        raise Refused(f"an app has at most {MEMBERS_MAX} members")
    member = Member(user_id=user_id, role_id=app.default_role_id, joined_at=command.at)
    return msgspec.structs.replace(app, members=(*app.members, member), queue=queue)


def _removed(command: RemoveMember, app: App) -> App:
    # Everybody may leave.
    if command.user_id != command.by:
        allowed(app, command.by, Bit.ADMIN)
    elif bits_of(app, command.by) == 0 and not is_listed(app):
        raise no_such(app.id)
    if bits_of(app, command.user_id) == 0:
        raise NotFound(f"there is no member {command.user_id[:80]}")
    if command.user_id == owner_of(app):
        raise Forbidden("the owner leaves an app by handing it over")
    members = tuple(member for member in app.members if member.user_id != command.user_id)
    return msgspec.structs.replace(app, members=members)


def _joined(command: JoinApp, app: App) -> App:
    if bits_of(app, command.by):
        raise Invalid("you are a member already")
    if not is_listed(app):
        raise no_such(app.id)
    if app.visibility == "Public":
        if app.price > 0:
            raise Forbidden("this app has a price, and nothing is sold here")
        return _admitted(app, command.by, command)
    if any(entry.user_id == command.by for entry in app.queue):
        return app
    if len(app.queue) >= QUEUE_MAX:
        raise Refused(f"at most {QUEUE_MAX} wait to be admitted")
    message = check.text(command.message, "message", chars_max=MESSAGE_CHARS_MAX)
    entry = JoinRequest(id=command.request_id, user_id=command.by, at=command.at, message=message)
    return msgspec.structs.replace(app, queue=(*app.queue, entry))


def _answered(command: AnswerJoin, app: App) -> App:
    for entry in app.queue:
        if entry.id == command.request_id:
            rest = tuple(other for other in app.queue if other.id != entry.id)
            waiting = msgspec.structs.replace(app, queue=rest)
            return _admitted(waiting, entry.user_id, command) if command.accept else waiting
    raise NotFound(f"there is no request {command.request_id[:80]}")

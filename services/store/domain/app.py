"""The rules for apps: who may change what of them, and who may see them (spec flow-like sections 2.2 and 5)."""

import re
from typing import Any

import msgspec
from msgspec import UNSET

from libs.common.errors import Forbidden, Invalid, NotFound, Refused
from libs.common.ids import derived_id
from libs.common.messages.app import (
    EVERYTHING,
    LISTED,
    USER_BITS,
    App,
    AppCommand,
    AppCreated,
    AppDeleted,
    AppFields,
    AppUpdated,
    Bit,
    CreateApp,
    DeleteApp,
    Member,
    Meta,
    MetaFields,
    Role,
    UpdateApp,
    holds,
)
from libs.common.messages.group import Group
from services.store.domain import fields as check

LANGUAGES_MAX = 50
TAGS_MAX = 50
MEDIA_MAX = 20
SHORT_CHARS_MAX = 1_000
LONG_CHARS_MAX = 20_000
PRICE_CENTS_MAX = 100_000_000
AGE_YEARS_MAX = 99
BITS_MAX = 100
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_LONG = frozenset({"long_description", "release_notes", "use_case", "changelog"})


def first_roles(app_id: str) -> tuple[Role, Role, Role]:
    """Return the roles that a new app has: owner, admin, and that of whoever joins."""
    return (
        Role(id=derived_id(app_id, "role", "owner"), name="Owner", permissions=Bit.OWNER),
        Role(id=derived_id(app_id, "role", "admin"), name="Admin", permissions=Bit.ADMIN),
        Role(id=derived_id(app_id, "role", "user"), name="User", permissions=USER_BITS),
    )


def of_group(group: Group, owner_id: str) -> App:
    """Return a group of which nothing else is known as an app, with this owner."""
    owner, admin, user = first_roles(group.id)
    return App(
        id=group.id,
        company_id=group.company_id,
        created_at=group.created_at,
        updated_at=group.updated_at,
        roles=(owner, admin, user),
        default_role_id=user.id,
        members=(Member(user_id=owner_id, role_id=owner.id, joined_at=group.created_at),),
    )


def named(app: App, name: str) -> App:
    """Return an app that bears its group's name in its own language."""
    told = app.meta.get(app.language)
    if told is None:
        told = Meta(name=name, created_at=app.created_at, updated_at=app.updated_at)
    return msgspec.structs.replace(
        app, meta={**app.meta, app.language: msgspec.structs.replace(told, name=name)}
    )


def owner_of(app: App) -> str:
    """Return the owner's id."""
    return next((m.user_id for m in app.members if role_of(app, m.role_id).permissions & Bit.OWNER), "")


def role_of(app: App, role_id: str) -> Role:
    """Return a role of an app. Raises NotFound when there is none."""
    for role in app.roles:
        if role.id == role_id:
            return role
    raise NotFound(f"there is no role {role_id[:80]}")


def bits_of(app: App, user_id: str) -> int:
    """Return what a user's role in an app may, 0 for who is no member."""
    for member in app.members:
        if member.user_id == user_id:
            return role_of(app, member.role_id).permissions
    return 0


def is_listed(app: App) -> bool:
    """Tell whether everybody may know of an app."""
    return app.visibility in LISTED and app.status == "Active" and app.published_id != "" and not app.deleted


def allowed(app: App, user_id: str, wanted: int) -> App:
    """Return the app when the user's role may this.

    Raises NotFound to strangers, Forbidden to members, and to strangers when the app is listed (FQ12).
    """
    bits = bits_of(app, user_id)
    if bits == 0 and not is_listed(app):
        raise no_such(app.id)
    if not holds(bits, wanted):
        raise Forbidden("your role in this app does not allow that")
    return app


def no_such(app_id: str) -> NotFound:
    """Return the refusal of an app that is not there, or not for this caller."""
    return NotFound(f"there is no app {app_id[:80]}", code="APP_NOT_FOUND")


def created(command: CreateApp, known: App | None) -> AppCreated:
    """Return the event that makes an app of which nobody but its owner knows. Raises Invalid, Refused."""
    if known is not None:
        raise Refused(f"there is an app {command.app_id} already")
    if command.meta.name is UNSET:
        raise Invalid("name is required")
    group = Group(
        id=command.app_id,
        company_id=command.company_id,
        name="",
        index=0,
        created_at=command.at,
        updated_at=command.at,
    )
    made = _with(of_group(group, command.by), command)
    made = msgspec.structs.replace(
        made,
        language=command.language,
        bits=tuple(check.text(bit, "bits") for bit in command.bits[: BITS_MAX + 1]),
        installed_from=command.installed_from,
    )
    if len(made.bits) > BITS_MAX:
        raise Invalid(f"bits holds at most {BITS_MAX} entries")
    return AppCreated(at=command.at, by=command.by, origin=command.origin, app=made)


def updated(command: UpdateApp, app: App) -> AppUpdated:
    """Return the event that changes an app. Raises Forbidden, NotFound, Invalid naming the field."""
    if command.fields != AppFields():
        allowed(app, command.by, Bit.ADMIN)
    allowed(app, command.by, Bit.WRITE_META)
    return changed(command, _with(app, command))


def deleted(command: DeleteApp, app: App) -> AppDeleted:
    """Return the event that deletes an app. Raises Forbidden to all but its owner, NotFound."""
    may_delete(command, app)
    gone = msgspec.structs.replace(app, deleted=True, updated_at=command.at)
    return AppDeleted(at=command.at, by=command.by, origin=command.origin, app=gone)


def may_delete(command: AppCommand, app: App) -> None:
    """Raise Forbidden or NotFound unless the caller owns the app."""
    allowed(app, command.by, Bit.OWNER)
    if owner_of(app) != command.by:
        raise Forbidden("only the owner of an app may do that")


def changed(command: AppCommand, app: App) -> AppUpdated:
    """Return the event of an app that has become this."""
    made = msgspec.structs.replace(app, updated_at=command.at)
    return AppUpdated(
        at=command.at,
        by=command.by,
        origin=command.origin,
        app=made,
        change=str(type(command).__struct_config__.tag),
    )


def check_permissions(permissions: int) -> int:
    """Return a sum of bits. Raises Invalid when there are others in it, or the owner's."""
    if permissions < 1 or permissions & ~EVERYTHING:
        raise Invalid(f"permissions must be made of the bits of {EVERYTHING}")
    if permissions & Bit.OWNER:
        raise Invalid("permissions: an app has one owner")
    return permissions


def _with(app: App, command: CreateApp | UpdateApp) -> App:
    meta = dict(app.meta)
    if command.meta != MetaFields():
        if not _LANGUAGE.fullmatch(command.language) or len(command.language) > 35:
            raise Invalid("language must be a language tag such as en or pt-BR")
        meta[command.language] = _told(command, meta.get(command.language))
        if len(meta) > LANGUAGES_MAX:
            raise Invalid(f"an app is described in at most {LANGUAGES_MAX} languages")
    return msgspec.structs.replace(app, meta=meta, **_checked_fields(command.fields))


def _told(command: CreateApp | UpdateApp, known: Meta | None) -> Meta:
    new = _checked_meta(command.meta)
    if known is not None:
        return msgspec.structs.replace(known, **new, updated_at=command.at)
    if "name" not in new:
        raise Invalid("name is required in a language that the app is not yet described in")
    return Meta(**new, created_at=command.at, updated_at=command.at)


def _checked_fields(given: AppFields) -> dict[str, Any]:
    new = {
        name: value for name in AppFields.__struct_fields__ if (value := getattr(given, name)) is not UNSET
    }
    for name in ("version", "changelog"):
        if new.get(name) is not None:
            check.text(new[name], name, chars_max=LONG_CHARS_MAX if name in _LONG else check.NAME_CHARS_MAX)
    if "price" in new:
        new["price"] = check.whole(new["price"] or 0, "price", high=PRICE_CENTS_MAX)
    return new


def _checked_meta(given: MetaFields) -> dict[str, Any]:
    new = {
        name: value for name in MetaFields.__struct_fields__ if (value := getattr(given, name)) is not UNSET
    }
    if "description" in new:
        new["description"] = new["description"] or ""
    for name, value in new.items():
        if name == "name":
            check.name(value)
        elif name in ("tags", "preview_media"):
            _texts(value, name, TAGS_MAX if name == "tags" else MEDIA_MAX)
        elif name == "age_rating":
            if value is not None:
                check.whole(value, name, high=AGE_YEARS_MAX)
        elif value is not None:
            check.text(value, name, chars_max=LONG_CHARS_MAX if name in _LONG else SHORT_CHARS_MAX)
    return new


def _texts(value: tuple[str, ...], field: str, entries_max: int) -> None:
    if len(value) > entries_max:
        raise Invalid(f"{field} holds at most {entries_max} entries, not {len(value)}")
    for entry in value:
        check.text(entry, field, chars_max=SHORT_CHARS_MAX)

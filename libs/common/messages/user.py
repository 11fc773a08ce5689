"""What admins ask about users, and users about themselves; the facts are in `access` (spec flow8 section 20)."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.origin import Wish
from libs.common.messages.query import Page, Query


class UserView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user as the API shows one: never with a password."""

    id: str
    email: str
    name: str
    role: str
    disabled: bool
    company_id: str
    created_at: datetime
    updated_at: datetime


class UserFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What an admin may change on a user; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class CreateUser(Wish, frozen=True, kw_only=True, tag="user.create"):
    """Make a user with this password."""

    email: str
    name: str
    role: str
    password: str
    username: str = ""
    email_verified: bool = False


class UpdateUser(Wish, frozen=True, kw_only=True, tag="user.update"):
    """Change fields of a user."""

    user_id: str
    fields: UserFields


class AccountFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What users may change on themselves; what is unset stays as it is (spec flow-like section 4.1)."""

    name: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    preferred_username: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    additional_information: str | UnsetType = UNSET
    accepted_terms_version: str | UnsetType = UNSET
    tutorial_completed: bool | UnsetType = UNSET


class UpdateAccount(Wish, frozen=True, kw_only=True, tag="user.account"):
    """Change fields of the user `by`."""

    fields: AccountFields


class ResetPassword(Wish, frozen=True, kw_only=True, tag="user.password.reset"):
    """Give a user another password, and end their sessions."""

    user_id: str
    password: str


class ChangePassword(Wish, frozen=True, kw_only=True, tag="user.password.change"):
    """Give the user `by` another password, for the old one; ends their sessions."""

    old: str
    new: str


AnyUserCommand = CreateUser | UpdateUser | UpdateAccount | ResetPassword | ChangePassword


class ListUsers(Query, frozen=True, kw_only=True, tag="user.list"):
    """Users of a company, oldest first."""

    page: Page = Page()
    role: str | None = None
    disabled: bool | None = None


class GetUser(Query, frozen=True, kw_only=True, tag="user.get"):
    """One user."""

    user_id: str


AnyUserQuery = ListUsers | GetUser

"""Who is asking: a person behind a session, or a key that acts for one."""

import msgspec

from libs.common.errors import Forbidden
from libs.common.messages.access import PERMISSIONS, Permission, User
from libs.common.messages.pat import ALL


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose credential held; `scopes` are an API key's, empty for a session, which may all its role may."""

    user_id: str
    company_id: str
    email: str
    name: str
    role: str
    permissions: frozenset[Permission]
    scopes: frozenset[str] = frozenset()
    key_id: str = ""
    # The sign-in behind an access token.
    grant_id: str = ""
    # A personal access token's (spec flow-like section 2.2); other credentials may all that the role may.
    pat_bits: int = ALL
    # Of an app's key: the app it is for, and the role it holds there. Then there is no user.
    app_id: str = ""
    app_role_id: str = ""

    def must_reach(self, bits: int) -> None:
        """Raise Forbidden unless the caller's personal access token, if it is one, holds one of these permissions."""
        if not self.pat_bits & (ALL | bits):
            raise Forbidden("this personal access token does not hold the permission for that")

    def must(self, permission: Permission) -> None:
        """Raise Forbidden unless the caller's role holds this permission."""
        if permission not in self.permissions:
            raise Forbidden(f"the role {self.role} does not hold the permission to {permission}")


def of_user(
    user: User,
    *,
    scopes: frozenset[str] = frozenset(),
    key_id: str = "",
    grant_id: str = "",
    pat_bits: int = ALL,
) -> Principal:
    """Return a user as a caller, who may what their role may; the rest tells of the credential."""
    return Principal(
        user_id=user.id,
        company_id=user.company_id,
        email=user.email,
        name=user.name,
        role=user.role,
        permissions=frozenset(PERMISSIONS[user.role]),
        scopes=scopes,
        key_id=key_id,
        grant_id=grant_id,
        pat_bits=pat_bits,
    )


NOBODY = Principal(user_id="", company_id="", email="", name="", role="", permissions=frozenset())

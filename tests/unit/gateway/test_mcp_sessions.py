"""Sessions of MCP clients: a company has so many, and loses the one that was silent for longest."""

from typing import cast

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.session import ServerSession

from libs.common.clock import SystemClock
from services.gateway.mcp.sessions import SESSIONS_PER_COMPANY_MAX, Sessions

OWNER = AuthenticatedUser(AccessToken(token="", client_id="key", scopes=[]))


def full(company: str = "a") -> Sessions:
    sessions = Sessions(SystemClock())
    for number in range(SESSIONS_PER_COMPANY_MAX + 1):
        sessions.opened(f"{company}{number}", company, OWNER)
    return sessions


def test_a_company_with_room_loses_nothing() -> None:
    sessions = full()
    sessions.over("a7")
    assert sessions.too_many("a", set()) is None
    assert sessions.too_many("b", set()) is None


def test_the_most_silent_one_goes_unless_it_is_busy() -> None:
    sessions = full()
    sessions.used("a0")
    assert sessions.too_many("a", set()) == ("a1", OWNER)
    assert sessions.too_many("a", {"a1", "a2"}) == ("a3", OWNER)


def test_only_a_company_that_asked_for_tools_is_told_of_changes() -> None:
    sessions = full()
    sessions.opened("b", "b", OWNER)
    asked = cast(ServerSession, object())
    sessions.listens("a5", asked)
    sessions.listens(None, asked)
    assert (sessions.of("a"), sessions.of("b")) == ([asked], [])

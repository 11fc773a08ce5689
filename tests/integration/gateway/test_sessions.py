"""Sessions are checked without the store, and what changes them counts at once."""

import pytest

from libs.common.messages import access as a
from tests.e2e.api import Api
from tests.integration.gateway.conftest import COMPANY, FLOW, NOW, SECRET, USER, Log, session_subject
from tests.waiting import eventually


async def test_the_caller_is_who_the_session_says(api: Api) -> None:
    assert await api.get("/api/auth/me") == {
        "id": USER,
        "email": "ada@example.test",
        "name": "Ada",
        "companyId": COMPANY,
        "role": "admin",
        "permissions": ["administer", "edit", "read", "run"],
    }


@pytest.mark.parametrize(
    "path", ["/api/auth/me", "/api/flows", "/api/plays", f"/api/flows/{FLOW}", "/api/ws"]
)
async def test_without_a_session_nothing_is_told(stranger: Api, path: str) -> None:
    assert await stranger.refused("GET", path) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("secret", ["", "x" * 43, "x" * 4_000, SECRET[:-1], "*", ">"])
async def test_a_made_up_session_does_not_hold(stranger: Api, secret: str) -> None:
    answer = await stranger.call("GET", "/api/auth/me", headers={"Cookie": f"sid={secret}"})
    assert answer.status == 401


async def test_a_bearer_that_does_not_hold_is_not_saved_by_a_cookie(api: Api) -> None:
    answer = await api.call("GET", "/api/auth/me", headers={"Authorization": "Bearer a.b.c"})
    assert (answer.status, answer.json["error"]) == (401, "UNAUTHORIZED")


async def test_an_expired_session_does_not_hold(stranger: Api, log: Log) -> None:
    await log.session("e" * 43, ttl_s=-1)
    answer = await stranger.call("GET", "/api/auth/me", headers={"Cookie": "sid=" + "e" * 43})
    assert answer.status == 401


async def test_a_closed_session_ends_everywhere(api: Api, log: Log) -> None:
    await api.get("/api/auth/me")
    await log.put(session_subject(SECRET), a.SessionClosed(at=NOW))
    await eventually(lambda: _answers(api, 401))


async def test_a_disabled_user_is_out(api: Api, log: Log) -> None:
    await api.get("/api/auth/me")
    await log.user(disabled=True)
    await eventually(lambda: _answers(api, 401))


async def test_a_new_role_counts(api: Api, log: Log) -> None:
    await api.get("/api/auth/me")
    await log.user(role="viewer", name="Ada L.")

    async def changed() -> bool:
        me = await api.get("/api/auth/me")
        return (me["role"], me["name"], me["permissions"]) == ("viewer", "Ada L.", ["read"])

    await eventually(changed)


FORBIDDEN = {
    "viewer": [
        ("POST", f"/api/flows/{FLOW}/run"),
        ("DELETE", "/api/plays/" + "0" * 24),
        ("POST", "/api/flows"),
    ],
    "operator": [
        ("POST", "/api/flows"),
        ("PUT", f"/api/flows/{FLOW}"),
        ("DELETE", f"/api/flows/{FLOW}/layers/x"),
    ],
}


@pytest.mark.parametrize(
    ("role", "call"), [(role, call) for role, calls in FORBIDDEN.items() for call in calls]
)
async def test_a_role_may_do_no_more_than_it_may(
    stranger: Api, log: Log, role: str, call: tuple[str, str]
) -> None:
    await log.user(role=role)
    stranger.use_session(SECRET)
    assert await stranger.refused(*call, {"name": "x"}) == (403, "FORBIDDEN")


@pytest.mark.parametrize("role", ["operator", "editor", "admin"])
async def test_who_may_run_flows_runs_them(stranger: Api, log: Log, role: str) -> None:
    await log.user(role=role)
    stranger.use_session(SECRET)
    assert (await stranger.run(FLOW))["state"] == "RUN"


async def _answers(api: Api, status: int) -> bool:
    return (await api.call("GET", "/api/auth/me")).status == status

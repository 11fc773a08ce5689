"""Logging in and out."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.api import Api, Json
from tests.fixtures.system import RunningSystem


@pytest.fixture
async def stranger(shared_system: RunningSystem) -> AsyncIterator[Api]:
    async with Api(shared_system.base_url) as api:
        yield api


async def test_a_login_gives_a_cookie_for_an_hour(stranger: Api, shared_system: RunningSystem) -> None:
    body = {"email": shared_system.email, "password": shared_system.password}
    answer = await stranger.call("POST", "/api/auth/login", body)
    assert answer.status == 200
    assert set(answer.json) == {"id", "email", "name"}
    assert answer.json["email"] == shared_system.email
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("sid=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=3600"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    me = await stranger.get("/api/auth/me")
    assert (me["id"], me["role"]) == (answer.json["id"], "admin")
    assert {"companyId", "permissions"} <= set(me)


async def test_a_logout_ends_the_session_for_good(stranger: Api, shared_system: RunningSystem) -> None:
    answer = await stranger.call(
        "POST", "/api/auth/login", {"email": shared_system.email, "password": shared_system.password}
    )
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert (await stranger.call("POST", "/api/auth/logout")).status == 200
    assert await stranger.refused("GET", "/api/auth/me") == (401, "UNAUTHORIZED")
    assert (await stranger.call("GET", "/api/auth/me", headers={"Cookie": cookie})).status == 401


async def test_an_unknown_email_and_a_wrong_password_sound_the_same(
    stranger: Api, shared_system: RunningSystem
) -> None:
    wrong = await stranger.call(
        "POST", "/api/auth/login", {"email": shared_system.email, "password": "wrong"}
    )
    unknown = await stranger.call(
        "POST", "/api/auth/login", {"email": "nobody@example.test", "password": "wrong"}
    )
    assert wrong.status == unknown.status == 401
    assert wrong.json == unknown.json


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@b.c"},
        {"password": "x"},
        {"email": "", "password": "x"},
        {"email": "a@b.c", "password": ""},
        {"email": 5, "password": "x"},
        {"email": "a@b.c", "password": None},
        {"email": "a@b.c", "password": "x" * 10_000},
        {"email": "a\x00@b.c", "password": "x"},
        [],
        "text",
    ],
)
async def test_a_login_without_both_is_400(stranger: Api, body: Json) -> None:
    assert await stranger.refused("POST", "/api/auth/login", body) == (400, "VALIDATION_ERROR")


async def test_guessing_passwords_is_slowed_down(stranger: Api) -> None:
    body = {"email": "guessed@example.test", "password": "wrong"}
    answers = [await stranger.call("POST", "/api/auth/login", body) for _ in range(11)]
    assert [answer.status for answer in answers] == [401] * 10 + [429]
    assert answers[-1].json["error"] == "TOO_MANY_REQUESTS"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61


async def test_sessions_are_shared_by_all_who_log_in(stranger: Api, shared_system: RunningSystem) -> None:
    async with (
        Api.logged_in(shared_system, anew=True) as first,
        Api.logged_in(shared_system, anew=True) as second,
    ):
        await first.post("/api/auth/logout")
        assert (await second.get("/api/auth/me"))["email"] == shared_system.email

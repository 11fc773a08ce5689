"""Access (spec flow8 sections 4, 19, 20): sessions, companies apart from each other, hostile bodies on every write."""

import re
from http.cookies import SimpleCookie

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem

NOWHERE = "0" * 24
WRITES = (
    ("POST", "/api/auth/api-keys"),
    ("POST", "/api/auth/password"),
    ("POST", "/api/users"),
    ("PUT", f"/api/users/{NOWHERE}"),
    ("POST", f"/api/users/{NOWHERE}/reset-password"),
    ("POST", "/api/groups"),
    ("PUT", f"/api/groups/{NOWHERE}"),
    ("POST", "/api/kv"),
    ("POST", "/api/kv/append"),
    ("POST", "/api/kv/increment"),
)
HOSTILE = {
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "no UTF-8": b'{"name": "\xff", "key": "\xff", "email": "\xff"}',
    "lone surrogate": b'{"name": "\\ud800", "key": "\\ud800", "value": "\\ud800", "email": "\\ud800"}',
    "NUL": b'{"name": "a\\u0000", "key": "a\\u0000", "value": 1, "email": "a\\u0000@x"}',
    "nested": b'{"name": "x", "key": "x", "value": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "huge number": b'{"name": 1e999, "key": "x", "value": ' + b"9" * 400 + b', "index": 1e400, "by": 1e400}',
    "wrong kinds": b'{"name": {}, "key": [], "email": 1, "role": [], "scopes": 7, "password": {}, "index": "x"}',
}


async def test_the_cookie_is_for_the_server_alone(shared_system: RunningSystem) -> None:
    async with Api(shared_system.base_url) as api:
        body = {"email": shared_system.email, "password": shared_system.password}
        answer = await api.call("POST", "/api/auth/login", body)
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["sid"]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (
        "/",
        True,
        "Strict",
        "3600",
    )
    # Over plain HTTP it would never come back (Q27).
    assert not cookie["secure"]
    assert re.fullmatch(r"[\w-]{43}", cookie.value)


async def test_a_logout_ends_the_session(shared_system: RunningSystem) -> None:
    async with Api(shared_system.base_url) as api, Api(shared_system.base_url) as again:
        body = {"email": shared_system.email, "password": shared_system.password}
        answer = await api.call("POST", "/api/auth/login", body)
        secret = SimpleCookie(answer.headers["Set-Cookie"])["sid"].value
        again.use_session(secret)
        await again.get("/api/auth/me")
        await api.post("/api/auth/logout")
        assert await again.refused("GET", "/api/auth/me") == (401, "UNAUTHORIZED")


async def test_passwords_cannot_be_guessed_without_end(shared_system: RunningSystem) -> None:
    async with Api(shared_system.base_url) as api:
        body = {"email": "guessed-at@example.test", "password": "wrong"}
        said = [(await api.refused("POST", "/api/auth/login", body)) for _ in range(11)]
        answer = await api.call("POST", "/api/auth/login", body)
    assert said == [(401, "UNAUTHORIZED")] * 10 + [(429, "TOO_MANY_REQUESTS")]
    assert 0 < int(answer.headers["Retry-After"]) <= 61


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_hostile_bodies_are_refused_and_nothing_breaks(
    shared_system: RunningSystem, method: str, path: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        said = {name: (await api.call(method, path, raw=raw)).status for name, raw in HOSTILE.items()}
    assert all(400 <= status < 500 for status in said.values()), said


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_without_a_credential_nothing_is_written(
    shared_system: RunningSystem, method: str, path: str
) -> None:
    async with Api(shared_system.base_url) as api:
        assert await api.refused(method, path, {}) == (401, "UNAUTHORIZED")


async def test_headers_that_are_no_text_reach_the_audit_as_text(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        headers = {"User-Agent": "caf\udcff \U0001f600", "X-Request-Id": "../../etc"}
        flow = (await api.call("POST", "/api/flows", {"name": "Headers"}, headers=headers)).json
        (record,) = await api.rows(f"/api/audit?entityId={flow['id']}", 1)
    assert record["userAgent"].startswith("caf")
    assert re.fullmatch(r"[0-9a-f]{24}", record["requestId"])


async def test_no_id_of_one_company_means_anything_in_another(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        paths = await _paths(api)
        for path in paths:
            assert (await api.call("GET", path)).status in (200, 405), path
        leaks: dict[str, Json] = {}
        for path in paths:
            for method in ("GET", "PUT", "DELETE"):
                answer = await other.call(method, path, {"name": "x"})
                if answer.status not in (404, 405):
                    leaks[f"{method} {path}"] = answer
        for path in paths:
            assert (await api.call("GET", path)).status in (200, 405), path
    assert leaks == {}


async def _paths(api: Api) -> list[str]:
    flow = await api.create_flow("Apart", {"ref": "a", "appId": "var"})
    play = await api.run(flow["id"], wait=60)
    group = await api.post("/api/groups", {"name": "Apart"}, status=201)
    entry = await api.post("/api/kv", {"key": "apart", "value": 1}, status=201)
    key = await api.post("/api/auth/api-keys", {"name": "apart"}, status=201)
    user = await api.post("/api/users", {"email": "apart@example.test"}, status=201)
    flow_path, play_path = f"/api/flows/{flow['id']}", f"/api/plays/{play['playId']}"
    return [
        flow_path,
        f"/api/flows/{flow['permanentId']}",
        f"{flow_path}/layers",
        f"{flow_path}/layers/{flow['layers'][0]['id']}",
        f"{flow_path}/plays",
        f"{flow_path}/versions",
        f"{flow_path}/versions/1",
        f"{flow_path}/versions/diff?from=1&to=2",
        play_path,
        f"{play_path}/layers",
        f"/api/groups/{group['id']}",
        f"/api/kv/{entry['id']}",
        f"/api/auth/api-keys/{key['id']}",
        f"/api/users/{user['id']}",
    ]

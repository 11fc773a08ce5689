"""API keys (spec flow8 section 4): made, shown once, verified by every gateway, over the moment they are revoked."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import jwt
import msgspec
import pytest

from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.health import Health
from services.gateway.app import App
from tests.e2e.api import Answer, Api, Json
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

REVOKED_EVERYWHERE_S_MAX = 15.0


def secrets_of(system: RunningSystem) -> dict[str, str]:
    secrets: dict[str, str] = json.loads((system.home / "secrets.json").read_text())
    return secrets


async def make(api: Api, *scopes: str, name: str = "ci") -> Json:
    return await api.post("/api/auth/api-keys", {"name": name, "scopes": scopes or ["standard"]}, status=201)


async def by_token(api: Api, token: str, path: str = "/api/auth/me") -> Answer:
    return await api.call("GET", path, headers={"Authorization": f"Bearer {token}"})


@asynccontextmanager
async def second_gateway(system: RunningSystem) -> AsyncIterator[str]:
    """Run a second gateway on the system's bus, with its secrets, and return its address."""
    nats_url = (system.home / "run" / "nats.url").read_text().strip()
    secrets = secrets_of(system)
    config = Config(
        nats_url=nats_url,
        port=0,
        jwt_secret=secrets["HEADRACE_JWT_SECRET"],
        mcp_jwt_secret=secrets["HEADRACE_MCP_JWT_SECRET"],
    )
    bus = await Bus.connect(nats_url, name="second gateway")
    app = App(config, bus, Health({}))
    await app.start()
    yield f"http://127.0.0.1:{app.port}"
    await app.stop()
    await bus.close()


async def test_a_key_is_made_with_a_token_that_says_who_it_acts_for(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, name="build server")
        me = await api.get("/api/auth/me")
        header, claims = jwt.get_unverified_header(made["token"]), _claims(made["token"])
        used = (await by_token(api, made["token"])).json
    assert set(made) == {"id", "name", "token", "scopes", "issuedAt"}
    assert (made["name"], made["scopes"]) == ("build server", ["standard"])
    assert (header["alg"], set(claims)) == ("HS256", {"userId", "companyId", "keyId", "scopes", "iat"})
    assert (claims["userId"], claims["companyId"], claims["keyId"]) == (me["id"], me["companyId"], made["id"])
    assert used == me


async def test_scopes_are_standard_unless_said_otherwise(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await api.post("/api/auth/api-keys", {"name": "default"}, status=201)
    assert made["scopes"] == ["standard"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": "standard"}, "scopes"),
    ],
)
async def test_what_is_no_key_is_refused_by_name(
    shared_system: RunningSystem, body: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("POST", "/api/auth/api-keys", body)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert answer.json["message"].startswith(field)


async def test_lists_show_when_a_key_was_used_and_never_its_token(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, name="listed")
        assert (await _listed(api, made["id"]))["lastUsedAt"] is None
        await by_token(api, made["token"])

        async def used() -> Json:
            return (await _listed(api, made["id"]))["lastUsedAt"]

        await eventually(used)
        key = await _listed(api, made["id"])
        everything = json.dumps(await api.get("/api/auth/api-keys?size=100"))
    assert set(key) == {"id", "name", "scopes", "userId", "issuedAt", "lastUsedAt", "revoked"}
    assert made["token"] not in everything


async def test_a_revoked_key_is_refused_by_every_gateway_at_once(shared_system: RunningSystem) -> None:
    async with (
        Api.logged_in(shared_system) as api,
        second_gateway(shared_system) as url,
        Api(url) as other,
    ):
        for _ in range(5):
            made = await make(api)
            assert (await by_token(other, made["token"])).status == 200
            assert (await by_token(api, made["token"])).status == 200
            revoked = await api.delete(f"/api/auth/api-keys/{made['id']}")
            began_s = time.monotonic()
            assert revoked == {"id": made["id"], "revoked": True}
            assert (await by_token(api, made["token"])).status == 401
            while (await by_token(other, made["token"])).status != 401:
                assert time.monotonic() - began_s < REVOKED_EVERYWHERE_S_MAX
        assert (await _listed(api, made["id"]))["revoked"] is True
        # Once more changes nothing.
        assert await api.delete(f"/api/auth/api-keys/{made['id']}") == revoked


async def test_a_key_for_mcp_alone_opens_neither_rest_nor_socket(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await make(api, "mcp"))["token"]
        rest = await by_token(api, token)
        async with Api(shared_system.base_url) as stranger:
            socket = await stranger.refused("GET", f"/api/ws?token={token}")
    assert (rest.status, rest.json["error"], socket) == (403, "FORBIDDEN", (403, "FORBIDDEN"))


async def test_a_key_of_both_scopes_opens_rest(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, "mcp", "standard")
        assert (await by_token(api, made["token"])).status == 200
    assert made["scopes"] == ["standard", "mcp"]


async def test_the_socket_takes_a_key_as_header_or_parameter(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await make(api))["token"]
        flow = await api.create_flow("Watched by key", {"ref": "a", "appId": "var"})
        async with aiohttp.ClientSession(shared_system.base_url) as session:
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                session.ws_connect(f"/api/ws?token={token}&flowId={flow['id']}") as one,
                session.ws_connect(f"/api/ws?flowId={flow['id']}", headers=headers) as two,
            ):
                play = await api.run(flow["id"])
                frames = await asyncio.gather(one.receive_json(timeout=60), two.receive_json(timeout=60))
    assert [frame["playId"] for frame in frames] == [play["playId"]] * 2


async def test_a_parameter_opens_nothing_but_the_socket(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as stranger:
        token = (await make(api))["token"]
        assert await stranger.refused("GET", f"/api/flows?token={token}") == (401, "UNAUTHORIZED")


async def test_a_key_may_manage_keys(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as program:
        headers = {"Authorization": f"Bearer {(await make(api))['token']}"}
        body = {"name": "made by a key"}
        answer = await program.call("POST", "/api/auth/api-keys", body, headers=headers)
    assert answer.status == 201


async def test_forged_tokens_do_not_hold(shared_system: RunningSystem) -> None:
    secrets = secrets_of(shared_system)
    standard, mcp = secrets["HEADRACE_JWT_SECRET"], secrets["HEADRACE_MCP_JWT_SECRET"]
    async with Api.logged_in(shared_system) as api:
        made = await make(api)
        claims = _claims(made["token"])
        head, body, signature = made["token"].split(".")
        other_user = {**claims, "userId": "0" * 24}
        forged = {
            "alg none": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
            "alg none, signed": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{body}.{signature}",
            "another algorithm": jwt.encode(claims, standard, algorithm="HS512"),
            "another secret": jwt.encode(claims, "x" * 32, algorithm="HS256"),
            "the other kind's secret": jwt.encode(claims, mcp, algorithm="HS256"),
            "another key": jwt.encode({**claims, "keyId": "0" * 24}, standard, algorithm="HS256"),
            "another company": jwt.encode({**claims, "companyId": "0" * 24}, standard, algorithm="HS256"),
            "another user": jwt.encode(other_user, standard, algorithm="HS256"),
            "a subject's wildcard": jwt.encode({**claims, "keyId": "*"}, standard, algorithm="HS256"),
            "ids that are no text": jwt.encode({**claims, "keyId": 7}, standard, algorithm="HS256"),
            "no claims": jwt.encode({}, standard, algorithm="HS256"),
            "changed claims": f"{head}.{_part(other_user)}.{signature}",
            "cut off": made["token"][:-4],
            "endless": "a" * 6_000,
            "nothing": "",
            "no token": "a.b.c",
        }
        wrong = {name: (await by_token(api, token)).status for name, token in forged.items()}
        assert (await by_token(api, made["token"])).status == 200
    assert wrong == dict.fromkeys(forged, 401)


async def test_claims_of_a_token_give_no_scope_that_its_key_has_not(shared_system: RunningSystem) -> None:
    secret = secrets_of(shared_system)["HEADRACE_MCP_JWT_SECRET"]
    async with Api.logged_in(shared_system) as api:
        claims = _claims((await make(api, "mcp"))["token"])
        token = jwt.encode({**claims, "scopes": ["standard", "mcp"]}, secret, algorithm="HS256")
        assert (await by_token(api, token)).status == 403


async def test_a_key_acts_with_its_users_role_and_ends_with_its_user(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await api.post("/api/users", {"email": "keys@example.test", "role": "editor"}, status=201)
        await user.login("keys@example.test", made["password"])
        key = await make(user)
        headers = {"Authorization": f"Bearer {key['token']}"}
        assert (await user.call("POST", "/api/flows", {"name": "By key"}, headers=headers)).status == 201
        await api.put(f"/api/users/{made['id']}", {"role": "viewer"})
        assert (await user.call("POST", "/api/flows", {"name": "By key"}, headers=headers)).status == 403
        await api.put(f"/api/users/{made['id']}", {"disabled": True})
        assert (await by_token(user, key["token"])).status == 401
        await api.put(f"/api/users/{made['id']}", {"disabled": False})
        assert (await by_token(user, key["token"])).status == 200


async def test_only_admins_see_and_revoke_the_keys_of_others(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as user:
        made = await api.post("/api/users", {"email": "own@example.test", "role": "viewer"}, status=201)
        await user.login("own@example.test", made["password"])
        theirs, own = await make(api), await make(user)
        assert [key["id"] for key in (await user.get("/api/auth/api-keys"))["data"]] == [own["id"]]
        refused = await user.refused("DELETE", f"/api/auth/api-keys/{theirs['id']}")
        assert refused == (404, "API_KEY_NOT_FOUND")
        await api.delete(f"/api/auth/api-keys/{own['id']}")
        assert (await by_token(user, own["token"])).status == 401


@pytest.mark.parametrize("key", ["0" * 24, "x", "*", "%3E", "a" * 300])
async def test_a_key_that_is_not_there_is_not_found(shared_system: RunningSystem, key: str) -> None:
    async with Api.logged_in(shared_system) as api:
        assert await api.refused("DELETE", f"/api/auth/api-keys/{key}") == (404, "API_KEY_NOT_FOUND")


async def _listed(api: Api, key_id: str) -> Json:
    keys = (await api.get("/api/auth/api-keys?size=100"))["data"]
    return next(key for key in keys if key["id"] == key_id)


def _claims(token: str) -> Json:
    return jwt.decode(token, options={"verify_signature": False})


def _part(content: Json) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(content)).rstrip(b"=").decode()

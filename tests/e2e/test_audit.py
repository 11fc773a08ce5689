"""The audit (spec flow8 section 24): who did what, when, from where, what it was before and after; without secrets."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually


async def records(api: Api, query: str = "") -> list[Json]:
    found: list[Json] = (await api.get(f"/api/audit?size=100&{query}"))["data"]
    return found


async def test_a_record_tells_who_did_what_from_where(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        me = await api.get("/api/auth/me")
        headers = {"User-Agent": "tests/1.0", "X-Request-Id": "req-4711"}
        made = (await api.call("POST", "/api/flows", {"name": "Audited"}, headers=headers)).json
        (record,) = await api.rows(f"/api/audit?entityId={made['id']}", 1)
    assert set(record) == {
        "id", "companyId", "userId", "timestamp", "action", "entityType", "entityId", "before", "after",
        "requestId", "ip", "userAgent", "keyId",
    }  # fmt: skip
    assert (record["companyId"], record["userId"]) == (me["companyId"], me["id"])
    assert (record["action"], record["entityType"], record["entityId"]) == ("flow.create", "flow", made["id"])
    assert (record["ip"], record["userAgent"], record["requestId"]) == ("127.0.0.1", "tests/1.0", "req-4711")
    assert (record["timestamp"], record["keyId"]) == (made["createdAt"], "")
    assert record["before"] is None
    assert record["after"]["name"] == "Audited"


async def test_a_record_shows_before_and_after(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow("Before", {"ref": "a", "appId": "var"})
        path = f"/api/flows/{flow['id']}"
        await api.put(path, {"name": "After"})
        await api.put(f"{path}/layers/{flow['layers'][0]['id']}", {"name": "Renamed"})
        await api.delete(f"{path}/layers/{flow['layers'][0]['id']}")
        await api.delete(path)
        newest_first = await records(api, f"entityId={flow['id']}")
    assert [record["action"] for record in newest_first] == [
        "flow.delete", "flow.layer.delete", "flow.layer.update", "flow.update", "flow.layer.create", "flow.create",
    ]  # fmt: skip
    deleted, _, changed, renamed, *_ = newest_first
    assert (renamed["before"]["name"], renamed["after"]["name"]) == ("Before", "After")
    assert [changed[side]["layers"][0]["name"] for side in ("before", "after")] == ["a", "Renamed"]
    assert (deleted["before"]["name"], deleted["after"]) == ("After", None)


async def test_24_what_people_ask_of_plays_is_recorded(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        me = await api.get("/api/auth/me")
        gate = {"ref": "gate", "appId": "var", "needsApproval": True}
        flow = await api.create_flow("Deeds", gate)
        plays = [(await api.run(flow["id"], wait=60))["playId"] for _ in range(3)]
        for play, decision in zip(plays, ("approved", "declined"), strict=False):
            answer = {"layerId": "gate", "decision": decision}
            await api.post(f"/api/plays/{play}/approve", answer)
        await api.delete(f"/api/plays/{plays[2]}")

        async def two_of_each() -> Json:
            found = [await records(api, f"entityId={play}") for play in plays]
            return found if all(len(one) == 2 for one in found) else None

        found = await eventually(two_of_each)
    actions = [[record["action"] for record in one] for one in found]
    assert actions == [
        ["play.approve", "play.run"],
        ["play.decline", "play.run"],
        ["play.cancel", "play.run"],
    ]
    everything = [record for one in found for record in one]
    assert {(record["userId"], record["entityType"]) for record in everything} == {(me["id"], "play")}
    assert {(record["ip"], bool(record["requestId"])) for record in everything} == {("127.0.0.1", True)}


async def test_24_a_failed_login_is_recorded_for_whoever_it_was_tried_for(
    shared_system: RunningSystem,
) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as stranger:
        me = await api.get("/api/auth/me")
        wrong = {"email": me["email"], "password": "not-the-password"}
        assert (await stranger.call("POST", "/api/auth/login", wrong)).status == 401
        nobody = {"email": "nobody@example.test", "password": "not-the-password"}
        assert (await stranger.call("POST", "/api/auth/login", nobody)).status == 401

        async def recorded() -> Json:
            return await records(api, "action=auth.login.failed")

        (record,) = await eventually(recorded)
    assert (record["userId"], record["entityType"], record["entityId"]) == (me["id"], "session", me["id"])
    assert (record["ip"], record["before"], record["after"]) == ("127.0.0.1", None, None)
    assert "not-the-password" not in str(record)


async def test_everything_that_people_change_is_recorded(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        group = (await api.post("/api/groups", {"name": "G"}, status=201))["id"]
        await api.put(f"/api/groups/{group}", {"name": "H"})
        await api.delete(f"/api/groups/{group}")
        entry = (await api.post("/api/kv", {"key": "k", "value": 1}, status=201))["id"]
        await api.post("/api/kv/increment", {"key": "k"})
        await api.delete(f"/api/kv/{entry}")
        key = (await api.post("/api/auth/api-keys", {"name": "k"}, status=201))["id"]
        await api.delete(f"/api/auth/api-keys/{key}")
        me = (await api.get("/api/auth/me"))["id"]
        user = await api.post("/api/users", {"email": f"audit-{me}@example.test"}, status=201)
        await api.put(f"/api/users/{user['id']}", {"role": "editor"})
        async with Api(shared_system.base_url) as other:
            await other.login(user["email"], user["password"])
            await other.post("/api/auth/logout")
        # A login is answered before it is projected.
        await eventually(lambda: records(api, "action=auth.logout"))
        actions = sorted(record["action"] for record in await records(api))
        (login,) = await records(api, f"action=auth.login&userId={user['id']}")
    assert actions == sorted(
        [
            "company.create", "user.create", "auth.login", "group.create", "group.update", "group.delete", "kv.set",
            "kv.set", "kv.delete", "apikey.create", "apikey.revoke", "user.create", "user.update", "auth.login",
            "auth.logout",
        ]
    )  # fmt: skip
    assert (login["entityType"], login["entityId"], login["ip"]) == ("session", user["id"], "127.0.0.1")


async def test_a_deed_of_a_key_names_the_key(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        key = await api.post("/api/auth/api-keys", {"name": "audited"}, status=201)
        headers = {"Authorization": f"Bearer {key['token']}"}
        flow = (await api.call("POST", "/api/flows", {"name": "By key"}, headers=headers)).json
        (record,) = await records(api, f"entityId={flow['id']}")
        me = (await api.get("/api/auth/me"))["id"]
    assert (record["keyId"], record["userId"]) == (key["id"], me)


async def test_secrets_are_not_in_it(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        args = {
            "url": "https://example.test",
            "bearerToken": "hush-bearer",
            "basicAuth": {"user": "u", "pass": "hush-pass"},
            "headers": {"Authorization": "hush-header", "X-Api-Key": "hush-key", "Accept": "shown"},
        }
        flow = await api.create_flow("Secretive", {"ref": "a", "appId": "curl", "args": args})
        kept = {**args, "bearerToken": "{{ $kv.token }}"}
        await api.put(f"/api/flows/{flow['id']}/layers/{flow['layers'][0]['id']}", {"args": kept})
        password = {"email": "audited@example.test", "password": "hush-password"}
        await api.post("/api/users", password, status=201)
        await api.post("/api/kv", {"key": "audited", "value": "hush-value", "secret": True}, status=201)
        key = await api.post("/api/auth/api-keys", {"name": "hidden token"}, status=201)
        (newest, *_) = await records(api, f"entityId={flow['id']}")
        everything = json.dumps(await records(api))
    assert "hush" not in everything
    assert key["token"] not in everything
    assert "argon2" not in everything
    assert newest["before"]["layers"][0]["args"]["bearerToken"] == "[redacted]"
    # An expression is no secret, and neither is what has an innocent name.
    assert newest["after"]["layers"][0]["args"]["bearerToken"] == "{{ $kv.token }}"
    assert newest["after"]["layers"][0]["args"]["headers"]["Accept"] == "shown"


async def test_it_is_filtered_and_paged_newest_first(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        for n in range(5):
            await api.post("/api/groups", {"name": f"G{n}"}, status=201)
        await api.post("/api/flows", {"name": "F"}, status=201)
        me = (await api.get("/api/auth/me"))["id"]
        page = await api.get("/api/audit?entityType=group&size=2&page=1")
        now = datetime.now(UTC)
        hour = timedelta(hours=1)
        assert [record["after"]["name"] for record in page["data"]] == ["G2", "G1"]
        assert (page["total"], page["pages"]) == (5, 3)
        assert len(await records(api, "action=group.create")) == 5
        assert len(await records(api, f"userId={me}&action=flow.create")) == 1
        assert await records(api, f"userId={'0' * 24}") == []
        assert await records(api, f"to={(now - hour):%Y-%m-%dT%H:%M:%SZ}") == []
        assert await records(api, f"from={(now + hour):%Y-%m-%dT%H:%M:%SZ}") == []
        span = f"from={(now - hour):%Y-%m-%d}&to={(now + hour):%Y-%m-%d}"
        assert len(await records(api, f"{span}&entityType=group")) == 5


async def test_it_holds_nothing_of_another_company(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        flow = await api.create_flow("Unseen")
        me = await other.get("/api/auth/me")
        assert await records(other, f"entityId={flow['id']}") == []
        assert {record["companyId"] for record in await records(other)} == {me["companyId"]}


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-13-01", "page=-1", "size=0", "action=%00"])
async def test_a_filter_that_is_none_is_refused(shared_system: RunningSystem, query: str) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("GET", f"/api/audit?{query}")
    assert (answer.status, answer.json["message"].partition(":")[0]) == (400, query.partition("=")[0])

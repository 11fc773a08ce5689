"""KV entries (spec flow8 section 13): scopes, inheritance, secrets, and values that grow without losing a step."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from libs.common import ids, kv, subjects
from libs.common.messages.kv import AppendKv, IncrementKv, KvFound, ReadKv, SetKv
from tests.e2e.api import Api, Json
from tests.e2e.companies import bus_of, neighbour
from tests.fixtures.system import RunningSystem

AT = datetime(2026, 1, 2, tzinfo=UTC)


async def test_a_post_creates_then_replaces(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await api.post("/api/kv", {"key": "greeting", "value": "hi"}, status=201)
        again = await api.post("/api/kv", {"key": "greeting", "value": {"de": ["Hallo", 1, None]}})
        read = await api.get(f"/api/kv/{made['id']}")
        company = (await api.get("/api/auth/me"))["companyId"]
    assert set(made) == {
        "id", "companyId", "scope", "scopeKey", "key", "value", "secret", "createdAt", "updatedAt",
    }  # fmt: skip
    assert (made["scope"], made["scopeKey"], made["companyId"], made["secret"]) == (
        "global",
        None,
        company,
        False,
    )
    assert (again["id"], again["createdAt"]) == (made["id"], made["createdAt"])
    assert read == again
    assert read["value"] == {"de": ["Hallo", 1, None]}


@pytest.mark.parametrize("value", ["", "text", 0, -1.5, True, None, [], {}, {"a": [{"b": "ü"}]}, 2**53])
async def test_values_come_back_as_they_were_given(shared_system: RunningSystem, value: Json) -> None:
    async with Api.logged_in(shared_system) as api:
        entry = await api.keep("as given", value)
        read = await api.get(f"/api/kv/{entry['id']}")
    assert read["value"] == value
    assert type(read["value"]) is type(value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"value": 1}, "key"),
        ({"key": "", "value": 1}, "key"),
        ({"key": "x" * 513, "value": 1}, "key"),
        ({"key": 1, "value": 1}, "key"),
        ({"key": "x"}, "value"),
        ({"key": "x", "value": "x" * 262_145}, "value"),
        ({"key": "x", "value": 1, "scope": "company"}, "scope"),
        ({"key": "x", "value": 1, "scope": "flow"}, "scopeKey"),
        ({"key": "x", "value": 1, "scope": "flow_group"}, "scopeKey"),
        ({"key": "x", "value": 1, "scope": "flow", "scopeKey": "0" * 24}, "scopeKey"),
        ({"key": "x", "value": 1, "scope": "flow", "scopeKey": "*"}, "scopeKey"),
        ({"key": "x", "value": 1, "scope": "flow_group", "scopeKey": "a.b"}, "scopeKey"),
        ({"key": "x", "value": 1, "scopeKey": "0" * 24}, "scopeKey"),
        ({"key": "x", "value": 1, "secret": "yes"}, "secret"),
    ],
)
async def test_what_is_no_entry_is_refused_by_name(
    shared_system: RunningSystem, body: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("POST", "/api/kv", body)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR"), answer
    assert answer.json["message"].startswith(field)


async def test_the_company_may_be_named_and_be_no_other(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        company = (await api.get("/api/auth/me"))["companyId"]
        await api.keep("named company", 1, companyId=company)
        assert (await api.get(f"/api/kv?companyId={company}&prefix=named"))["total"] == 1
        body = {"key": "x", "value": 1, "companyId": "0" * 24}
        assert await api.refused("POST", "/api/kv", body) == (403, "FORBIDDEN")
        assert await api.refused("GET", f"/api/kv?companyId={'0' * 24}") == (403, "FORBIDDEN")


async def test_lists_are_filtered_and_paged(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        flow = await api.create_flow("Listed")
        for key in ("b/2", "b/1", "a%_", "b/3"):
            await api.keep(key, key)
        await api.keep("b/4", 4, scope="flow", scopeKey=flow["permanentId"])

        async def keys(query: str) -> list[str]:
            return [entry["key"] for entry in (await api.get(f"/api/kv?{query}"))["data"]]

        assert await keys("") == ["b/4", "a%_", "b/1", "b/2", "b/3"]
        assert await keys("scope=global") == ["a%_", "b/1", "b/2", "b/3"]
        assert await keys(f"scope=flow&scopeKey={flow['id']}") == ["b/4"]
        assert await keys("prefix=b/&scope=global") == ["b/1", "b/2", "b/3"]
        # What is a pattern elsewhere is text here.
        assert await keys("prefix=%25") == []
        page = await api.get("/api/kv?size=2&page=1")
    assert [entry["key"] for entry in page["data"]] == ["b/1", "b/2"]
    assert (page["total"], page["pages"]) == (5, 3)


async def test_a_deleted_entry_is_gone_and_can_be_made_anew(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        entry = await api.keep("short-lived", 1, secret=True)
        assert await api.delete(f"/api/kv/{entry['id']}") == {"id": entry["id"], "deleted": True}
        for method in ("GET", "DELETE"):
            assert await api.refused(method, f"/api/kv/{entry['id']}") == (404, "KV_NOT_FOUND")
        anew = await api.post("/api/kv", {"key": "short-lived", "value": 2}, status=201)
    assert (anew["id"], anew["value"], anew["secret"]) == (entry["id"], 2, False)


async def test_a_secret_is_written_and_never_read(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await api.keep("stripe", "sk_live_4711", secret=True)
        read = await api.get(f"/api/kv/{made['id']}")
        (listed,) = (await api.get("/api/kv?prefix=stripe"))["data"]
        # It stays one when it is set again without a word.
        again = await api.keep("stripe", "sk_live_4712")
        company = made["companyId"]
        async with bus_of(shared_system) as bus:
            found = await kv.read(bus, ReadKv(company_id=company, key="stripe", flow_id="f" * 24))
    assert [entry["value"] for entry in (made, read, listed, again)] == [None] * 4
    assert all(entry["secret"] for entry in (made, read, listed, again))
    assert found == KvFound(value="sk_live_4712", found=True, secret=True)


async def test_values_are_encrypted_in_the_log_and_in_the_database(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        entry = await api.keep("hidden", "plain-as-day")
        audit = await api.get(f"/api/audit?entityId={entry['id']}")
        async with bus_of(shared_system) as bus:
            (stored,) = await bus.load(subjects.KV, f"evt.kv.*.*.*.{entry['id']}")
    connection = await asyncpg.connect(shared_system.env()["HEADRACE_POSTGRES_DSN"])
    row = await connection.fetchrow("select * from headrace.kv where id = $1", entry["id"])
    await connection.close()
    assert row is not None
    assert '"alg":"A256GCM"' in row["sealed"]
    assert "plain-as-day" not in f"{stored.data!r} {dict(row)} {audit}"


async def test_old_values_are_not_kept(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        for n in range(5):
            entry = await api.keep("changed often", n)
        async with bus_of(shared_system) as bus:
            stored = await bus.load(subjects.KV, f"evt.kv.*.*.*.{entry['id']}")
    assert len(stored) == 1


async def test_every_increment_counts(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await api.post("/api/kv/increment", {"key": "counter"}, status=201)
        body = {"key": "counter", "by": 2}
        await asyncio.gather(*(api.post("/api/kv/increment", body) for _ in range(40)))
        read = await api.get(f"/api/kv/{made['id']}")
    assert (made["value"], read["value"]) == (1, 81)


async def test_every_append_is_kept(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await api.post("/api/kv/append", {"key": "list", "value": "first"}, status=201)
        await asyncio.gather(*(api.post("/api/kv/append", {"key": "list", "value": n}) for n in range(30)))
        read = await api.get(f"/api/kv/{made['id']}")
        await api.keep("text", "ab")
        text = await api.post("/api/kv/append", {"key": "text", "value": "cd"})
    assert made["value"] == ["first"]
    assert read["value"][0] == "first"
    assert sorted(read["value"][1:]) == list(range(30))
    assert text["value"] == "abcd"


async def test_what_cannot_grow_is_refused(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        await api.keep("object", {"a": 1})
        refused = (409, "KV_TYPE_MISMATCH")
        assert await api.refused("POST", "/api/kv/append", {"key": "object", "value": 1}) == refused
        assert await api.refused("POST", "/api/kv/increment", {"key": "object"}) == refused
        await api.keep("big", 2**63 - 1)
        assert await api.refused("POST", "/api/kv/increment", {"key": "big"}) == refused
        body = {"key": "counter of texts", "by": "1"}
        assert await api.refused("POST", "/api/kv/increment", body) == (400, "VALIDATION_ERROR")


async def test_a_command_that_comes_twice_counts_once(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        company = (await api.get("/api/auth/me"))["companyId"]
    once = IncrementKv(id="play-1:count", at=AT, company_id=company, key="steps", amount=1)
    async with bus_of(shared_system) as bus:
        first = await kv.write(bus, once)
        other = IncrementKv(id="play-2:count", at=AT, company_id=company, key="steps", amount=1)
        second = await kv.write(bus, other)
        again = await kv.write(bus, once)
    assert [first.value, second.value, again.value] == [1, 2, 2]


class Scopes:
    """One key in up to three scopes of one grouped flow."""

    def __init__(self, company: str, flow: Json, key: str) -> None:
        self.company, self.flow, self.key = company, flow, key

    def question(self, **fields: Any) -> ReadKv:
        given = {"flow_id": self.flow["id"], "group_id": self.flow["groupId"]} | fields
        return ReadKv(company_id=self.company, key=self.key, **given)

    def write(self, scope: Any, value: Json) -> SetKv:
        keys = {"global": "", "flow_group": self.flow["groupId"], "flow": self.flow["id"]}
        return SetKv(
            id=ids.new_id(),
            at=AT,
            company_id=self.company,
            key=self.key,
            scope=scope,
            scope_key=keys[scope],
            value=value,
        )


async def scopes(api: Api, key: str) -> Scopes:
    group = await api.post("/api/groups", {"name": "Scopes"}, status=201)
    flow = await api.create_flow("Scopes", groupId=group["id"])
    return Scopes(flow["companyId"], flow, key)


async def test_a_step_reads_along_the_scopes(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, bus_of(shared_system) as bus:
        case = await scopes(api, "inherited")

        async def read(**fields: Any) -> Json:
            found = await kv.read(bus, case.question(**fields))
            return found.value if found.found else "nothing"

        assert await read() == "nothing"
        await kv.write(bus, case.write("global", "wide"))
        assert [await read(), await read(scope="flow_group"), await read(scope="global")] == ["wide"] * 3
        assert await read(inherit=False) == "nothing"
        assert await read(inherit=False, scope="flow_group") == "nothing"
        assert await read(inherit=False, scope="global") == "wide"
        await kv.write(bus, case.write("flow_group", "middle"))
        assert [await read(), await read(scope="global")] == ["middle", "wide"]
        await kv.write(bus, case.write("flow", "narrow"))
        assert await read() == "narrow"
        assert await read(conflict="parent") == "wide"
        assert await read(scope="flow_group", conflict="child") == "middle"
        # Another flow's entries are read with that flow's group.
        other = await api.create_flow("Reader")
        assert await read(flow_id=other["id"], group_id=None) == "wide"
        assert await read(flow_id=other["id"], group_id=None, scope_key=case.flow["permanentId"]) == "narrow"


async def test_scopes_are_merged_when_a_flow_says_so(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, bus_of(shared_system) as bus:
        case = await scopes(api, "merged")
        await kv.write(bus, case.write("global", {"a": 1, "deep": {"x": 1, "list": [1]}, "kind": "wide"}))
        await kv.write(bus, case.write("flow", {"b": 2, "deep": {"y": 2, "list": [2]}, "kind": "narrow"}))
        found = await kv.read(bus, case.question(conflict="merge"))
        alone = await kv.read(bus, case.question(conflict="merge", inherit=False))
    assert found.value == {"a": 1, "b": 2, "deep": {"x": 1, "y": 2, "list": [1, 2]}, "kind": "narrow"}
    assert alone.value == {"b": 2, "deep": {"y": 2, "list": [2]}, "kind": "narrow"}


async def test_a_step_reads_what_the_step_before_has_appended(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, bus_of(shared_system) as bus:
        case = await scopes(api, "appended")
        for n in range(5):
            append = AppendKv(
                id=ids.new_id(),
                at=AT,
                company_id=case.company,
                key=case.key,
                scope="flow",
                scope_key=case.flow["id"],
                value=n,
            )
            await kv.write(bus, append)
            assert (await kv.read(bus, case.question())).value == list(range(n + 1))


async def test_entries_of_another_company_are_not_there(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        flow = await api.create_flow("Not theirs")
        entry = await api.keep("theirs?", 1)
        for method in ("GET", "DELETE"):
            assert await other.refused(method, f"/api/kv/{entry['id']}") == (404, "KV_NOT_FOUND")
        body = {"key": "x", "value": 1, "scope": "flow", "scopeKey": flow["id"]}
        assert (await other.call("POST", "/api/kv", body)).status == 400
        assert (await other.get("/api/kv"))["total"] == 0
        await other.keep("theirs?", 2)
        assert (await api.get(f"/api/kv/{entry['id']}"))["value"] == 1


@pytest.mark.parametrize("entry", ["0" * 24, "x", "*", "%3E", "a" * 300])
async def test_an_entry_that_is_not_there_is_not_found(shared_system: RunningSystem, entry: str) -> None:
    async with Api.logged_in(shared_system) as api:
        for method in ("GET", "DELETE"):
            assert await api.refused(method, f"/api/kv/{entry}") == (404, "KV_NOT_FOUND")


async def test_viewers_read_and_write_nothing(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as viewer:
        entry = await api.keep("for viewers", 1)
        body = {"email": "kv@example.test", "role": "viewer", "password": "quite-a-long-one"}
        await api.post("/api/users", body, status=201)
        await viewer.login("kv@example.test", "quite-a-long-one")
        assert await viewer.get(f"/api/kv/{entry['id']}") == entry
        for method, path in (
            ("POST", "/api/kv"),
            ("POST", "/api/kv/append"),
            ("POST", "/api/kv/increment"),
            ("DELETE", f"/api/kv/{entry['id']}"),
        ):
            assert await viewer.refused(method, path, {"key": "x", "value": 1}) == (403, "FORBIDDEN")

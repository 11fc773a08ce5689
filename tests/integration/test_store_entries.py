"""Groups, keys, entries, versions and the audit in the store: a rebuild ends in the same rows; bursts lose nothing."""

import asyncio
import hashlib
import secrets
from typing import Any

from libs.common import ids, kv
from libs.common.messages.access import LogIn
from libs.common.messages.flow import FlowFields, UpdateFlow
from libs.common.messages.group import CreateGroup, GroupFields
from libs.common.messages.key import IssueKey, RevokeKey
from libs.common.messages.kv import DeleteKv, IncrementKv, SetKv
from services.store import rebuild
from tests.integration.store_parts import (
    COMPANY,
    EMAIL,
    PASSWORD,
    T0,
    Store,
    config_of,
    create_flow,
    rows,
    running_store,
)
from tests.waiting import eventually

TABLES = ("groups", "api_keys", "kv", "flow_versions", "audit")


def asked(**fields: Any) -> dict[str, Any]:
    return {"id": secrets.token_hex(16), "at": T0, "company_id": COMPANY, "by": "d" * 24} | fields


async def test_a_rebuild_keeps_what_the_log_no_longer_holds(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        await _workload(store)
        before = await _contents(database)
        await rebuild.rebuild(store.config)
        after = await _contents(database)

    assert after == before
    actions = sorted(row["action"] for row in after["audit"])
    # Of the entry that was set three times the log holds the last, of the deleted one that it is gone.
    assert actions.count("kv.set") == 4
    assert actions.count("kv.delete") == 1
    assert actions.count("auth.login") == 1
    assert {table: len(found) for table, found in after.items() if table != "audit"} == {
        "groups": 1, "api_keys": 1, "kv": 1, "flow_versions": 2,
    }  # fmt: skip


async def test_increments_through_two_stores_all_count(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        second = Store(config_of(nats_url, database), store.bus)
        await second.start()
        await asyncio.gather(
            *(kv.write(store.bus, IncrementKv(**asked(), key="counter", amount=1)) for _ in range(60))
        )
        (row,) = await rows(database, "select id from kv")
        last = await kv.write(store.bus, IncrementKv(**asked(), key="counter", amount=0))
        await second.stop()

    assert (last.id, last.value) == (row["id"], 60)


async def _workload(store: Store) -> None:
    flow = await store.command("flow", create_flow())
    await store.command("flow", UpdateFlow(**asked(), flow_id=flow["id"], fields=FlowFields(name="B")))
    await store.command("group", CreateGroup(**asked(), group_id=ids.new_id(), fields=GroupFields(name="G")))
    key_id = ids.new_id()
    await store.command("key", IssueKey(**asked(), key_id=key_id, name="k", scopes=("standard",)))
    await store.command("key", RevokeKey(**asked(), key_id=key_id))
    for value in range(3):
        await kv.write(store.bus, SetKv(**asked(), key="kept", value=value))
    gone = await kv.write(store.bus, SetKv(**asked(), key="gone", value=1))
    await store.command("kv", DeleteKv(**asked(), entry_id=gone.id))
    digest = hashlib.sha256(b"session").hexdigest()
    await store.command("session", LogIn(at=T0, email=EMAIL, password=PASSWORD, digest=digest, ttl_s=60))

    async def projected() -> bool:
        return bool(await rows(store.config.postgres_dsn, "select from audit where action = 'auth.login'"))

    await eventually(projected)


async def _contents(database: str) -> dict[str, list[dict[str, Any]]]:
    return {table: await rows(database, f"select * from {table} order by 1, 2") for table in TABLES}

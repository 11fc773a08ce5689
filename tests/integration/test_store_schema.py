"""The migrations, and the contract that says what they make."""

import asyncio
from pathlib import Path

import asyncpg

from services.store.migrations import migrate, migrations
from services.store.schema_dump import dump

CONTRACT = Path(__file__).parents[2] / "docs/contracts/schema.sql"


async def test_the_committed_schema_is_what_the_migrations_make(database: str) -> None:
    assert await dump(database) == CONTRACT.read_text()


async def test_stores_that_start_together_migrate_once(empty_database: str) -> None:
    await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    connection = await asyncpg.connect(empty_database)
    applied = await connection.fetch("select number from headrace.migrations order by number")
    await connection.close()
    assert [row["number"] for row in applied] == [migration.number for migration in migrations()]


async def test_a_migrated_database_is_left_as_it_is(database: str) -> None:
    connection = await asyncpg.connect(database)
    before = await connection.fetch("select * from headrace.migrations")
    await migrate(database)
    after = await connection.fetch("select * from headrace.migrations")
    await connection.close()
    assert after == before


async def test_every_list_query_is_answered_from_an_index(database: str) -> None:
    connection = await asyncpg.connect(
        database, server_settings={"search_path": "headrace", "enable_seqscan": "off"}
    )
    plans = {sql: await _plan(connection, sql) for sql in INDEXED}
    await connection.close()
    assert {sql: plan for sql, plan in plans.items() if "Sort" in plan or "Seq Scan" in plan} == {}


INDEXED = (
    "select * from flows where company_id = 'c' and not deleted order by created_at, id limit 25",
    "select * from flows where company_id = 'c' and permanent_id = 'p'",
    "select * from plays where company_id = 'c' order by created_at desc, id desc limit 25",
    "select * from plays where company_id = 'c' and flow_id = 'f' order by created_at desc, id desc limit 25",
    "select * from plays where company_id = 'c' and state = 'FAIL' order by created_at desc, id desc limit 25",
    "select * from plays where company_id = 'c' and flow_id = 'f' and state = 'FAIL' order by created_at desc, id desc",
    "select * from plays where company_id = 'c' and schedule_id = 's' order by created_at desc, id desc limit 25",
    "select * from schedules where company_id = 'c' and not deleted order by created_at, id limit 25",
    "select * from schedules where wake_at < now() order by wake_at limit 25",
    "select * from plays where state = 'RUN' and changed_at < now() order by changed_at limit 25",
    "select * from layers where play_id = 'p'",
    "select * from users where lower(email) = 'e' order by created_at, id limit 1",
)


async def _plan(connection: "asyncpg.Connection[asyncpg.Record]", sql: str) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"explain {sql}"))

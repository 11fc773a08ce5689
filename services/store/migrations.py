"""Brings a schema of the database to the shape that this release needs: numbered SQL files, each run once."""

import re
from pathlib import Path
from typing import NamedTuple

import asyncpg
import structlog

from services.store.database import LIVE_SCHEMA, lock_key

SQL = Path(__file__).parent / "sql"
LOCK = lock_key("migrations")
_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")

log = structlog.get_logger(__name__)


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return all migrations in order. Raises AssertionError when the numbers have a gap or a name is not `NNNN_x`."""
    found = []
    for path in sorted(SQL.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        assert match is not None, f"{path.name} is not named NNNN_words.sql"
        found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    assert [m.number for m in found] == list(range(1, len(found) + 1)), (
        "the numbers of the migrations have a gap"
    )
    return found


async def migrate(dsn: str, *, schema: str = LIVE_SCHEMA) -> None:
    """Apply the migrations that this schema lacks, all in one transaction.

    Several stores may start at once: an advisory lock lets one of them work, the others find it done.
    """
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
            await apply(connection, schema=schema)
    finally:
        await connection.close()


async def apply(connection: "asyncpg.Connection[asyncpg.Record]", *, schema: str) -> None:
    """Apply what is missing inside the caller's transaction; its search path must name the schema."""
    await connection.execute(f'create schema if not exists "{schema}"')
    await connection.execute(
        """
        create table if not exists migrations (
            number integer primary key,
            name text not null,
            applied_at timestamptz not null default now()
        )
        """
    )
    applied = {row["number"] for row in await connection.fetch("select number from migrations")}
    for migration in migrations():
        if migration.number not in applied:
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into migrations (number, name) values ($1, $2)", migration.number, migration.name
            )
            log.info("migration_applied", schema=schema, name=migration.name)

"""`python -m services.store.schema_dump` prints the schema that the migrations make, one statement per object.

Kept in docs/contracts/schema.sql, so that a migration is reviewed as a readable difference; a test compares the two.
"""

import asyncio
import sys

import asyncpg

from libs.common.config import Config, from_env
from services.store.database import LIVE_SCHEMA, Connection

HEADER = (
    "-- What the migrations of services/store/sql make; written by `python -m services.store.schema_dump`.\n"
)


async def dump(dsn: str, *, schema: str = LIVE_SCHEMA) -> str:
    """Return the schema as SQL: tables with their columns and constraints, then the other indexes, by name."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        tables = [
            await _table(connection, row["oid"], row["relname"]) for row in await _tables(connection, schema)
        ]
        return "\n".join([HEADER, *tables, *await _indexes(connection, schema)]) + "\n"
    finally:
        await connection.close()


async def _tables(connection: Connection, schema: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        "select oid, relname from pg_class where relnamespace = $1::regnamespace and relkind = 'r' order by relname",
        schema,
    )


async def _table(connection: Connection, oid: int, name: str) -> str:
    columns = await connection.fetch(
        """
        select quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
            || case when a.attnotnull then ' not null' else '' end
            || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') as line
        from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
        order by a.attnum
        """,
        oid,
    )
    constraints = await connection.fetch(
        # Since PostgreSQL 18 a `not null` is a constraint as well; it stands at its column already.
        """
        select 'constraint ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid) as line
        from pg_constraint where conrelid = $1 and contype <> 'n' order by conname
        """,
        oid,
    )
    lines = ",\n".join(f"    {row['line']}" for row in [*columns, *constraints])
    return f"create table {name} (\n{lines}\n);\n"


async def _indexes(connection: Connection, schema: str) -> list[str]:
    found = await connection.fetch(
        """
        select pg_get_indexdef(i.indexrelid) as line from pg_index i join pg_class c on c.oid = i.indexrelid
        where c.relnamespace = $1::regnamespace and not exists (select from pg_constraint where conindid = c.oid)
        order by c.relname
        """,
        schema,
    )
    return [f"{row['line'].replace(f' {schema}.', ' ')};" for row in found]


def main() -> None:
    """Print the schema of the configured database."""
    sys.stdout.write(asyncio.run(dump(from_env(Config).postgres_dsn)))


if __name__ == "__main__":
    main()

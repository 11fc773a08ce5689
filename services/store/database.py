"""Postgres as the store sees it: one pool, reads that answer Unavailable when it is away, a connection to write with.

Reads that meet the swap of a rebuild (their tables were just replaced) are asked once more.
"""

import asyncio
import hashlib
import time
from typing import Any, TypeAlias

import asyncpg
import structlog

from libs.common.errors import Unavailable

LIVE_SCHEMA = "headrace"
POOL_CONNECTIONS_MAX = 8
CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 3.0
# A peer that vanished without a word is noticed within 25 s, and with it the advisory locks it held.
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Row: TypeAlias = asyncpg.Record

# Postgres cannot be reached, or went away under the statement; trying again later is safe.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    # A backend that is killed says goodbye in the middle of an answer; the connection's next use finds it half read.
    asyncpg.InternalClientError,
)
# The tables were replaced between parsing and running (services/store/rebuild.py).
SWAPPED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InternalServerError)

log = structlog.get_logger(__name__)


def lock_key(name: str) -> int:
    """Return the key of an advisory lock of ours."""
    digest = hashlib.blake2b(f"headrace {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class Database:
    """The pool for reading."""

    def __init__(self, dsn: str, *, schema: str = LIVE_SCHEMA) -> None:
        self.dsn = dsn
        self.schema = schema
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Make the pool; connections follow when they are needed."""
        self._pool = await asyncpg.create_pool(
            self.dsn,
            min_size=0,
            max_size=POOL_CONNECTIONS_MAX,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={
                "search_path": self.schema,
                "application_name": "headrace-store",
                # A generic plan does not know the state asked for, and so cannot use the indexes of some states.
                "plan_cache_mode": "force_custom_plan",
                **KEEPALIVES,
            },
        )

    async def close(self) -> None:
        """Let the statements under way end, for a while, then close every connection."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        """Return all rows. Raises Unavailable when Postgres is away."""
        assert self._pool is not None, "the pool is open before anybody reads"
        try:
            try:
                return await self._pool.fetch(sql, *args)
            except SWAPPED:
                return await self._pool.fetch(sql, *args)
        except AWAY as error:
            log.warning("postgres_away", error=str(error) or type(error).__name__)
            raise Unavailable("PostgreSQL does not answer") from error

    async def row(self, sql: str, *args: Any) -> Row | None:
        """Return the first row, None when there is none. Raises Unavailable when Postgres is away."""
        found = await self.rows(sql, *args)
        return found[0] if found else None

    async def check(self) -> str | None:
        """Return what is wrong with Postgres, None when it answers."""
        if self._pool is None:
            return "PostgreSQL was not reached yet"
        try:
            await self._pool.fetchval("select 1", timeout=CONNECT_TIMEOUT_S)
        except AWAY as error:
            return f"PostgreSQL does not answer: {str(error) or type(error).__name__}"
        return None

    async def rtt_ms(self) -> int:
        """Return how long a statement takes that does nothing. Raises Unavailable when Postgres is away."""
        began_s = time.perf_counter()
        await self.rows("select 1")
        return round((time.perf_counter() - began_s) * 1_000)


async def connect_writer(dsn: str, *, schema: str = LIVE_SCHEMA) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection to project with. Raises one of AWAY when Postgres cannot be reached."""
    settings = {
        "search_path": schema,
        "application_name": "headrace-projector",
        # The plan of an upsert from arrays does not depend on them: made once, not at each batch.
        "plan_cache_mode": "force_generic_plan",
        **KEEPALIVES,
    }
    return await asyncpg.connect(
        dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=settings
    )

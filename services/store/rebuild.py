"""`python -m services.store.rebuild` builds the read models from the log anew, beside the live ones, and swaps them.

The live ones serve and follow meanwhile. What the log no longer holds (it keeps commits for some weeks, the read models
keep plays longer) is taken over from the live ones first; the log is then applied on top, which ends in the same rows.
"""

import asyncio
import sys
from typing import NamedTuple

import asyncpg
import structlog

from libs.common import log as logging
from libs.common import topology
from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config, from_env
from libs.common.errors import HeadraceError, Invalid, Unavailable
from libs.common.payloads import Payloads
from services.store.database import LIVE_SCHEMA, Connection, connect_writer, lock_key
from services.store.log_reader import LogReader
from services.store.migrations import migrate
from services.store.projection import BATCH_MESSAGES_MAX, Projection, projections
from services.store.read_models import checkpoints

NEW_SCHEMA = "headrace_rebuild"
OLD_SCHEMA = "headrace_replaced"
LOCK = lock_key("rebuild")
# So close behind the live checkpoint, the rest is projected while the live projectors wait.
SWAP_MESSAGES_MAX = 5_000
READ_TIMEOUT_S = 30.0
# The log forgets its oldest messages while it is read: plays that began this much after its first are kept as well.
MARGIN_SHARE = 20
PROGRESS_MESSAGES = 50_000
SWAP_LOCK_TIMEOUT_MS = 10_000
SWAP_ATTEMPTS_MAX = 5

log = structlog.get_logger(__name__)


class Bounds(NamedTuple):
    """What a stream holds."""

    first: int
    last: int


class Rebuild:
    """Builds all read models in a schema of their own and puts it in the place of the live one."""

    def __init__(self, bus: Bus, dsn: str, *, shards: int, payloads: Payloads) -> None:
        self._bus = bus
        self._dsn = dsn
        self._projections = projections(shards, payloads)
        self._readers = {p.stream: LogReader(bus, p.stream, p.filters) for p in self._projections}
        self._at: dict[str, int] = {}

    async def run(self) -> None:
        """Rebuild and swap. Raises Invalid when another rebuild runs, Unavailable when a server is away."""
        live = await connect_writer(self._dsn)
        try:
            if not await live.fetchval("select pg_try_advisory_lock($1)", LOCK):
                raise Invalid("another rebuild is under way")
            await live.execute(f"drop schema if exists {NEW_SCHEMA} cascade")
            await migrate(self._dsn, schema=NEW_SCHEMA)
            new = await connect_writer(self._dsn, schema=NEW_SCHEMA)
            try:
                await self._build(live, new)
                await self._swap(live, new)
            finally:
                new.terminate()
            # A connection that is cut keeps its locks until the server notices; the next rebuild need not wait for it.
            await live.execute("select pg_advisory_unlock($1)", LOCK)
        finally:
            live.terminate()

    async def _build(self, live: Connection, new: Connection) -> None:
        for projection in self._projections:
            bounds = await self._bounds(projection.stream)
            await _take_over(new, projection.stream, bounds)
            self._at[projection.stream] = await checkpoints.read(new, projection.stream)
            await self._readers[projection.stream].open(after=0)
        while True:
            targets = await self._targets(live)
            if all(targets[stream] - at <= SWAP_MESSAGES_MAX for stream, at in self._at.items()):
                return
            for projection in self._projections:
                await self._project(new, projection, upto=targets[projection.stream])

    async def _swap(self, live: Connection, new: Connection) -> None:
        for attempt in range(1, SWAP_ATTEMPTS_MAX + 1):
            try:
                await self._try_swap(live, new)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                log.warning("swap_retried", attempt=attempt, reason=str(error))
            else:
                return
        raise Unavailable("the read models are in use all the time: the rebuilt ones were not put in place")

    async def _try_swap(self, live: Connection, new: Connection) -> None:
        async with live.transaction():
            await live.execute(f"set local lock_timeout = {SWAP_LOCK_TIMEOUT_MS}")
            # The live projectors take this lock first in each statement, and wait here from now on.
            await live.execute("lock table checkpoints in exclusive mode")
            targets = await self._targets(live)
            for projection in self._projections:
                await self._project(new, projection, upto=targets[projection.stream])
            for stream, target in targets.items():
                await new.execute("update checkpoints set sequence = $2 where stream = $1", stream, target)
                self._at[stream] = target
            await live.execute(f"drop schema if exists {OLD_SCHEMA} cascade")
            await live.execute(f"alter schema {LIVE_SCHEMA} rename to {OLD_SCHEMA}")
            await live.execute(f"alter schema {NEW_SCHEMA} rename to {LIVE_SCHEMA}")
            await live.execute(f"drop schema {OLD_SCHEMA} cascade")
        log.info("read_models_swapped", **self._at)

    async def _targets(self, live: Connection) -> dict[str, int]:
        """Return how far the live read models are, per stream; no further than the log reaches."""
        found = {
            row["stream"]: row["sequence"]
            for row in await live.fetch("select stream, sequence from checkpoints")
        }
        return {
            projection.stream: min(
                found.get(projection.stream, 0), (await self._bounds(projection.stream)).last
            )
            for projection in self._projections
        }

    async def _project(self, new: Connection, projection: Projection, *, upto: int) -> None:
        """Project from where the rebuild is up to this sequence, never beyond."""
        stream = projection.stream
        reader = self._readers[stream]
        told = self._at[stream]
        # Less than `upto` is the end where the log has forgotten the messages in between.
        while self._at[stream] < upto and reader.behind > 0:
            records = await reader.batch(BATCH_MESSAGES_MAX, timeout_s=READ_TIMEOUT_S)
            wanted = [record for record in records if record.sequence <= upto]
            if wanted:
                self._at[stream] = await projection.write(new, wanted, before=self._at[stream])
            if len(wanted) < len(records):
                await reader.open(after=upto)
                return
            if self._at[stream] - told >= PROGRESS_MESSAGES:
                told = self._at[stream]
                log.info("rebuild_progress", stream=stream, sequence=told, of=upto)

    async def _bounds(self, stream: str) -> Bounds:
        answer = await self._bus.api(f"STREAM.INFO.{stream}")
        if "error" in answer:
            raise Unavailable(f"{stream}: {answer['error'].get('description')}")
        return Bounds(int(answer["state"]["first_seq"]), int(answer["state"]["last_seq"]))


async def _take_over(new: Connection, stream: str, bounds: Bounds) -> None:
    """Copy the live rows whose beginning the log no longer holds."""
    # Logins expire from the log; of KV entries it keeps the last, of schedules the last few: the rest is only here.
    await new.execute(
        """
        insert into audit select * from headrace.audit
        where stream = $1 and entity_type in ('session', 'kv', 'schedule')
        """,
        stream,
    )
    if bounds.first <= 1 or not stream.startswith("PLAYS_"):
        return
    before = bounds.first + max(0, bounds.last - bounds.first) // MARGIN_SHARE
    shard = int(stream.rpartition("_")[2])
    # Unqualified names are those of the new schema.
    plays = await new.execute(
        "insert into plays select * from headrace.plays where shard = $1 and first_sequence < $2",
        shard,
        before,
    )
    await new.execute(
        """
        insert into layers
        select l.* from headrace.layers l join plays p on p.id = l.play_id where p.shard = $1
        """,
        shard,
    )
    await new.execute(
        "insert into audit select * from headrace.audit where stream = $1 and sequence < $2",
        stream,
        bounds.first,
    )
    await new.execute(
        "insert into dead_letters select * from headrace.dead_letters where stream = $1 and sequence < $2",
        stream,
        bounds.first,
    )
    log.info("rebuild_took_over", stream=stream, plays=plays, first=bounds.first)


async def rebuild(config: Config) -> None:
    """Rebuild the read models of this configuration's database.

    Raises Invalid when it names none, Unavailable when NATS or Postgres does not answer.
    """
    if not config.postgres_dsn:
        raise Invalid("HEADRACE_POSTGRES_DSN is not set: the rebuild needs the database of the stores")
    bus = await Bus.connect(config.nats_url, name="rebuild")
    try:
        await topology.ensure(bus, config)
        payloads = Payloads(bus, SystemClock(), inline_bytes_max=config.payload_inline_bytes_max)
        await Rebuild(bus, config.postgres_dsn, shards=config.shards, payloads=payloads).run()
    finally:
        await bus.close()


def main() -> None:
    """Run one rebuild; exits 1 with a sentence when it cannot."""
    config = from_env(Config)
    logging.configure(service="store", instance="rebuild", level=config.log_level)
    try:
        asyncio.run(rebuild(config))
    except HeadraceError as error:
        log.error("rebuild_failed", error=error.message)  # noqa: TRY400 - the sentence says it all
        sys.exit(1)


if __name__ == "__main__":
    main()

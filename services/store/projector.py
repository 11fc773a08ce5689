"""Keeps the read models of one stream up to date; of all stores one works, the others stand by (design D10).

An advisory lock on the writing connection says who works; the checkpoint's compare-and-set would make two harmless.
"""

import asyncio

import asyncpg
import msgspec
import structlog

from libs.common import metrics, subjects
from libs.common.bus import Bus, Message
from libs.common.errors import Unavailable
from services.store.database import AWAY, SWAPPED, Connection, connect_writer, lock_key
from services.store.log_reader import LogReader
from services.store.progress import Progress, Projected
from services.store.projection import BATCH_MESSAGES_MAX, CheckpointMoved, Projection
from services.store.read_models import checkpoints
from services.store.relearn import relearn

IDLE_ANNOUNCE_S = 2.0
STAND_BY_POLL_S = 0.25
# A holder that announces nothing for this long is stopped, cut off or hung: its session is ended.
SILENCE_S_MAX = 10.0
RETRY_DELAY_S = 0.1
RETRY_DELAY_S_MAX = 2.0
HALT_CHECK_S = 5.0

log = structlog.get_logger(__name__)


class Projector:
    """Projects one stream, or waits until it may."""

    def __init__(self, bus: Bus, dsn: str, projection: Projection, progress: Progress) -> None:
        self.halted: str | None = None
        self.failing: str | None = None
        self.leads = False
        self._bus = bus
        self._dsn = dsn
        self._projection = projection
        self._progress = progress
        self._stream = projection.stream
        self._lock = lock_key(f"projector {self._stream}")
        self._reader = LogReader(bus, self._stream, projection.filters)
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._lag = metrics.PROJECTION_LAG.labels(self._stream)
        self._projected = metrics.PROJECTED.labels(self._stream)

    async def run(self) -> None:
        """Project until cancelled; whatever breaks is tried again."""
        listening = await self._bus.subscribe(f"{subjects.PROJECTED}.{self._stream}", self._heard)
        delay_s = RETRY_DELAY_S
        try:
            while True:
                began = self._loop.time()
                try:
                    await self._session()
                except CheckpointMoved as error:
                    log.info("projector_overtaken", stream=self._stream, reason=error.message)
                except (*AWAY, *SWAPPED, asyncpg.PostgresError, Unavailable) as error:
                    log.warning(
                        "projector_retries", stream=self._stream, error=str(error) or type(error).__name__
                    )
                except Exception as error:
                    self.failing = f"{self._stream} cannot be projected: {type(error).__name__}: {error}"
                    log.exception("projector_crashed", stream=self._stream)
                if self._loop.time() - began > RETRY_DELAY_S_MAX:
                    delay_s = RETRY_DELAY_S
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_DELAY_S_MAX)
        finally:
            await listening.close()
            await self._reader.close()

    def _heard(self, _message: Message) -> None:
        self._heard_at = self._loop.time()

    async def _session(self) -> None:
        connection = await connect_writer(self._dsn)
        try:
            await self._stand_by(connection)
            self.leads = True
            await self._lead(connection)
        finally:
            self.leads = False
            connection.terminate()

    async def _stand_by(self, connection: Connection) -> None:
        self._heard_at = self._loop.time()
        while not await connection.fetchval("select pg_try_advisory_lock($1)", self._lock):
            if self._loop.time() - self._heard_at > SILENCE_S_MAX and self._bus.connected:
                await self._end_silent_holder(connection)
            await asyncio.sleep(STAND_BY_POLL_S)

    async def _end_silent_holder(self, connection: Connection) -> None:
        log.warning("projector_silent_holder_ended", stream=self._stream)
        self._heard_at = self._loop.time()
        await connection.execute(
            """
            select pg_terminate_backend(pid) from pg_locks
            where locktype = 'advisory' and granted
                and database = (select oid from pg_database where datname = current_database())
                and (classid::bigint << 32 | objid::bigint) = $1
            """,
            self._lock,
        )

    async def _lead(self, connection: Connection) -> None:
        checkpoint = await self._checkpoint(connection)
        log.info("projector_leads", stream=self._stream, checkpoint=checkpoint)
        await relearn(self._bus, connection, self._projection, at=checkpoint)
        await self._reader.open(after=checkpoint)
        while True:
            records = await self._reader.batch(BATCH_MESSAGES_MAX, timeout_s=IDLE_ANNOUNCE_S)
            began = self._loop.time()
            if records:
                checkpoint = await self._projection.write(connection, records, before=checkpoint)
                self._projected.inc(len(records))
                self.failing = None
            elif connection.is_closed():
                return
            self._lag.set(self._reader.behind)
            await self._announce(checkpoint)
            await asyncio.sleep(max(0.0, began + self._projection.interval_s - self._loop.time()))

    async def _announce(self, checkpoint: int) -> None:
        self._progress.note(self._stream, checkpoint)
        announcement = msgspec.json.encode(Projected(checkpoint))
        await self._bus.publish(f"{subjects.PROJECTED}.{self._stream}", announcement)

    async def _checkpoint(self, connection: Connection) -> int:
        """Return where to go on; halts here while the log ends before it."""
        while True:
            checkpoint = await checkpoints.read(connection, self._stream)
            last = await self._bus.last_sequence(self._stream)
            if last >= checkpoint:
                self.halted = None
                return checkpoint
            self.halted = (
                f"{self._stream} ends at {last}, but {checkpoint} was projected: the log lost data; "
                "restore it, or rebuild the read models with python -m services.store.rebuild"
            )
            log.error("projection_halted", stream=self._stream, last=last, checkpoint=checkpoint)
            await self._announce(checkpoint)
            await asyncio.sleep(HALT_CHECK_S)

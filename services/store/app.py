"""The store: decides definitions, projects the log into Postgres, answers queries. Composed here, nowhere else."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import asyncpg
import structlog

from libs.common import background, health, rpc, subjects
from libs.common.bus import Bus
from libs.common.cipher import Cipher
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.connection import Serving
from libs.common.errors import HeadraceError, Invalid
from libs.common.messages.readiness import GetReadiness, Readiness
from libs.common.payloads import Payloads
from services.store.answers import Parts, answers
from services.store.catalogue import Catalogue
from services.store.database import AWAY, Database
from services.store.domain.channel import ports_of
from services.store.migrations import migrate
from services.store.passwords import Passwords
from services.store.progress import Progress
from services.store.projection import projections
from services.store.projector import Projector
from services.store.seeding import Seeding

QUEUE = "store"
RETRY_DELAY_S = 0.25
RETRY_DELAY_S_MAX = 5.0

log = structlog.get_logger(__name__)


class App:
    """The parts of one store process."""

    def __init__(self, config: Config, bus: Bus, _health: health.Health) -> None:
        self._config = config
        self._bus = bus
        self._database = Database(config.postgres_dsn)
        self._progress = Progress(self._checkpoint)
        self._catalogue = Catalogue(bus)
        self._payloads = Payloads(bus, SystemClock(), inline_bytes_max=config.payload_inline_bytes_max)
        self._projectors: list[Projector] = []
        self._serving: list[Serving] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._migrated = False
        self._channel_ports = range(0)
        self._not_ready: str | None = "the store has not begun"

    async def start(self) -> None:
        """Check the configuration, then come up in the background: Postgres may still be away.

        Raises Invalid or CipherRefused with a sentence when the configuration cannot work.
        """
        if not self._config.postgres_dsn:
            raise Invalid(
                "HEADRACE_POSTGRES_DSN is not set: the store needs the DSN of a PostgreSQL database"
            )
        self._channel_ports = ports_of(self._config.channel_ports)
        secret, salt = self._config.enc_key_secret, self._config.enc_key_salt
        cipher = await asyncio.to_thread(Cipher.derive, secret, salt)
        self._run("come up", self._come_up(cipher))

    async def stop(self) -> None:
        """Answer what has been asked, stop projecting and close the connections."""
        await asyncio.gather(*(serving.drain() for serving in self._serving))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._catalogue.stop()
        await self._progress.stop()
        await self._database.close()

    def checks(self) -> Mapping[str, health.Check]:
        """Return what readiness depends on."""
        return {
            "postgres": self._database.check,
            "migrations": self._migrations_check,
            "projection": self._projection_check,
            "store": self._store_check,
        }

    async def _migrations_check(self) -> str | None:
        return None if self._migrated else "the migrations have not run yet"

    async def _projection_check(self) -> str | None:
        troubles = [
            trouble for projector in self._projectors if (trouble := projector.halted or projector.failing)
        ]
        return "; ".join(troubles) or None

    async def _store_check(self) -> str | None:
        return self._not_ready

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(background.keep(work, name=name))

    async def _come_up(self, cipher: Cipher) -> None:
        passwords = Passwords(cipher)
        delay_s = RETRY_DELAY_S
        while True:
            try:
                await self._begin(cipher, passwords)
            except (*AWAY, asyncpg.PostgresError, HeadraceError) as error:
                self._not_ready = f"the store cannot begin: {str(error) or type(error).__name__}"
                log.warning("store_start_retried", error=str(error) or type(error).__name__)
                for serving in self._serving:
                    await serving.close()
                self._serving.clear()
            else:
                self._not_ready = None
                log.info("store_ready")
                return
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_DELAY_S_MAX)

    async def _begin(self, cipher: Cipher, passwords: Passwords) -> None:
        if not self._migrated:
            await migrate(self._config.postgres_dsn)
            await self._database.open()
            await self._progress.start(self._bus)
            await passwords.prepare()
            self._migrated = True
        if not self._projectors:
            await self._catalogue.start()
            self._start_projectors()
        seeded = await Seeding(self._bus, self._config, passwords, SystemClock()).run()
        await self._progress.reached(subjects.DEFINITIONS, seeded, timeout_s=RETRY_DELAY_S_MAX)
        await self._serve(cipher, passwords)

    def _start_projectors(self) -> None:
        for projection in projections(self._config.shards, self._payloads):
            projector = Projector(self._bus, self._config.postgres_dsn, projection, self._progress)
            self._projectors.append(projector)
            self._run(f"project {projection.stream}", projector.run())

    async def _serve(self, cipher: Cipher, passwords: Passwords) -> None:
        self._serving.append(
            await rpc.serve(
                self._bus,
                subjects.query("readiness"),
                GetReadiness,
                {GetReadiness: self._readiness},
                queue=QUEUE,
            )
        )
        parts = Parts(
            bus=self._bus,
            database=self._database,
            progress=self._progress,
            catalogue=self._catalogue,
            cipher=cipher,
            passwords=passwords,
            channel_ports=self._channel_ports,
            payloads=self._payloads,
        )
        for subject, requests, handlers in answers(parts, shards=self._config.shards):
            self._serving.append(await rpc.serve(self._bus, subject, requests, handlers, queue=QUEUE))

    async def _readiness(self, _query: GetReadiness) -> Readiness:
        postgres = await self._database.check()
        return Readiness(
            postgres=postgres,
            migrations=await self._migrations_check(),
            projection=await self._projection_check(),
            rtt_ms=0 if postgres else await self._database.rtt_ms(),
        )

    async def _checkpoint(self, stream: str) -> int:
        row = await self._database.row("select sequence from checkpoints where stream = $1", stream)
        return 0 if row is None else int(row["sequence"])

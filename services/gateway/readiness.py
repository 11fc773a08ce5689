"""Whether the whole system can work, as this gateway sees it: NATS, the log, the store's queries, the migrations.

What this process needs for itself is less: a play starts without the store (`libs/common/health.py`).
"""

import asyncio

from libs.common import rpc, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import HeadraceError
from libs.common.health import Health
from libs.common.messages.readiness import GetReadiness, Readiness

# Nobody makes us ask more often than this, however many ask us.
KEPT_S = 0.5
ASK_TIMEOUT_S = 2.0
DATABASE_AWAY = "the store's database does not answer"
NOT_KNOWN = "no store answers, so nobody knows whether they have run"


class SystemReadiness:
    """Asks the parts that calls depend on."""

    def __init__(self, config: Config, bus: Bus, clock: Clock, health: Health) -> None:
        self._streams = (subjects.DEFINITIONS, *map(subjects.plays_stream, range(config.shards)))
        self._bus = bus
        self._clock = clock
        self._health = health
        self._asking: asyncio.Task[dict[str, str]] | None = None
        self._asked_s = float("-inf")

    async def problems(self) -> dict[str, str]:
        """Return what is wrong, by the part's name; empty means that all of it works."""
        own = await self._health.problems()
        if own:
            return own
        now_s = self._clock.monotonic_s()
        if self._asking is None or now_s - self._asked_s > KEPT_S:
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._ask(), name="ask what calls depend on")
        # One answer serves all who ask meanwhile; none of them may cancel it for the others.
        return await asyncio.shield(self._asking)

    async def store(self) -> Readiness:
        """Return how the store is. Raises Unavailable when none answers."""
        return await rpc.ask(
            self._bus,
            subjects.query("readiness"),
            GetReadiness(),
            Readiness,
            timeout_s=ASK_TIMEOUT_S,
            asked_again_max=0,
        )

    async def _ask(self) -> dict[str, str]:
        log, store = await asyncio.gather(self._log_check(), self._store_checks())
        found = {"log": log, **store}
        return {name: problem for name, problem in found.items() if problem is not None}

    async def _log_check(self) -> str | None:
        for stream in self._streams:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    info = await self._bus.api(f"STREAM.INFO.{stream}")
            except (HeadraceError, TimeoutError):
                return f"{stream} does not answer"
            if "error" in info:
                return f"{stream}: {info['error'].get('description', 'it cannot be read')}"
        return None

    async def _store_checks(self) -> dict[str, str | None]:
        try:
            found = await self.store()
        except HeadraceError:
            return {"store": "no store answers queries", "migrations": NOT_KNOWN}
        # Anybody may ask: where the database is, and what it said, stands in the store's log and on its ops port.
        store = found.projection if found.postgres is None else DATABASE_AWAY
        return {"store": store, "migrations": found.migrations}

"""What the probes and `/api/v1/health/db` say when a part is away (spec flow-like section 11.3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest

from libs.common import topology
from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.health import Health
from services.gateway.app import App
from tests.e2e.api import Api, Json
from tests.fixtures.nats import NatsServer
from tests.integration.store_parts import running_store
from tests.waiting import WITHIN_S, eventually


class Gateway(NamedTuple):
    """A gateway in this process, as a client sees it, and how it is."""

    api: Api
    health: Health
    bus: Bus


@asynccontextmanager
async def gateway(nats_url: str) -> AsyncIterator[Gateway]:
    bus, config = await Bus.connect(nats_url, name="gateway"), Config(nats_url=nats_url, port=0)
    await topology.ensure(bus, config)

    async def nats_check() -> str | None:
        return None if bus.connected else "NATS cannot be reached"

    health = Health({"nats": nats_check})
    app = App(config, bus, health)
    await app.start()
    health.started = True
    try:
        async with Api(f"http://127.0.0.1:{app.port}") as api:
            yield Gateway(api, health, bus)
    finally:
        await app.stop()
        await bus.close()


class Line:
    """A line to Postgres that can be cut: it takes connections and passes bytes on."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.dsn = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        account = self._parts.netloc.rpartition("@")[0]
        self.dsn = urlunsplit(self._parts._replace(netloc=f"{account}@127.0.0.1:{port}"))

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(
            self._parts.hostname or "127.0.0.1", self._parts.port or 5432
        )
        self._writers += [writer, far_writer]
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_pass_on(source, target))
            self._tasks.add(task)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        return
    finally:
        target.close()


async def checks(api: Api, path: str = "/health/ready") -> Json:
    """Return the named checks of a probe that says no, None when it says yes."""
    answer = await api.call("GET", path)
    if answer.status == 200:
        assert answer.json == {"status": "healthy", "version": "0.1.0"}
        return None
    assert answer.status == 503
    assert answer.json["status"] == "unhealthy"
    return answer.json["checks"]


async def becomes(api: Api, expected: set[str]) -> Json:
    """Wait until exactly these checks say no, and return what they say."""

    async def found() -> Json:
        said = await checks(api) or {}
        return said or True if set(said) == expected else None

    return await eventually(found, within_s=WITHIN_S)


async def test_fq2_all_three_say_healthy_when_all_is_well(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database), gateway(nats_url) as seen:
        for path in ("/health/live", "/health/ready", "/health/startup", "/health/ready/"):
            assert await checks(seen.api, path) is None
        answer = await seen.api.get("/api/v1/health/db")
        assert set(answer) == {"rtt"}
        assert type(answer["rtt"]) is int
        assert await seen.api.get("/api/v1/health") == {"status": "ok"}


async def test_without_a_store_it_says_so_and_goes_on_when_there_is_one(nats_url: str, database: str) -> None:
    async with gateway(nats_url) as seen:
        assert set(await checks(seen.api)) == {"store", "migrations"}
        # What this process needs for itself is there: it can start plays.
        assert await checks(seen.api, "/api/health") is None
        assert await checks(seen.api, "/health/live") is None
        async with running_store(nats_url, database):
            await becomes(seen.api, set())
        await becomes(seen.api, {"store", "migrations"})


async def test_without_postgres_it_names_the_store_and_never_the_dsn(nats_url: str, database: str) -> None:
    line = Line(database)
    await line.open()
    async with running_store(nats_url, line.dsn), gateway(nats_url) as seen:
        await becomes(seen.api, set())
        await line.cut()
        said = await becomes(seen.api, {"store"})
        answer = await seen.api.call("GET", "/api/v1/health/db")
    assert (answer.status, answer.json["error"]["code"]) == (500, "DATABASE_ERROR")
    parts = urlsplit(line.dsn)
    hidden = [str(parts.port), parts.password or "-", parts.username or "-", parts.path.strip("/")]
    assert [word for word in hidden if word in str(answer.json) + str(said)] == []


async def test_without_a_stream_it_names_the_log(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database), gateway(nats_url) as seen:
        await becomes(seen.api, set())
        await seen.bus.api("STREAM.DELETE.PLAYS_0")
        said = await becomes(seen.api, {"log"})
    assert "PLAYS_0" in said["log"]


async def test_without_nats_it_names_nats(nats_server_process: NatsServer, database: str) -> None:
    nats_url = nats_server_process.url
    async with running_store(nats_url, database), gateway(nats_url) as seen:
        await becomes(seen.api, set())
        nats_server_process.stop(hard=True)
        await becomes(seen.api, {"nats"})
        assert await checks(seen.api, "/health/live") is None
        nats_server_process.start()
        await becomes(seen.api, set())


@pytest.mark.parametrize(
    ("started", "draining", "word"), [(True, True, "draining"), (False, False, "starting")]
)
async def test_while_it_starts_and_stops_it_takes_no_traffic(
    nats_url: str, started: bool, draining: bool, word: str
) -> None:
    async with gateway(nats_url) as seen:
        seen.health.started, seen.health.draining = started, draining
        said = await checks(seen.api)
        assert word in said["service"]
        assert await checks(seen.api, "/health/live") is None
        startup = await checks(seen.api, "/health/startup")
        assert (startup is None) is started

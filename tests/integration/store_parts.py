"""A store in this process, on real servers, and what tests say to it and to the log."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from libs.common import codec, ids, rpc, subjects, topology
from libs.common.bus import Bus, Expected
from libs.common.config import Config
from libs.common.health import Health
from libs.common.messages import play as m
from libs.common.messages.flow import AddLayer, CreateFlow, FlowFields, LayerFields
from libs.common.messages.module import SYSTEM, ModuleAnnounced, ModuleInfo
from services.store.app import App
from tests.waiting import WITHIN_S, eventually

COMPANY = ids.derived_id("company", "tests")
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET, SALT = "5a" * 128, "a5" * 32
EMAIL, PASSWORD = "Admin@Example.test", "correct-horse-battery"


def at(seconds: float) -> datetime:
    """Return a moment of the tests' own time."""
    return T0 + timedelta(seconds=seconds)


def config_of(nats_url: str, dsn: str, **more: Any) -> Config:
    """Return the configuration of a store with a company and an admin."""
    given = {"admin_email": EMAIL, "admin_password": PASSWORD, "enc_key_secret": SECRET, "enc_key_salt": SALT}
    return Config(nats_url=nats_url, postgres_dsn=dsn, **(given | more))


class Store:
    """One store in this process, and a bus of its own to talk to it."""

    def __init__(self, config: Config, bus: Bus) -> None:
        self.config = config
        self.bus = bus
        self._their_bus: Bus | None = None
        self.health = Health({})
        self._app: App | None = None

    @property
    def app(self) -> App:
        assert self._app is not None
        return self._app

    async def start(self, *, ready: bool = True) -> None:
        self._their_bus = await Bus.connect(self.config.nats_url, name="store")
        self._app = App(self.config, self._their_bus, self.health)
        self.health.checks.update(self.app.checks())
        await self.app.start()
        self.health.started = True
        if ready:
            await eventually(self.is_ready)

    async def stop(self) -> None:
        if self._app is not None and self._their_bus is not None:
            await self._app.stop()
            await self._their_bus.close()
        self._app = self._their_bus = None

    async def is_ready(self) -> bool:
        return not await self.health.problems()

    async def command(self, noun: str, command: msgspec.Struct) -> Any:
        """Send a command and return its answer as plain JSON."""
        reply = await rpc.call(self.bus, subjects.command(noun), command, timeout_s=WITHIN_S)
        return msgspec.json.decode(reply.data)

    async def query(self, noun: str, query: msgspec.Struct) -> Any:
        """Ask and return the answer as plain JSON."""
        reply = await rpc.call(self.bus, subjects.query(noun), query, timeout_s=WITHIN_S)
        return msgspec.json.decode(reply.data)


@asynccontextmanager
async def running_store(
    nats_url: str, dsn: str, *, modules: bool = True, **more: Any
) -> AsyncIterator[Store]:
    """Run a store until the end of the block."""
    config = config_of(nats_url, dsn, **more)
    bus = await Bus.connect(nats_url, name="test")
    await topology.ensure(bus, config)
    if modules:
        await announce(bus, a_module("var"), a_module("template", raw_args=("template",)))
    store = Store(config, bus)
    try:
        await store.start()
        yield store
    finally:
        await store.stop()
        await bus.close()


def a_module(app_id: str, *, raw_args: tuple[str, ...] = ()) -> ModuleInfo:
    return ModuleInfo(
        app_id=app_id,
        version=1,
        pure=True,
        docs="",
        args_schema={},
        args_example={},
        out_example=None,
        raw_args=raw_args,
    )


async def announce(bus: Bus, *modules: ModuleInfo) -> None:
    """Announce modules as an executor does."""
    for info in modules:
        id = ids.commit_id()
        context = codec.Context(source=codec.source_of(SYSTEM), subject=info.app_id)
        body = codec.encode_message(ModuleAnnounced(at=T0, module=info), id=id, context=context)
        await bus.append(subjects.definition("module", SYSTEM, info.app_id), body, id=id)


def create_flow(name: str = "Invoice Processing", *, id: str = "", **fields: Any) -> CreateFlow:
    return CreateFlow(
        id=id or secrets.token_hex(16),
        at=T0,
        company_id=COMPANY,
        flow_id=ids.new_id(),
        fields=FlowFields(name=name, **fields),
    )


def add_layer(flow_id: str, name: str = "First step", **fields: Any) -> AddLayer:
    return AddLayer(
        id=secrets.token_hex(16),
        at=T0,
        company_id=COMPANY,
        flow_id=flow_id,
        layer_id=ids.new_id(),
        fields=LayerFields(**({"name": name, "app_id": "var"} | fields)),
    )


class PlayLog:
    """Writes the history of one play to the log, as gateways and executors do."""

    def __init__(self, bus: Bus, *, company_id: str = COMPANY, flow_id: str = "", play_id: str = "") -> None:
        self.bus = bus
        self.flow_id = flow_id or ids.new_id()
        self.key = subjects.play_key(company_id, self.flow_id, play_id or ids.new_id(), shards=1)
        self.id = self.key.play_id
        self._last = 0

    async def request(self, *, at: datetime = T0, **fields: Any) -> int:
        """Store the start command and return its sequence."""
        command = m.StartPlay(at=at, definition=1, flow_version=3, **fields)
        subject = self.key.command("start")
        body = codec.encode_message(command, id=ids.commit_id(), context=self._context())
        return (await self.bus.append(subject, body, id=ids.commit_id())).sequence

    async def commit(self, state: str, *events: m.Event) -> int:
        """Store one commit and return its sequence."""
        id = ids.commit_id()
        body = codec.encode_commit(events, commit_id=id, context=self._context())
        expected = Expected(self.key.events, self._last)
        self._last = (await self.bus.append(self.key.event(state), body, id=id, expected=expected)).sequence
        return self._last

    def _context(self) -> codec.Context:
        return codec.Context(
            source=codec.source_of(self.key.company_id, self.flow_id),
            subject=self.id,
            correlation_id=self.id,
            traceparent=ids.new_traceparent(),
        )


def started(seconds: float = 1, **fields: Any) -> m.PlayStarted:
    return m.PlayStarted(
        at=at(seconds), definition=1, flow_version=3, driver=m.Driver(1, 1), requested_at=T0, **fields
    )


def layer_done(ref: str, order: int = 0, *, seconds: float = 2, **fields: Any) -> m.LayerCompleted:
    given: dict[str, Any] = {"state": "DONE", "out": {"n": order}, "started_at": at(1)} | fields
    return m.LayerCompleted(at=at(seconds), ref=ref, layer_id=f"layer-{ref}", order=order, **given)


def five_step_play() -> tuple[m.Event, ...]:
    """Return the events of a play of five pure steps, which travel as one commit."""
    steps = [layer_done(f"step{n}", n) for n in range(5)]
    return (started(), *steps, m.PlayCompleted(at=at(3), state="DONE", out={"answer": 42}))


def looping_play(items: int = 3) -> tuple[m.Event, ...]:
    """Return the events of a play of one loop with one pure step."""
    iterator: dict[str, Any] = {"ref": "loop", "layer_id": "layer-loop"}
    opened = m.LayerIterating(at=at(1), **iterator, items=list(range(items)), collects=("body",))
    body: list[m.Event] = []
    for index in range(items):
        body += [
            layer_done("body", 1, out=index, iteration=(index,)),
            m.ItemEnded(at=at(2), **iterator, iteration=(index,)),
        ]
    end = m.PlayCompleted(at=at(3), state="DONE", out=items - 1)
    return (started(), opened, *body, layer_done("loop", announced=True), end)


async def rows(dsn: str, sql: str, *args: Any) -> list[dict[str, Any]]:
    """Return what a statement finds in the live schema."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "headrace"})
    try:
        return [dict(row) for row in await connection.fetch(sql, *args)]
    finally:
        await connection.close()

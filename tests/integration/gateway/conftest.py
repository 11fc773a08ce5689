"""A gateway in this process on a fresh NATS server; tests write to the log what stores and executors would."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common import codec, ids, subjects, topology
from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.health import Health
from libs.common.messages import access as a
from libs.common.messages import flow as f
from libs.common.messages import play as m
from services.gateway.app import App
from tests.e2e.api import Api

NOW = datetime.now(UTC)
COMPANY, USER = "c" * 24, "d" * 24
FLOW, SLUG = "f" * 24, "invoice-processing"
SECRET = "s" * 43
LAYER = "a" * 24


class Log:
    """Writes messages as other services would."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self.bus = bus
        self.config = config

    async def put(
        self, subject: str, event: msgspec.Struct, *, flow_id: str = FLOW, subject_id: str = "x"
    ) -> int:
        """Store one event that stands alone."""
        id = ids.new_id()
        context = codec.Context(source=codec.source_of(COMPANY, flow_id), subject=subject_id)
        return (
            await self.bus.append(subject, codec.encode_message(event, id=id, context=context), id=id)
        ).sequence

    async def user(self, **fields: Any) -> int:
        """Store the user as it is now."""
        user = a.User(
            **{
                "id": USER, "company_id": COMPANY, "email": "ada@example.test", "name": "Ada", "role": "admin",
                "created_at": NOW, "updated_at": NOW, **fields,
            }
        )  # fmt: skip
        return await self.put(subjects.definition("user", COMPANY, USER), a.UserUpdated(at=NOW, user=user))

    async def session(self, secret: str = SECRET, *, ttl_s: float = 3_600) -> int:
        """Open a session."""
        session = a.Session(
            user_id=USER, company_id=COMPANY, email="ada@example.test", name="Ada", role="admin", opened_at=NOW,
            expires_at=datetime.now(UTC) + timedelta(seconds=ttl_s),
        )  # fmt: skip
        return await self.put(session_subject(secret), a.SessionOpened(at=NOW, session=session))

    async def flow(self, flow_id: str = FLOW, *layers: f.Layer, **fields: Any) -> int:
        """Store a flow's definition as it is now."""
        flow = f.Flow(
            **{
                "id": flow_id, "company_id": COMPANY, "permanent_id": SLUG, "name": "Invoice", "enabled": True,
                "category": "", "group_id": None, "kv_inherit": "true", "kv_conflict": "child",
                "execution": f.Execution(), "version": 1, "created_at": NOW, "updated_at": NOW, "layers": layers,
                **fields,
            }
        )  # fmt: skip
        return await self.put(subjects.definition("flow", COMPANY, flow_id), f.FlowUpdated(at=NOW, flow=flow))

    async def claim(self, slug: str = SLUG, flow_id: str = FLOW) -> int:
        """Give a permanentId to a flow."""
        subject = subjects.claim(COMPANY, "permanent", slug)
        return await self.put(subject, a.NameClaimed(at=NOW, owner_id=flow_id))

    async def commit(self, play_id: str, state: str, *events: m.PlayEvent, flow_id: str = FLOW) -> int:
        """Store a commit of a play, as an executor would."""
        key = subjects.play_key(COMPANY, flow_id, play_id, shards=self.config.shards)
        id = ids.commit_id()
        context = codec.Context(source=codec.source_of(COMPANY, flow_id), subject=play_id)
        body = codec.encode_commit(events, commit_id=id, context=context)
        return (await self.bus.append(key.event(state), body, id=id)).sequence

    async def whole_play(self, play_id: str | None = None, *, flow_id: str = FLOW) -> str:
        """Store a play that starts and ends in one commit."""
        play_id = play_id or ids.new_id()
        await self.commit(play_id, "DONE", *whole(), flow_id=flow_id)
        return play_id


def session_subject(secret: str) -> str:
    """Return where a session is stored."""
    return subjects.session(hashlib.sha256(secret.encode()).hexdigest())


def started() -> m.PlayStarted:
    """A play that starts."""
    return m.PlayStarted(at=NOW, definition=1, flow_version=1, driver=m.Driver(1, 1))


def whole(out: Any = None) -> tuple[m.PlayEvent, ...]:
    """A play of one pure step."""
    step = m.LayerCompleted(at=NOW, ref="a", layer_id=LAYER, state="DONE", out=out, started_at=NOW)
    end = m.PlayCompleted(at=NOW + timedelta(milliseconds=250), state="DONE", out=out, started_at=NOW)
    return started(), step, end


@pytest.fixture
def shards() -> int:
    """How many shards there are; a test may ask for more."""
    return 1


@pytest.fixture
def config(nats_url: str, shards: int) -> Config:
    """The gateway's configuration."""
    return Config(
        nats_url=nats_url, port=0, shards=shards, body_bytes_max=100_000, allowed_origins="https://good.test"
    )


@pytest.fixture
async def log(config: Config) -> AsyncIterator[Log]:
    """The log, with a user who is logged in and a flow."""
    bus = await Bus.connect(config.nats_url, name="test")
    await topology.ensure(bus, config)
    log = Log(bus, config)
    await asyncio.gather(log.user(), log.session(), log.flow(), log.claim())
    yield log
    await bus.close()


@pytest.fixture
async def gateway(config: Config, log: Log) -> AsyncIterator[App]:
    """A running gateway with its own connection."""
    bus = await Bus.connect(config.nats_url, name="gateway")
    health = Health({})
    app = App(config, bus, health)
    await app.start()
    health.started = True
    yield app
    await app.stop()
    await bus.close()


@pytest.fixture
async def api(gateway: App) -> AsyncIterator[Api]:
    """A client with the session of the log."""
    async with Api(f"http://127.0.0.1:{gateway.port}") as api:
        api.use_session(SECRET)
        yield api


@pytest.fixture
async def stranger(gateway: App) -> AsyncIterator[Api]:
    """A client without a session."""
    async with Api(f"http://127.0.0.1:{gateway.port}") as api:
        yield api

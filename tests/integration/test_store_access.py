"""Seeding, logging in and out; secrets stay secret."""

import asyncio
import hashlib
from datetime import timedelta

import asyncpg
import pytest

from libs.common import codec, ids, subjects, topology
from libs.common.bus import Bus
from libs.common.config import Config
from libs.common.errors import HeadraceError, Invalid, Unauthorized
from libs.common.health import Health
from libs.common.messages.access import LogIn, LogOut, SessionClosed, SessionOpened, SessionRefused
from services.store.app import App
from services.store.domain.access import FIRST_COMPANY_ID, admin_id
from tests.integration.store_parts import EMAIL, PASSWORD, T0, Store, config_of, rows, running_store

DIGEST = hashlib.sha256(b"session").hexdigest()


def log_in(email: str = EMAIL, password: str = PASSWORD, **more: object) -> LogIn:
    given = {"digest": DIGEST, "ttl_s": 3600.0} | more
    return LogIn(at=T0, email=email, password=password, **given)  # type: ignore[arg-type]


async def test_the_seeded_admin_logs_in_and_out(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        session = await store.command("session", log_in(email=" ADMIN@example.TEST "))
        opened = await store.bus.last(subjects.DEFINITIONS, subjects.session(DIGEST))
        assert opened is not None
        out = await store.command("session", LogOut(at=T0 + timedelta(minutes=10), digest=DIGEST))
        closed = await store.bus.last(subjects.DEFINITIONS, subjects.session(DIGEST))
        again = await store.command("session", LogOut(at=T0, digest=DIGEST))

    assert session["userId"] == admin_id(EMAIL)
    assert (session["companyId"], session["role"], session["email"]) == (FIRST_COMPANY_ID, "admin", EMAIL)
    assert session["expiresAt"] == "2026-01-02T04:04:05Z"
    assert isinstance(codec.last_event(opened.data).data, SessionOpened)
    assert opened.headers["Nats-TTL"] == "3600s"
    assert (out, again) == ({"closed": True}, {"closed": False})
    assert closed is not None
    assert isinstance(codec.last_event(closed.data).data, SessionClosed)
    # The mark of the end outlives the session, however late or early it comes.
    assert int(closed.headers["Nats-TTL"].removesuffix("s")) >= 3600


async def test_a_wrong_password_and_an_unknown_email_are_refused_alike(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        said = set()
        for command in (
            log_in(password="wrong"),
            log_in(email="nobody@example.test"),
            log_in(password="x" * 5000),
        ):
            with pytest.raises(Unauthorized) as caught:
                await store.command("session", command)
            said.add(caught.value.message)
        # What is noted of it opens nothing.
        noted = await store.bus.load(subjects.DEFINITIONS, subjects.session(DIGEST))
        kinds = {type(codec.last_event(stored.data).data) for stored in noted}
        assert kinds <= {SessionRefused}

    assert said == {"email or password is wrong"}


async def test_a_malformed_session_is_refused(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        for command in (log_in(digest="x.y"), log_in(ttl_s=0.0), LogOut(at=T0, digest="*")):
            with pytest.raises(Invalid):
                await store.command("session", command)


async def test_a_disabled_user_is_refused_until_the_next_start(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        connection = await asyncpg.connect(database)
        await connection.execute("update headrace.users set disabled = true")
        await connection.close()
        with pytest.raises(Unauthorized):
            await store.command("session", log_in())


async def test_stores_that_start_together_seed_once(nats_url: str, database: str) -> None:
    config = config_of(nats_url, database)
    bus = await Bus.connect(nats_url, name="test")
    await topology.ensure(bus, config)
    stores = [Store(config, bus) for _ in range(3)]
    await asyncio.gather(*(store.start() for store in stores))
    users = await rows(database, "select email, role from users")
    companies = await rows(database, "select id, name from companies")
    events = await bus.load(subjects.DEFINITIONS, "evt.user.>")
    await stores[0].command("session", log_in())
    await asyncio.gather(*(store.stop() for store in stores))
    await bus.close()

    assert users == [{"email": EMAIL, "role": "admin"}]
    assert companies == [{"id": FIRST_COMPANY_ID, "name": "Headrace"}]
    assert len(events) == 1


async def test_a_new_password_in_the_environment_counts_from_the_next_start(
    nats_url: str, database: str
) -> None:
    async with running_store(nats_url, database):
        pass
    async with running_store(nats_url, database, admin_password="another-long-one") as store:
        await store.command("session", log_in(password="another-long-one"))
        with pytest.raises(Unauthorized):
            await store.command("session", log_in())
        assert len(await store.bus.load(subjects.DEFINITIONS, "evt.user.>")) == 2
    async with running_store(nats_url, database, admin_password="another-long-one") as store:
        assert len(await store.bus.load(subjects.DEFINITIONS, "evt.user.>")) == 2


async def test_the_admin_gets_in_after_the_key_was_changed(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database):
        pass
    async with running_store(nats_url, database, enc_key_secret="11" * 128) as store:
        await store.command("session", log_in())


async def test_neither_password_nor_hash_is_in_the_log_or_the_database(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        await store.command("session", log_in())
        stored = b"".join(message.data for message in await store.bus.load(subjects.DEFINITIONS, "evt.>"))
        users = str(await rows(database, "select * from users"))

    for hidden in (PASSWORD, "argon2"):
        assert hidden.encode() not in stored
        assert hidden not in users
    assert b"A256GCM" in stored


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"postgres_dsn": ""}, "HEADRACE_POSTGRES_DSN is not set"),
        ({"enc_key_secret": "abc"}, "HEADRACE_ENC_KEY_SECRET must be 256"),
        ({"enc_key_salt": ""}, "HEADRACE_ENC_KEY_SALT must be 64"),
    ],
)
async def test_a_store_that_cannot_work_refuses_to_start(
    shared_nats_url: str, change: dict[str, str], words: str
) -> None:
    given = {
        "enc_key_secret": "5a" * 128,
        "enc_key_salt": "a5" * 32,
        "postgres_dsn": "postgresql://x/y",
    } | change
    bus = await Bus.connect(shared_nats_url, name=ids.new_id())
    app = App(Config(**given), bus, Health({}))  # type: ignore[arg-type]
    with pytest.raises(HeadraceError, match=words):
        await app.start()
    await app.stop()
    await bus.close()

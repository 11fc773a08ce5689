"""A second company on a running system: written to the log, for the API makes users of one's own company only."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.messages import access as a
from tests.e2e.api import Api
from tests.fixtures.system import RunningSystem


def nats_url(system: RunningSystem) -> str:
    """Return where the system's bus is."""
    return (system.home / "run" / "nats.url").read_text().strip()


@asynccontextmanager
async def bus_of(system: RunningSystem) -> AsyncIterator[Bus]:
    """Connect to the system's bus until the end of the block."""
    bus = await Bus.connect(nats_url(system), name="test")
    yield bus
    await bus.close()


@asynccontextmanager
async def neighbour(system: RunningSystem) -> AsyncIterator[Api]:
    """Log in as the admin of another company, until the end of the block."""
    company_id, user_id, secret = ids.new_id(), ids.new_id(), ids.new_secret()
    now = datetime.now(UTC)
    email = f"{user_id}@neighbour.test"
    user = a.User(
        id=user_id,
        company_id=company_id,
        email=email,
        name="Neighbour",
        role="admin",
        created_at=now,
        updated_at=now,
    )
    session = a.Session(
        user_id=user_id,
        company_id=company_id,
        email=email,
        name="Neighbour",
        role="admin",
        opened_at=now,
        expires_at=now + timedelta(hours=1),
    )
    digest = hashlib.sha256(secret.encode()).hexdigest()
    company = a.Company(id=company_id, name="Next door", created_at=now)
    async with bus_of(system) as bus:
        for subject, event in (
            (
                subjects.definition("company", company_id, company_id),
                a.CompanyCreated(at=now, company=company),
            ),
            (subjects.definition("user", company_id, user_id), a.UserCreated(at=now, user=user)),
            (subjects.session(digest), a.SessionOpened(at=now, by=user_id, session=session)),
        ):
            await _put(bus, subject, event, company_id)
    async with Api(system.base_url) as api:
        api.use_session(secret)
        yield api


async def _put(bus: Bus, subject: str, event: msgspec.Struct, company_id: str) -> None:
    id = ids.commit_id()
    context = codec.Context(source=codec.source_of(company_id), subject=subject.rpartition(".")[2])
    await bus.append(subject, codec.encode_message(event, id=id, context=context), id=id)

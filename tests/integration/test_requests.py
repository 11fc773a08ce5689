"""Requests that find nobody, or somebody who has only just come."""

import asyncio

import pytest

from libs.common import ids, rpc
from libs.common.bus import Bus
from libs.common.errors import NobodyListens
from libs.common.messages.readiness import GetReadiness, Readiness

SERVERS = 20


async def ready(_request: GetReadiness) -> Readiness:
    return Readiness(postgres=None, projection=None)


async def test_who_serves_is_found_at_once_from_another_connection(nats_url: str) -> None:
    asking = await Bus.connect(nats_url, name="asking")
    try:
        for _ in range(SERVERS):
            serving = await Bus.connect(nats_url, name="serving")
            subject = f"q.{ids.commit_id()}"
            await rpc.serve(serving, subject, GetReadiness, {GetReadiness: ready}, queue="store")
            await rpc.ask(asking, subject, GetReadiness(), Readiness, asked_again_max=0)
            await serving.close()
    finally:
        await asking.close()


async def test_a_request_waits_for_a_service_that_restarts(nats_url: str) -> None:
    asking, serving = await Bus.connect(nats_url, name="asking"), await Bus.connect(nats_url, name="serving")
    subject = f"q.{ids.commit_id()}"
    try:
        with pytest.raises(NobodyListens):
            await rpc.ask(asking, subject, GetReadiness(), Readiness, asked_again_max=0)
        asked = asyncio.create_task(rpc.ask(asking, subject, GetReadiness(), Readiness))
        await asyncio.sleep(0)
        assert not asked.done()
        await rpc.serve(serving, subject, GetReadiness, {GetReadiness: ready}, queue="store")
        assert await asked == await ready(GetReadiness())
    finally:
        await serving.close()
        await asking.close()

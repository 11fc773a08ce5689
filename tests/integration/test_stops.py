"""What the server had sent to a process that is told to stop: it is dealt with, not thrown away."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from libs.common import ids, rpc
from libs.common.bus import Bus
from libs.common.consumer import Delivery, PullConsumer
from libs.common.messages.readiness import GetReadiness, Readiness
from tests.waiting import WITHIN_S, eventually

MANY = 100
# More in all than a socket hands over at once.
MESSAGE_BYTES = 10_000

T = TypeVar("T")


class Elsewhere:
    """A thread with a loop of its own, whose work goes on while nothing is read here."""

    def __init__(self) -> None:
        self.sent = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Begin work over there; its result can be awaited here."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def wait_sent(self) -> None:
        """Block this thread until the work over there says that all is sent."""
        assert self.sent.wait(WITHIN_S), "nothing was sent"

    def end(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()


async def ready(_request: GetReadiness) -> Readiness:
    return Readiness(postgres=None, projection=None)


async def test_what_was_asked_before_a_stop_is_answered(nats_url: str) -> None:
    serving = await Bus.connect(nats_url, name="serving")
    subject, going_on = f"q.{ids.commit_id()}", asyncio.Event()

    async def ready_then(_request: GetReadiness) -> Readiness:
        await going_on.wait()
        return await ready(_request)

    served = await rpc.serve(serving, subject, GetReadiness, {GetReadiness: ready_then}, queue="store")
    elsewhere = Elsewhere()
    try:
        asked = elsewhere.begin(_ask_many(nats_url, subject, elsewhere))
        # Not a turn of this loop meanwhile: the server has sent the requests, and nobody has read them.
        elsewhere.wait_sent()
        draining = asyncio.create_task(served.drain())
        asyncio.get_running_loop().call_soon(going_on.set)
        await draining
        assert await asked == [await ready(GetReadiness())] * MANY
    finally:
        await serving.close()
        elsewhere.end()


async def test_what_was_delivered_before_a_stop_is_handled(nats_url: str) -> None:
    bus = await Bus.connect(nats_url, name="pulling")
    await bus.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
    pulled = {"durable_name": "C", "ack_policy": "explicit"}
    await bus.api("CONSUMER.CREATE.S.C", {"stream_name": "S", "config": pulled, "action": ""})
    handled: list[bytes] = []

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery.data)
        await delivery.ack()

    consumer = PullConsumer(bus, "S", "C", slots=MANY, handler=handle)
    elsewhere = Elsewhere()
    try:
        await consumer.start()
        await eventually(lambda: _waiting(bus))
        sent = elsewhere.begin(_send_many(nats_url, elsewhere))
        elsewhere.wait_sent()
        await consumer.stop(grace_s=WITHIN_S)
        assert handled == await sent
    finally:
        await bus.close()
        elsewhere.end()


async def _waiting(bus: Bus) -> bool:
    return bool((await bus.api("CONSUMER.INFO.S.C"))["num_waiting"])


async def _ask_many(url: str, subject: str, elsewhere: "Elsewhere") -> list[Readiness]:
    bus = await Bus.connect(url, name="asking")
    try:
        asked = [
            asyncio.create_task(rpc.ask(bus, subject, GetReadiness(), Readiness, timeout_s=WITHIN_S))
            for _ in range(MANY)
        ]
        # Every task has written its request once this one runs, and an answer comes after all that was written before.
        await asyncio.sleep(0)
        await bus.api("INFO")
        elsewhere.sent.set()
        return await asyncio.gather(*asked)
    finally:
        await bus.close()


async def _send_many(url: str, elsewhere: "Elsewhere") -> list[bytes]:
    bus = await Bus.connect(url, name="sending")
    try:
        sent = [bytes([number]) * MESSAGE_BYTES for number in range(MANY)]
        for data in sent:
            await bus.append("s.x", data, id=ids.commit_id())

        async def delivered() -> bool:
            return bool((await bus.api("CONSUMER.INFO.S.C"))["num_ack_pending"] == MANY)

        await eventually(delivered)
        elsewhere.sent.set()
        return sent
    finally:
        await bus.close()

"""Pulling from a JetStream consumer: as many messages as there are free slots, one open request at a time."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from libs.common import background
from libs.common.bus import Bus, Message, Subscription
from libs.common.errors import HeadraceError, Unavailable
from libs.common.wire import delivered_as

PULL_EXPIRES_S = 30.0
PULL_HEARTBEAT_S = 5.0
PULL_RETRY_DELAY_S = 0.25
_NANO = 1_000_000_000

log = structlog.get_logger(__name__)


class Delivery:
    """One delivered message: its body, its place in the stream, how often it was delivered, and its acknowledgement."""

    __slots__ = ("_bus", "data", "delivery", "message", "pending", "sequence", "subject")

    def __init__(self, bus: Bus, message: Message) -> None:
        delivery, sequence, _, _, pending = delivered_as(message.reply)
        self._bus = bus
        self.message = message
        self.subject = message.subject
        self.data = message.data
        self.delivery = int(delivery)
        self.sequence = int(sequence)
        self.pending = int(pending)

    async def ack(self) -> None:
        """Tell the server that this command is done with. Not confirmed: a lost one costs a redelivery."""
        await self._bus.publish(self.message.reply, b"+ACK")

    async def in_progress(self) -> None:
        """Tell the server that somebody works on it: the redelivery timer starts anew."""
        await self._bus.publish(self.message.reply, b"+WPI")


class PullConsumer:
    """Feeds the messages of one durable consumer to a handler, at most `slots` at once.

    The handler owns its delivery: it acknowledges, or leaves it to be redelivered. Nobody negatively acknowledges (D4).
    `reserved` tells how many slots are taken by work that did not come from here.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        slots: int,
        handler: Callable[[Delivery], Awaitable[None]],
        reserved: Callable[[], int] = lambda: 0,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._slots = slots
        # Not yet delivered, as of the last one that was.
        self.pending = 0
        self._handler = handler
        self._reserved = reserved
        self._requested = 0
        self._running: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()
        self._tokens = itertools.count()
        self._token = ""
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def running(self) -> int:
        """Return how many messages are being handled."""
        return len(self._running)

    async def start(self) -> None:
        """Begin to pull."""
        self._inbox = f"_INBOX.pull.{self._consumer}.{id(self):x}.{self._loop.time():.6f}".replace(".", "_")
        self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._received)
        self._bus.on_reconnected(self._reconnected)
        self._task = background.keep(self._pull(), name=f"pull {self._stream}/{self._consumer}")

    async def stop_pulling(self) -> None:
        """Take no more messages; the handlers go on, with what the server had sent already.

        Left to it, that would come to others when its acknowledgement is overdue, and not before.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.drain()

    async def stop(self, *, grace_s: float) -> None:
        """Stop pulling, wait up to `grace_s` for the handlers, then cancel those that are left."""
        await self.stop_pulling()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def look(self) -> None:
        """Ask again how many slots are free: `reserved` may say something else now."""
        self._change.set()

    def _reconnected(self) -> None:
        # The open request died with the connection.
        self._requested = 0
        self._change.set()

    def _received(self, message: Message) -> None:
        self._heard_at = self._loop.time()
        status = message.status
        if status == 0:
            self._requested = max(0, self._requested - 1)
            delivery = Delivery(self._bus, message)
            self.pending = delivery.pending
            task = self._loop.create_task(self._handle(delivery))
            self._running.add(task)
            task.add_done_callback(self._done)
        elif status != 100 and message.subject.endswith(self._token):
            # 404, 408, 409: this request is over; what it did not deliver is asked for again.
            self._requested = 0
            self._change.set()
        if self._requested == 0:
            self._change.set()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._change.set()

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._handler(delivery)
        except HeadraceError as error:
            log.warning(
                "command_left", subject=delivery.subject, delivery=delivery.delivery, error=error.message
            )
        except Exception:
            # Left unacknowledged: the server redelivers it, and the rules of redelivery decide what then.
            log.exception("command_crashed", subject=delivery.subject, delivery=delivery.delivery)

    async def _pull(self) -> None:
        while True:
            # Cleared before the look, not before the wait: what changes while the request goes out is seen.
            self._change.clear()
            self._forget_silent_request()
            free = self._slots - len(self._running) - self._reserved()
            if self._requested == 0 and free > 0 and self._bus.connected:
                try:
                    await self._request(free)
                except Unavailable as error:
                    log.warning("pull_failed", consumer=self._consumer, error=error.message)
                    self._requested = 0
                    await asyncio.sleep(PULL_RETRY_DELAY_S)
                    continue
            # Not wait_for: on 3.11 it loses a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PULL_HEARTBEAT_S * 2):
                    await self._change.wait()

    def _forget_silent_request(self) -> None:
        # No heartbeat for twice its interval: the server forgot the request, or a leader went away with it.
        if self._loop.time() - self._heard_at >= PULL_HEARTBEAT_S * 2:
            self._requested = 0

    async def _request(self, batch: int) -> None:
        self._requested = batch
        self._heard_at = self._loop.time()
        self._token = f".{next(self._tokens):x}"
        body: dict[str, Any] = {
            "batch": batch,
            "expires": int(PULL_EXPIRES_S * _NANO),
            "idle_heartbeat": int(PULL_HEARTBEAT_S * _NANO),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._bus.publish(subject, msgspec.json.encode(body), reply=self._inbox + self._token)

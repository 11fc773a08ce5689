"""One connection to NATS: publish, subscribe, ask, answer. It repairs itself for ever."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

import nats.errors
import nats.protocol.command as wire_commands
import structlog
from nats.aio.subscription import Subscription as NatsSubscription

from libs.common.errors import HeadraceError, NobodyListens, TooLarge, Unanswered, Unavailable
from libs.common.wire import DirectClient, Handler, Message, await_port, header_block

CONNECT_DEADLINE_S = 30.0
PENDING_BYTES_MAX = 64 * 1024 * 1024
REQUEST_TIMEOUT_S = 5.0
# nats-py says whole seconds, and takes any number.
RECONNECT_PAUSE_S = 0.1
SERVE_CONCURRENCY_MAX = 256
SERVED_S_MAX = 5
DRAIN_S_MAX = 2
# What a process that stops may take for the answers it owes.
ANSWER_GRACE_S = 5.0
ANSWER_BYTES_MAX = 67_108_864
# An answer that is larger than a message comes in parts, in order: `Headrace-Part: <n>/<of>`.
PART = "Headrace-Part"
_PART = PART.encode() + b": "

log = structlog.get_logger(__name__)


class Subscription:
    """A live subscription; `close` ends it."""

    def __init__(self, client: DirectClient, inner: NatsSubscription) -> None:
        self._client = client
        self._inner = inner

    async def close(self) -> None:
        """Stop receiving. Closing twice, or after the connection, is harmless."""
        self._client.direct.pop(self._inner._id, None)  # noqa: SLF001
        try:
            await self._inner.unsubscribe()
        except (nats.errors.BadSubscriptionError, nats.errors.ConnectionClosedError):
            return

    async def drain(self) -> None:
        """Stop receiving and lose nothing: what the server had sent by then has come when this returns.

        Draining twice, or without a server, is harmless.
        """
        try:
            await self._inner.unsubscribe()
            if self._client.is_connected:
                await self._client.flush(timeout=DRAIN_S_MAX)
        except (nats.errors.Error, TimeoutError) as error:
            log.debug("subscription_not_drained", error=str(error) or type(error).__name__)
        finally:
            self._client.direct.pop(self._inner._id, None)  # noqa: SLF001


class Serving:
    """What answers the requests on a subject; `close` or `drain` ends it."""

    def __init__(self, subscription: Subscription, answering: "set[asyncio.Task[None]]") -> None:
        self._subscription = subscription
        self._answering = answering

    async def close(self) -> None:
        """Take no more requests. Closing twice, or after the connection, is harmless."""
        await self._subscription.close()

    async def drain(self) -> None:
        """Take no more requests, and wait for the answers to those that came, at most ANSWER_GRACE_S."""
        await self._subscription.drain()
        if self._answering:
            await asyncio.wait(self._answering, timeout=ANSWER_GRACE_S)


class Connection:
    """One connection to NATS and what services do with it. Make it with `connect`."""

    def __init__(self, client: DirectClient, reconnected: list[Callable[[], None]]) -> None:
        self._client = client
        self._reconnected = reconnected
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count()
        self._waiting: dict[str, Handler] = {}
        self._inbox = client.new_inbox() + "."
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, url: str, *, name: str, deadline_s: float = CONNECT_DEADLINE_S) -> Self:
        """Connect to NATS, waiting up to `deadline_s` for the server to appear.

        Afterwards the connection repairs itself for ever. Raises Unavailable when the deadline passes.
        """
        await await_port(url, deadline_s)
        client = DirectClient()
        reconnected: list[Callable[[], None]] = []

        async def on_reconnected() -> None:
            log.info("nats_reconnected")
            for callback in reconnected:
                callback()

        async def on_disconnected() -> None:
            if not client.is_closed:
                log.warning("nats_disconnected")

        async def on_error(error: Exception) -> None:
            log.debug("nats_error", error=str(error) or type(error).__name__)

        await client.connect(
            servers=url.split(","),
            name=name,
            reconnected_cb=on_reconnected,
            disconnected_cb=on_disconnected,
            error_cb=on_error,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_PAUSE_S,  # type: ignore[arg-type]
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            pending_size=PENDING_BYTES_MAX,
            drain_timeout=5,
        )
        bus = cls(client, reconnected)
        await bus.subscribe(bus._inbox + "*", bus._on_reply)
        return bus

    async def close(self) -> None:
        """Flush what was published and close the connection."""
        for task in list(self._serving):
            task.cancel()
        if not self._client.is_closed:
            try:
                await self._client.flush(timeout=2)
            except (nats.errors.Error, TimeoutError) as error:
                log.warning("nats_flush_failed", error=str(error))
            await self._client.close()

    @property
    def connected(self) -> bool:
        """Tell whether the server can be reached right now."""
        return bool(self._client.is_connected)

    @property
    def payload_bytes_max(self) -> int:
        """Return the largest message the server takes, in bytes."""
        return int(self._client.max_payload)

    def on_reconnected(self, callback: Callable[[], None]) -> None:
        """Call this each time the connection came back; live messages may have been missed meanwhile."""
        self._reconnected.append(callback)

    # ── plain messages ──────────────────────────────────────────────────────────────────────────────

    async def publish(
        self, subject: str, data: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message and do not wait. Kept in memory while the connection is being repaired.

        Raises Unavailable when the connection is closed or that memory is full, TooLarge above the server's limit.
        """
        client = self._client
        if client.is_closed:
            raise Unavailable("the connection to NATS is closed")
        if len(data) > client.max_payload:
            raise TooLarge(f"a message holds at most {client.max_payload} bytes, not {len(data)}")
        if not client.is_connected and client._pending_data_size + len(data) > PENDING_BYTES_MAX:  # noqa: SLF001
            raise Unavailable("NATS is away and the buffer for its return is full")
        if headers is None:
            command = wire_commands.pub_cmd(subject, reply, data)
        else:
            command = wire_commands.hpub_cmd(subject, reply, header_block(headers), data)
        await client._send_command(command)  # noqa: SLF001
        if client._flush_queue is not None and client._flush_queue.empty():  # noqa: SLF001
            await client._flush_pending()  # noqa: SLF001

    async def subscribe(self, subject: str, handler: Handler, *, queue: str = "") -> Subscription:
        """Give each message on this subject to a function, which must not block."""
        client = self._client
        # The next subscription's id is known before the server can answer, so no message finds no handler.
        sid = client._sid + 1  # noqa: SLF001
        client.direct[sid] = handler
        inner = await client.subscribe(subject, queue=queue)
        return Subscription(client, inner)

    def _on_reply(self, message: Message) -> None:
        handler = self._waiting.get(message.subject[len(self._inbox) :])
        if handler is not None:
            handler(message)

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Ask and wait for one answer. Raises NobodyListens at once, Unanswered when none comes in time."""
        token = f"{next(self._tokens):x}"
        future: asyncio.Future[Message] = self._loop.create_future()

        parts: list[bytes] = []

        def answered(message: Message) -> None:
            if future.done():
                return
            if _PART not in (message.raw_headers or b""):
                future.set_result(message)
                return
            parts.append(message.data)
            place, _, of = message.headers[PART].partition("/")
            if int(place) != len(parts):
                future.set_exception(Unavailable(f"a part of the answer on {subject} was lost"))
            elif place == of:
                future.set_result(Message(message.subject, "", b"".join(parts), None))

        def expired() -> None:
            if not future.done():
                future.set_exception(Unanswered(f"no answer on {subject} within {timeout_s:g} s"))

        self._waiting[token] = answered
        timer = self._loop.call_later(timeout_s, expired)
        try:
            await self.publish(subject, data, reply=self._inbox + token, headers=headers)
            message = await future
        finally:
            timer.cancel()
            del self._waiting[token]
        if message.status == 503:
            raise NobodyListens(f"nobody answers on {subject}")
        return message

    async def _answer(self, subject: str, data: bytes) -> None:
        size = self.payload_bytes_max
        if len(data) <= size:
            await self.publish(subject, data)
            return
        if len(data) > ANSWER_BYTES_MAX:
            raise TooLarge(f"an answer holds at most {ANSWER_BYTES_MAX} bytes, not {len(data)}")
        # The headers count as well.
        size //= 2
        of = -(-len(data) // size)
        for place in range(of):
            part = data[place * size : (place + 1) * size]
            await self.publish(subject, part, headers={PART: f"{place + 1}/{of}"})

    async def serve(
        self, subject: str, handler: Callable[[Message], Awaitable[bytes]], *, queue: str
    ) -> Serving:
        """Answer requests, each in its own task, at most SERVE_CONCURRENCY_MAX at once.

        The handler turns its own errors into answers; one that escapes is logged and the asker times out.
        Once this returns, requests from any connection find it. Raises Unavailable when NATS is away.
        """
        slots = asyncio.Semaphore(SERVE_CONCURRENCY_MAX)
        answering: set[asyncio.Task[None]] = set()

        async def answer(message: Message) -> None:
            async with slots:
                try:
                    await self._answer(message.reply, await handler(message))
                except HeadraceError as error:
                    log.warning("answer_not_sent", subject=message.subject, error=error.message)
                except Exception:
                    log.exception("request_failed", subject=message.subject)

        def received(message: Message) -> None:
            if message.reply:
                task = self._loop.create_task(answer(message))
                for tasks in (self._serving, answering):
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)

        subscription = await self.subscribe(subject, received, queue=queue)
        try:
            await self._client.flush(timeout=SERVED_S_MAX)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"NATS does not confirm that {subject} is served") from error
        return Serving(subscription, answering)

"""The bus: one connection to NATS, and the few things that services do with it.

Appending with optimistic concurrency and a safe retry (design D3), reading back by direct get, durable timers as
scheduled messages (D4), request and reply, live subscriptions. Only this module and `topology` know nats-py.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import nats.errors
import nats.protocol.command as wire
import structlog
from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription

from libs.common.errors import Conflict, HeadraceError, TooLarge, Unavailable

CONNECT_DEADLINE_S = 30.0
CONNECT_PROBE_INTERVAL_S = 0.02
PENDING_BYTES_MAX = 64 * 1024 * 1024
REQUEST_TIMEOUT_S = 5.0
APPEND_TIMEOUT_S = 5.0
APPEND_RETRY_DELAY_S = 0.05
APPEND_RETRY_DELAY_S_MAX = 1.0
LOAD_BATCH = 1_000
SERVE_CONCURRENCY_MAX = 256
# https://github.com/nats-io/nats-server/blob/main/server/errors.json
CODES_CONFLICT = frozenset({10071, 10164})
CODES_MESSAGE_TOO_LARGE = frozenset({10054})
CODES_NOT_FOUND = frozenset({10037, 10059, 10014})

log = structlog.get_logger(__name__)


class Message:
    """One message as it came off the wire; headers are parsed when asked for."""

    __slots__ = ("_headers", "data", "raw_headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw_headers: bytes | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.raw_headers = raw_headers
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers; a header that comes twice keeps its last value."""
        if self._headers is None:
            self._headers = parse_headers(self.raw_headers)
        return self._headers

    @property
    def status(self) -> int:
        """Return the inline status (404, 408, 503 …), 0 for an ordinary message."""
        raw = self.raw_headers
        if raw is None or len(raw) < 12 or raw[8:9] != b" ":
            return 0
        return int(raw[9:12])


class Stored(NamedTuple):
    """One message as read back from a stream."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]


class Appended(NamedTuple):
    """A stored message's place; `duplicate` when the server had it already."""

    sequence: int
    duplicate: bool


class Expected(NamedTuple):
    """The optimistic lock: the last sequence on this subject filter (D3)."""

    filter: str
    sequence: int


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_decode_ack = msgspec.json.Decoder(_PubAck).decode
_Handler = Callable[[Message], None]


def parse_headers(raw: bytes | None) -> dict[str, str]:
    """Parse a NATS header block, without its status line, into names and values."""
    if not raw:
        return {}
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.decode()] = value.strip().decode()
    return headers


def header_block(headers: Mapping[str, str]) -> bytearray:
    """Encode headers as a NATS header block. Values must not hold line breaks; ours never do."""
    block = bytearray(b"NATS/1.0\r\n")
    for name, value in headers.items():
        block += f"{name}: {value}\r\n".encode()
    block += b"\r\n"
    return block


class _DirectClient(Client):  # type: ignore[misc,unused-ignore]
    """nats-py, with subscriptions whose messages go straight to a function.

    The library puts each message in a queue that a task of the subscription reads: two switches a message. On the hot
    path that is a third of a service's CPU. A direct subscription skips both; its function must not block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, _Handler] = {}

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        handler = self.direct.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        handler(Message(subject.decode(), reply.decode(), data, headers))


class Subscription:
    """A live subscription; `close` ends it."""

    def __init__(self, client: _DirectClient, inner: NatsSubscription) -> None:
        self._client = client
        self._inner = inner

    async def close(self) -> None:
        """Stop receiving. Closing twice, or after the connection, is harmless."""
        self._client.direct.pop(self._inner._id, None)  # noqa: SLF001
        try:
            await self._inner.unsubscribe()
        except (nats.errors.BadSubscriptionError, nats.errors.ConnectionClosedError):
            return


class Bus:
    """One connection to NATS and what services do with it. Make it with `connect`."""

    def __init__(self, client: _DirectClient, reconnected: list[Callable[[], None]]) -> None:
        self._client = client
        self._reconnected = reconnected
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count()
        self._waiting: dict[str, _Handler] = {}
        self._inbox = client.new_inbox() + "."
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, url: str, *, name: str, deadline_s: float = CONNECT_DEADLINE_S) -> "Bus":
        """Connect to NATS, waiting up to `deadline_s` for the server to appear.

        Afterwards the connection repairs itself for ever. Raises Unavailable when the deadline passes.
        """
        await _await_port(url, deadline_s)
        client = _DirectClient()
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
            reconnect_time_wait=0.1,
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
            command = wire.pub_cmd(subject, reply, data)
        else:
            command = wire.hpub_cmd(subject, reply, header_block(headers), data)
        await client._send_command(command)  # noqa: SLF001
        if client._flush_queue is not None and client._flush_queue.empty():  # noqa: SLF001
            await client._flush_pending()  # noqa: SLF001

    async def subscribe(self, subject: str, handler: _Handler, *, queue: str = "") -> Subscription:
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
        """Ask and wait for one answer. Raises Unavailable when nobody listens or answers in time."""
        token = f"{next(self._tokens):x}"
        future: asyncio.Future[Message] = self._loop.create_future()

        def answered(message: Message) -> None:
            if not future.done():
                future.set_result(message)

        def expired() -> None:
            if not future.done():
                future.set_exception(Unavailable(f"no answer on {subject} within {timeout_s:g} s"))

        self._waiting[token] = answered
        timer = self._loop.call_later(timeout_s, expired)
        try:
            await self.publish(subject, data, reply=self._inbox + token, headers=headers)
            message = await future
        finally:
            timer.cancel()
            del self._waiting[token]
        if message.status == 503:
            raise Unavailable(f"nobody answers on {subject}")
        return message

    async def serve(self, subject: str, handler: Callable[[Message], Awaitable[bytes]], *, queue: str) -> Subscription:
        """Answer requests, each in its own task, at most SERVE_CONCURRENCY_MAX at once.

        The handler turns its own errors into answers; one that escapes is logged and the asker times out.
        """
        slots = asyncio.Semaphore(SERVE_CONCURRENCY_MAX)

        async def answer(message: Message) -> None:
            async with slots:
                try:
                    await self.publish(message.reply, await handler(message))
                except HeadraceError as error:
                    log.warning("answer_not_sent", subject=message.subject, error=error.message)
                except Exception:
                    log.exception("request_failed", subject=message.subject)

        def received(message: Message) -> None:
            if message.reply:
                task = self._loop.create_task(answer(message))
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)

        return await self.subscribe(subject, received, queue=queue)

    # ── the log ─────────────────────────────────────────────────────────────────────────────────────

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        id: str,
        expected: Expected | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> Appended:
        """Store one message and return its place once it is durable.

        An unknown outcome (timeout, no responders, a leader change) is retried with the same `id` until `deadline_s`,
        for ever when that is None (D3). Raises Conflict when the expectation does not hold: load what is new and look
        for `id` first, for a single server answers so to the retry of a message that landed. Raises Unavailable when
        the deadline passed (the outcome is then unknown), TooLarge when the message can never be stored.
        """
        block = {"Nats-Msg-Id": id, **(headers or {})}
        if expected is not None:
            block["Nats-Expected-Last-Subject-Sequence"] = str(expected.sequence)
            block["Nats-Expected-Last-Subject-Sequence-Subject"] = expected.filter
        give_up_at = None if deadline_s is None else self._loop.time() + deadline_s
        delay_s = APPEND_RETRY_DELAY_S
        while True:
            try:
                return await self._append_once(subject, data, block)
            except Unavailable as error:
                if give_up_at is not None and self._loop.time() + delay_s > give_up_at:
                    raise
                log.warning("append_retried", subject=subject, reason=error.message)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, nothing secret
            delay_s = min(delay_s * 2, APPEND_RETRY_DELAY_S_MAX)

    async def _append_once(self, subject: str, data: bytes, block: Mapping[str, str]) -> Appended:
        message = await self.request(subject, data, headers=block, timeout_s=APPEND_TIMEOUT_S)
        try:
            ack = _decode_ack(message.data)
        except msgspec.DecodeError as error:
            raise Unavailable(f"not a publish acknowledgement on {subject}") from error
        if ack.error is None:
            return Appended(ack.seq, ack.duplicate)
        if ack.error.err_code in CODES_CONFLICT:
            raise Conflict(ack.error.description)
        if ack.error.err_code in CODES_MESSAGE_TOO_LARGE:
            raise TooLarge(ack.error.description)
        raise Unavailable(f"{ack.error.description} ({ack.error.err_code})")

    async def schedule(
        self, subject: str, data: bytes, *, at: datetime, target: str, id: str, expected: Expected | None = None
    ) -> Appended:
        """Store a durable timer: at `at` the server publishes `data` on `target`, in the same stream (D4).

        The timer replaces an earlier one on the same subject and outlives the stream's age limit. Raises as `append`.
        """
        headers = {
            "Nats-Schedule": "@at " + at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "Nats-Schedule-Target": target,
            "Nats-TTL": "never",
        }
        return await self.append(subject, data, id=id, expected=expected, headers=headers)

    async def get(self, stream: str, sequence: int) -> Stored | None:
        """Return the message at this place by direct get, None when there is none (any more)."""
        return await self._direct(stream, {"seq": sequence})

    async def last(self, stream: str, subject: str, *, leader: bool = False) -> Stored | None:
        """Return the last message on a subject (wildcards allowed), None when there is none.

        With `leader` the stream's leader answers, never a lagging replica: for decisions that end without an append.
        """
        if leader:
            return await self._leader_last(stream, subject)
        return await self._direct(stream, {"last_by_subj": subject})

    async def _direct(self, stream: str, body: dict[str, Any]) -> Stored | None:
        message = await self.request(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body))
        if message.status == 404:
            return None
        if message.status:
            raise Unavailable(f"{stream} answers {message.status} to a direct get")
        return _stored(message)

    async def _leader_last(self, stream: str, subject: str) -> Stored | None:
        body = msgspec.json.encode({"last_by_subj": subject})
        message = await self.request(f"$JS.API.STREAM.MSG.GET.{stream}", body)
        answer = msgspec.json.decode(message.data, type=_MessageGet)
        if answer.error is not None:
            if answer.error.err_code in CODES_NOT_FOUND:
                return None
            raise Unavailable(f"{answer.error.description} ({answer.error.err_code})")
        found = answer.message
        if found is None:
            raise Unavailable(f"{stream} answered a read with neither message nor error")
        return Stored(found.subject, found.seq, found.data, parse_headers(found.hdrs))

    async def load(self, stream: str, subject: str, *, since: int = 1) -> list[Stored]:
        """Return all messages on a subject filter from sequence `since` on, in order, by batched direct get.

        Raises Unavailable when the stream does not answer.
        """
        messages: list[Stored] = []
        while True:
            batch, more = await self._load_batch(stream, subject, since, LOAD_BATCH)
            messages += batch
            if not more or not batch:
                return messages
            since = batch[-1].sequence + 1

    async def load_page(self, stream: str, subject: str, *, since: int, limit: int) -> list[Stored]:
        """Return at most `limit` messages on a subject filter from sequence `since` on, in order.

        For readers that must not hold a whole history in memory. Raises Unavailable when the stream does not answer.
        """
        batch, _ = await self._load_batch(stream, subject, since, limit)
        return batch

    async def _load_batch(self, stream: str, subject: str, since: int, limit: int) -> tuple[list[Stored], bool]:
        token = f"{next(self._tokens):x}"
        done: asyncio.Future[bool] = self._loop.create_future()
        batch: list[Stored] = []

        def received(message: Message) -> None:
            status = message.status
            if done.done():
                return
            if status == 0:
                batch.append(_stored(message))
            elif status == 204:
                done.set_result(int(message.headers.get("Nats-Num-Pending", "0")) > 0)
            elif status == 404:
                done.set_result(False)
            else:
                done.set_exception(Unavailable(f"{stream} answers {status} to a batched direct get"))

        def expired() -> None:
            if not done.done():
                done.set_exception(Unavailable(f"{stream} did not finish a batch within {REQUEST_TIMEOUT_S:g} s"))

        self._waiting[token] = received
        timer = self._loop.call_later(REQUEST_TIMEOUT_S, expired)
        body = msgspec.json.encode({"seq": since, "next_by_subj": subject, "batch": limit})
        try:
            await self.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=self._inbox + token)
            more = await done
        finally:
            timer.cancel()
            del self._waiting[token]
        return batch, more

    async def delete(self, stream: str, sequence: int) -> None:
        """Remove one message for good; one that is gone already is fine."""
        body = msgspec.json.encode({"seq": sequence, "no_erase": True})
        await self.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", body)

    async def api(self, subject: str, body: Any = None) -> dict[str, Any]:
        """Call the JetStream API below `$JS.API.` and return its answer, `error` included.

        Raises Unavailable when JetStream does not answer.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        message = await self.request(f"$JS.API.{subject}", data)
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        return answer

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message of a stream, 0 when it never held one."""
        answer = await self.api(f"STREAM.INFO.{stream}")
        if "error" in answer:
            raise Unavailable(f"{stream}: {answer['error'].get('description', 'unknown error')}")
        return int(answer["state"]["last_seq"])


class _StoredMessage(msgspec.Struct):
    subject: str
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


class _MessageGet(msgspec.Struct):
    message: _StoredMessage | None = None
    error: _ApiError | None = None


def _stored(message: Message) -> Stored:
    headers = message.headers
    return Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers)


async def _await_port(url: str, deadline_s: float) -> None:
    # nats-py waits two seconds after a refused first connection; a probe finds the server within milliseconds.
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    servers = [urlsplit(part if "//" in part else f"nats://{part}") for part in url.split(",")]
    while True:
        for server in servers:
            try:
                _, writer = await asyncio.open_connection(server.hostname or "127.0.0.1", server.port or 4222)
            except OSError:
                continue
            writer.close()
            return
        if loop.time() > give_up_at:
            raise Unavailable(f"NATS does not answer at {url} since {deadline_s:g} s")
        await asyncio.sleep(CONNECT_PROBE_INTERVAL_S)

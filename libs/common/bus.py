"""The bus: a connection to NATS, and the log behind it.

Appending with optimistic concurrency and a safe retry (design D3), reading back by direct get, durable timers as
scheduled messages (D4).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog

from libs.common import ids
from libs.common.atomic import ApiError
from libs.common.connection import REQUEST_TIMEOUT_S, Connection, Subscription
from libs.common.errors import Conflict, TooLarge, Unanswered, Unavailable
from libs.common.group import Appended, GroupCommit
from libs.common.wire import Message, header_block, parse_headers

__all__ = [
    "APPEND_DEADLINE_S", "Appended", "Bus", "Expected", "Message", "Stored", "Subscription", "header_block",
    "parse_headers",
]  # fmt: skip

APPEND_TIMEOUT_S = 5.0
# How long whoever waits for an answer waits for what it rests on to be durable.
APPEND_DEADLINE_S = 15.0
READ_TRIES_MAX = 3
APPEND_RETRY_DELAY_S = 0.05
APPEND_RETRY_DELAY_S_MAX = 1.0
LOAD_BATCH = 1_000
# Asked twice they say, or leave, the same.
REPEATABLE = ("STREAM.INFO.", "CONSUMER.INFO.", "CONSUMER.CREATE.")
GROUPED = ("cmd.play.", "evt.play.")
# https://github.com/nats-io/nats-server/blob/main/server/errors.json
CODES_CONFLICT = frozenset({10071, 10164})
CODES_MESSAGE_TOO_LARGE = frozenset({10054})
CODES_NOT_FOUND = frozenset({10037, 10059, 10014})

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Stored(NamedTuple):
    """One message as read back from a stream."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]


class Expected(NamedTuple):
    """The optimistic lock: the last sequence on this subject filter (D3)."""

    filter: str
    sequence: int


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class _StoredMessage(msgspec.Struct):
    subject: str
    seq: int
    data: bytes = b""
    hdrs: bytes = b""


class _MessageGet(msgspec.Struct):
    message: _StoredMessage | None = None
    error: ApiError | None = None


def _stored(message: Message) -> Stored:
    headers = message.headers
    return Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers)


_decode_ack = msgspec.json.Decoder(_PubAck).decode


class Bus(Connection):
    """A connection with the streams of JetStream behind it. Make it with `connect`."""

    def __init__(self, *parts: Any) -> None:
        """Take over a connection that `connect` made."""
        super().__init__(*parts)
        self._groups: dict[str, GroupCommit] = {}

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
                return await self._append_grouped(subject, data, block)
            except Unavailable as error:
                if give_up_at is not None and self._loop.time() + delay_s > give_up_at:
                    raise
                log.warning("append_retried", subject=subject, reason=error.message)
            await asyncio.sleep(delay_s * (0.5 + ids.chance() / 2))
            delay_s = min(delay_s * 2, APPEND_RETRY_DELAY_S_MAX)

    async def _append_grouped(self, subject: str, data: bytes, block: Mapping[str, str]) -> Appended:
        group = self._group_of(subject)
        if group is None:
            return await self._append_once(subject, data, block)
        return await group.append(subject, data, block)

    def _group_of(self, subject: str) -> GroupCommit | None:
        # Only commands and commits of plays come in numbers that make the disk a queue; a batch stays in one stream.
        if not subject.startswith(GROUPED):
            return None
        shard = subject.split(".", 3)[2]
        group = self._groups.get(shard)
        if group is None:
            group = self._groups[shard] = GroupCommit(self, self._append_once)
        return group

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
        self,
        subject: str,
        data: bytes,
        *,
        at: datetime,
        target: str,
        id: str,
        expected: Expected | None = None,
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
        """Return the message at this place by direct get, None when there is none (any more). Raises Unavailable."""
        return await self._direct(stream, {"seq": sequence})

    async def last(self, stream: str, subject: str, *, leader: bool = False) -> Stored | None:
        """Return the last message on a subject (wildcards allowed), None when there is none.

        With `leader` the stream's leader answers, never a lagging replica: for decisions that end without an append.
        Raises Unavailable when the stream does not answer.
        """
        if leader:
            return await self._leader_last(stream, subject)
        return await self._direct(stream, {"last_by_subj": subject})

    async def _direct(self, stream: str, body: dict[str, Any]) -> Stored | None:
        api, data = f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body)
        message = await self._read(lambda: self.request(api, data), api)
        if message.status == 404:
            return None
        if message.status:
            raise Unavailable(f"{stream} answers {message.status} to a direct get")
        return _stored(message)

    async def _leader_last(self, stream: str, subject: str) -> Stored | None:
        api, data = f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode({"last_by_subj": subject})
        message = await self._read(lambda: self.request(api, data), api)
        answer = msgspec.json.decode(message.data, type=_MessageGet)
        if answer.error is not None:
            if answer.error.err_code in CODES_NOT_FOUND:
                return None
            raise Unavailable(f"{answer.error.description} ({answer.error.err_code})")
        found = answer.message
        if found is None:
            raise Unavailable(f"{stream} answered a read with neither message nor error")
        return Stored(found.subject, found.seq, found.data, parse_headers(found.hdrs))

    async def _read(self, read: Callable[[], Awaitable[T]], subject: str) -> T:
        """Read, and again when no answer came: with a server that is killed the request is lost, and nobody says so."""
        for _ in range(READ_TRIES_MAX - 1):
            try:
                return await read()
            except Unanswered as error:
                log.warning("read_retried", subject=subject, reason=error.message)
        return await read()

    async def load(self, stream: str, subject: str, *, since: int = 1) -> list[Stored]:
        """Return all messages on a subject filter from sequence `since` on, in order, by batched direct get.

        Raises Unavailable when the stream does not answer.
        """
        messages: list[Stored] = []
        while True:
            batch, more = await self.load_some(stream, subject, since=since, limit=LOAD_BATCH)
            messages += batch
            if not more or not batch:
                return messages
            since = batch[-1].sequence + 1

    async def load_page(self, stream: str, subject: str, *, since: int, limit: int) -> list[Stored]:
        """Return at most `limit` messages on a subject filter from sequence `since` on, in order.

        For readers that must not hold a whole history in memory. Raises Unavailable when the stream does not answer.
        """
        batch, _ = await self.load_some(stream, subject, since=since, limit=limit)
        return batch

    async def load_some(
        self, stream: str, subject: str, *, since: int, limit: int
    ) -> tuple[list[Stored], bool]:
        """Return as `load_page`, and whether there is more. Raises Unavailable when the stream does not answer."""
        return await self._read(lambda: self._load_once(stream, subject, since=since, limit=limit), subject)

    async def _load_once(
        self, stream: str, subject: str, *, since: int, limit: int
    ) -> tuple[list[Stored], bool]:
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
                done.set_exception(
                    Unanswered(f"{stream} did not finish a batch within {REQUEST_TIMEOUT_S:g} s")
                )

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
        """Remove one message for good; one that is gone already is fine. Raises Unavailable when nobody answers."""
        body = msgspec.json.encode({"seq": sequence, "no_erase": True})
        await self.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", body)

    async def api(self, subject: str, body: Any = None) -> dict[str, Any]:
        """Call the JetStream API below `$JS.API.` and return its answer, `error` included.

        Raises Unavailable when JetStream does not answer.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        api = f"$JS.API.{subject}"
        if subject.startswith(REPEATABLE):
            message = await self._read(lambda: self.request(api, data), api)
        else:
            message = await self.request(api, data)
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        return answer

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the newest message of a stream, 0 when it never held one. Raises Unavailable."""
        answer = await self.api(f"STREAM.INFO.{stream}")
        if "error" in answer:
            raise Unavailable(f"{stream}: {answer['error'].get('description', 'unknown error')}")
        return int(answer["state"]["last_seq"])

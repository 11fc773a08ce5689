"""Reads a stream in order from a place on, through an ephemeral pull consumer that is made anew when it breaks.

The consumer lives in the server's memory and acknowledges nothing: the place is kept by whoever reads. A gap in the
consumer's own numbering, a lost consumer and a silent server all end the same way: a new consumer from the last place.

It asks for all that is there, without waiting, and only when there is nothing for one message, waiting. So messages
come in few large pieces off the wire; one by one they would cost the reader three times as much.
"""

import asyncio
from typing import Any, NamedTuple

import msgspec
import structlog

from libs.common import ids
from libs.common.bus import Bus, Message, Subscription
from libs.common.errors import Unavailable
from libs.common.wire import delivered_as

PULL_MESSAGES = 1_000
PULL_BYTES_MAX = 32 * 1024 * 1024
PULL_EXPIRES_S = 30.0
HEARTBEAT_S = 2.0
SILENCE_S_MAX = 3 * HEARTBEAT_S
CONSUMER_INACTIVE_S_MAX = 30.0
_NANO = 1_000_000_000
# Ends one request only; every other 409 means that the consumer or its leader is gone.
_REQUEST_OVER = (b"MaxBytes", b"Max Bytes", b"Batch Completed")

log = structlog.get_logger(__name__)


class Record(NamedTuple):
    """One message of the stream, as it came."""

    subject: str
    sequence: int
    data: bytes


class LogReader:
    """Messages of one stream on some subjects, in order, without gaps; read with `open` and `batch`."""

    def __init__(self, bus: Bus, stream: str, filters: list[str]) -> None:
        self._bus = bus
        self._stream = stream
        self._filters = filters
        self._loop = asyncio.get_running_loop()
        self._change = asyncio.Event()
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._buffer: list[Record] = []
        self._read = 0  # the sequence of the last message taken from the buffer
        self._received = 0  # of the last message put into it
        self._consumer_sequence = 0
        self._requested = 0
        self._waits = False  # the open request, or the next, waits for a message
        self._broken = False
        self._heard_at = 0.0
        self._behind_server = 0
        bus.on_reconnected(self._reconnected)

    @property
    def behind(self) -> int:
        """Return how many messages of the stream were not read yet, as far as is known."""
        return self._behind_server + len(self._buffer)

    async def open(self, *, after: int) -> None:
        """Begin behind this sequence. Raises Unavailable when the stream does not answer."""
        await self.close()
        self._read = after
        await self._create_consumer()

    async def close(self) -> None:
        """Stop reading; the server forgets the consumer by itself."""
        if self._subscription is None:
            return
        await self._subscription.close()
        self._subscription = None
        await self._bus.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    async def batch(self, limit: int, *, timeout_s: float) -> list[Record]:
        """Return what is there, at most `limit` messages, as soon as there is one; none when the time is over.

        Raises Unavailable when the consumer broke and cannot be made anew.
        """
        deadline = self._loop.time() + timeout_s
        while not self._buffer:
            await self._mend()
            self._change.clear()
            left_s = deadline - self._loop.time()
            if left_s <= 0:
                return []
            try:
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
                async with asyncio.timeout(left_s):
                    await self._change.wait()
            except TimeoutError:
                return []
        taken, self._buffer = self._buffer[:limit], self._buffer[limit:]
        self._read = taken[-1].sequence
        self._waits = False
        if self._behind_server > 0:
            # Asked for now, the next messages travel while the caller works on these.
            await self._pull()
        return taken

    async def _mend(self) -> None:
        if self._loop.time() - self._heard_at > SILENCE_S_MAX:
            self._broken = True
        if self._broken:
            log.info("log_reader_restarted", stream=self._stream, after=self._read)
            await self.open(after=self._read)
        await self._pull()

    async def _create_consumer(self) -> None:
        self._consumer = f"store-{ids.new_id()}"
        self._buffer, self._received = [], self._read
        self._consumer_sequence = self._requested = self._behind_server = 0
        self._waits = False
        config: dict[str, Any] = {
            "name": self._consumer,
            "filter_subjects": self._filters,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._read + 1,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(CONSUMER_INACTIVE_S_MAX * _NANO),
        }
        self._subscription = await self._bus.subscribe(self._inbox, self._on_message)
        body = {"stream_name": self._stream, "config": config}
        answer = await self._bus.api(f"CONSUMER.CREATE.{self._stream}.{self._consumer}", body)
        if "error" in answer:
            raise Unavailable(f"{self._stream} cannot be read: {answer['error'].get('description')}")
        self._broken = False
        self._heard_at = self._loop.time()
        self._behind_server = int(answer.get("num_pending", 0))

    @property
    def _inbox(self) -> str:
        return f"_INBOX.{self._consumer}"

    async def _pull(self) -> None:
        if (
            self._requested > 0
            or self._broken
            or len(self._buffer) >= PULL_MESSAGES
            or not self._bus.connected
        ):
            return
        body: dict[str, Any] = {"batch": PULL_MESSAGES, "max_bytes": PULL_BYTES_MAX, "no_wait": True}
        if self._waits:
            waiting = {"expires": int(PULL_EXPIRES_S * _NANO), "idle_heartbeat": int(HEARTBEAT_S * _NANO)}
            body = {"batch": 1, **waiting}
        self._requested = int(body["batch"])
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        self._heard_at = self._loop.time()
        await self._bus.publish(subject, msgspec.json.encode(body), reply=self._inbox)

    def _reconnected(self) -> None:
        # The request died with the connection, and the consumer perhaps with the server.
        self._broken = True
        self._change.set()

    def _on_message(self, message: Message) -> None:
        self._heard_at = self._loop.time()
        status = message.status
        if status == 0:
            self._on_record(message)
        elif status == 503 or (status == 409 and not _request_over(message)):
            self._broken = True
            self._change.set()
        elif status != 100:
            # 404, 408 and the 409 of a full request: it is over. Nothing came of it: the next one waits.
            self._requested = 0
            self._waits = not self._buffer
            self._change.set()

    def _on_record(self, message: Message) -> None:
        if self._broken:
            return
        _, place, place_here, _, pending = delivered_as(message.reply)
        sequence, consumer_sequence = int(place), int(place_here)
        if consumer_sequence != self._consumer_sequence + 1 or sequence <= self._received:
            log.warning("log_reader_gap", stream=self._stream, sequence=sequence, after=self._received)
            self._broken = True
            self._change.set()
            return
        self._consumer_sequence = consumer_sequence
        self._received = sequence
        self._requested -= 1
        self._behind_server = int(pending)
        self._buffer.append(Record(message.subject, sequence, message.data))
        self._change.set()


def _request_over(message: Message) -> bool:
    line = (message.raw_headers or b"").partition(b"\r\n")[0]
    return any(words in line for words in _REQUEST_OVER)

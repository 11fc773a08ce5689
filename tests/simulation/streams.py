"""Streams and their durable consumers, in memory, with the habits measured on a real server."""

from bisect import bisect_left
from collections import deque
from typing import Any, NamedTuple

import msgspec

from libs.common.bus import CODES_CONFLICT, Message
from libs.common.subjects import plays_stream
from tests.simulation.clockwork import SimHandle
from tests.simulation.network import Connection

PLAYS = plays_stream(0)
CONFLICT = min(CODES_CONFLICT)
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Kept(NamedTuple):
    """One message in a stream; `at` is the server's time in seconds."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]
    at: float


class Stream:
    """One stream: its messages in order, and where each subject's are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: dict[int, Kept] = {}
        self.last_sequence = 0
        self.ids: dict[str, tuple[int, float]] = {}
        self._by_stem: dict[str, list[int]] = {}

    def add(self, subject: str, data: bytes, headers: dict[str, str], at: float) -> Kept:
        self.last_sequence += 1
        kept = Kept(subject, self.last_sequence, data, headers, at)
        self.messages[kept.sequence] = kept
        self._by_stem.setdefault(subject.rpartition(".")[0], []).append(kept.sequence)
        return kept

    def remove(self, sequence: int) -> None:
        kept = self.messages.pop(sequence, None)
        if kept is not None:
            self._by_stem[kept.subject.rpartition(".")[0]].remove(sequence)

    def select(self, subject: str, *, since: int = 1, until_at: float | None = None) -> list[Kept]:
        """Return the messages on a subject, whose last token may be `*`, as somebody saw them at `until_at`."""
        stem, _, last = subject.rpartition(".")
        sequences = self._by_stem.get(stem, [])
        found = [self.messages[sequence] for sequence in sequences[bisect_left(sequences, since) :]]
        return [
            kept
            for kept in found
            if (last == "*" or kept.subject == subject) and (until_at is None or kept.at <= until_at)
        ]


def status_message(subject: str, status: int) -> Message:
    return Message(subject, "", b"", f"NATS/1.0 {status}\r\n\r\n".encode())


class Pull(NamedTuple):
    """An open request for messages."""

    connection: Connection
    reply: str
    batch: list[int]  # what is still wanted, as the one item
    timers: list[SimHandle]


class Consumer:
    """A durable pull consumer with explicit acknowledgement and without a limit on deliveries."""

    def __init__(self, server: Any, name: str, verbs: tuple[str, ...], ack_wait_s: float) -> None:
        self.name = name
        self._server = server
        self._verbs = frozenset(verbs)
        self._ack_wait_s = ack_wait_s
        self._pending: deque[int] = deque()
        self._again: deque[int] = deque()
        self._deadlines: dict[int, float] = {}
        self.delivered: dict[int, int] = {}
        self._pulls: list[Pull] = []
        self._journal: deque[tuple[float, str, int]] = deque(maxlen=10_000)
        self._deliveries = 0

    @property
    def unacked(self) -> list[int]:
        """Return the stream sequences that were not acknowledged."""
        return sorted({*self._pending, *self._again, *self._deadlines})

    def offer(self, kept: Kept) -> None:
        """Take in a new message of the stream if it is one of ours."""
        if kept.subject.rpartition(".")[2] in self._verbs:
            self._pending.append(kept.sequence)
            self._pump()

    def pull(self, connection: Connection, reply: str, data: bytes) -> None:
        """Open a request; it ends with status 408 when it expires."""
        loop = self._server.loop
        body = _decode(data)
        pull = Pull(connection, reply, [body["batch"]], [])
        pull.timers.append(loop.call_later(body["expires"] / 1e9, self._expire, pull))
        pull.timers.append(
            loop.call_later(body["idle_heartbeat"] / 1e9, self._beat, pull, body["idle_heartbeat"] / 1e9)
        )
        self._pulls.append(pull)
        self._pump()

    def answer(self, sequence: int, verdict: bytes) -> None:
        """Take an acknowledgement or a sign of progress, whichever delivery it is of."""
        if sequence not in self._deadlines and sequence not in self._again:
            return
        if verdict == b"+WPI":
            if sequence in self._deadlines:
                self._deadlines[sequence] = self._server.loop.time() + self._ack_wait_s
            return
        assert verdict == b"+ACK", verdict
        self._deadlines.pop(sequence, None)
        if sequence in self._again:
            self._again.remove(sequence)
        self._journal.append((self._server.loop.time(), "ack", sequence))
        self._server.observer.acked(self._server.streams[PLAYS].messages[sequence])

    def drop(self, connection: Connection, stem: str = "") -> None:
        """Forget the requests of a connection that is gone, or of one of its inboxes."""
        gone = [pull for pull in self._pulls if pull.connection is connection and pull.reply.startswith(stem)]
        for pull in gone:
            self._close(pull)

    def restart(self, forget_s: float) -> None:
        """Lose all open requests, and what was noted in the last `forget_s` seconds."""
        for pull in list(self._pulls):
            self._close(pull)
        now = self._server.loop.time()
        while self._journal and self._journal[-1][0] > now - forget_s:
            _, what, sequence = self._journal.pop()
            if what == "ack":
                self._deadlines[sequence] = now
                self._arm(sequence, self._ack_wait_s)
                self._deadlines[sequence] = now + self._ack_wait_s
            elif sequence in self._deadlines and self.delivered[sequence] > 0:
                self.delivered[sequence] -= 1
                del self._deadlines[sequence]
                self._again.appendleft(sequence)

    def resume(self) -> None:
        """Deliver again after a restart."""
        self._pump()

    def _pump(self) -> None:
        if self._server.is_down:
            return
        while self._pulls and (self._again or self._pending):
            sequence = self._again.popleft() if self._again else self._pending.popleft()
            pull = self._server.random.choice(self._pulls)
            self._deliver(pull, sequence)

    def _deliver(self, pull: Pull, sequence: int) -> None:
        now = self._server.loop.time()
        self._deliveries += 1
        count = self.delivered[sequence] = self.delivered.get(sequence, 0) + 1
        self._journal.append((now, "deliver", sequence))
        self._arm(sequence, self._ack_wait_s)
        self._deadlines[sequence] = now + self._ack_wait_s
        kept = self._server.streams[PLAYS].messages[sequence]
        pending = len(self._pending)
        stamp = int(now * 1e9)
        reply = f"$JS.ACK.{PLAYS}.{self.name}.{count}.{sequence}.{self._deliveries}.{stamp}.{pending}"
        late_s = self._server.weather.delivery_late_s()
        self._server.send(
            pull.connection, pull.reply, Message(kept.subject, reply, kept.data, None), late_s=late_s
        )
        pull.batch[0] -= 1
        if pull.batch[0] == 0:
            self._close(pull)

    def _arm(self, sequence: int, delay_s: float) -> None:
        self._server.loop.call_later(delay_s, self._check, sequence)

    def _check(self, sequence: int) -> None:
        deadline = self._deadlines.get(sequence)
        if deadline is None:
            return
        left_s = deadline - self._server.loop.time()
        if left_s > 1e-6:
            self._arm(sequence, left_s)
            return
        del self._deadlines[sequence]
        self._again.append(sequence)
        self._pump()

    def _expire(self, pull: Pull) -> None:
        if pull in self._pulls:
            self._close(pull)
            self._server.send(pull.connection, pull.reply, status_message(pull.reply, 408))

    def _beat(self, pull: Pull, interval_s: float) -> None:
        if pull in self._pulls:
            self._server.send(pull.connection, pull.reply, status_message(pull.reply, 100))
            pull.timers[1] = self._server.loop.call_later(interval_s, self._beat, pull, interval_s)

    def _close(self, pull: Pull) -> None:
        self._pulls.remove(pull)
        for timer in pull.timers:
            timer.cancel()

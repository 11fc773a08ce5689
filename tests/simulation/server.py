"""A NATS server with JetStream in memory, as far as an executor sees it, with the habits measured on a real one.

It answers the wire's own subjects (`$JS.API…`, `$JS.ACK…`), so the real Bus and the real PullConsumer run on top of it.
A single server checks an append's expectation before its message id, a cluster the id first, and a cluster's replicas
lag when they are read. Any delivery's acknowledgement counts, however old. A restart keeps streams and timers, and may
forget the acknowledgements and delivery counts of its last moments.
"""

import base64
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

import msgspec

from libs.common.bus import CODES_CONFLICT, Message, header_block
from libs.common.subjects import CONTROL_VERBS, DEFINITIONS, WORK_VERBS, plays_stream
from libs.common.topology import CONTROL_CONSUMER, DUPLICATE_WINDOW_S, WORK_CONSUMER
from tests.simulation.clockwork import EPOCH, Process, SimHandle, SimLoop
from tests.simulation.network import Connection, Weather

PLAYS = plays_stream(0)
FORGOTTEN_S_MAX = 0.5
TIMER_LAG_S_MAX = 0.3
REPLICA_LAG_S_MAX = 0.05
CONFLICT = min(CODES_CONFLICT)
_PLAYS_TOUCHED = (
    "evt.play.",
    "tmr.play.",
    "$JS.ACK.",
    f"$JS.API.DIRECT.GET.{PLAYS}",
    f"$JS.API.STREAM.MSG.GET.{PLAYS}",
)
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


class Pull(NamedTuple):
    """An open request for messages."""

    connection: Connection
    reply: str
    batch: list[int]  # what is still wanted, as the one item
    timers: list[SimHandle]


class Consumer:
    """A durable pull consumer with explicit acknowledgement and without a limit on deliveries."""

    def __init__(self, server: "Server", name: str, verbs: tuple[str, ...], ack_wait_s: float) -> None:
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

    def drop(self, connection: Connection) -> None:
        """Forget the requests of a connection that is gone."""
        for pull in [pull for pull in self._pulls if pull.connection is connection]:
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
            self._server.send(pull.connection, pull.reply, _status(pull.reply, 408))

    def _beat(self, pull: Pull, interval_s: float) -> None:
        if pull in self._pulls:
            self._server.send(pull.connection, pull.reply, _status(pull.reply, 100))
            pull.timers[1] = self._server.loop.call_later(interval_s, self._beat, pull, interval_s)

    def _close(self, pull: Pull) -> None:
        self._pulls.remove(pull)
        for timer in pull.timers:
            timer.cancel()


class Observer:
    """Is told what became a fact on the server, at that moment."""

    def stored(self, kept: Kept) -> None:
        """A message was stored in the plays' stream."""

    def acked(self, kept: Kept) -> None:
        """A command was acknowledged."""

    def heard(self, process: Process, *, commits: bool) -> None:
        """A process wrote to the plays' stream, read from it, or acknowledged."""


class Server:
    """The server, its streams and consumers, and who listens."""

    def __init__(
        self,
        loop: SimLoop,
        random: Random,
        weather: Weather,
        observer: Observer,
        *,
        ack_wait_s: float,
        cluster: bool,
    ) -> None:
        self.loop = loop
        self.random = random
        self.weather = weather
        self.observer = observer
        self.cluster = cluster
        self.generation = 0
        self.is_down = False
        self.streams = {name: Stream(name) for name in (PLAYS, DEFINITIONS)}
        self.consumers = {
            name: Consumer(self, name, verbs, ack_wait_s)
            for name, verbs in ((WORK_CONSUMER, WORK_VERBS), (CONTROL_CONSUMER, CONTROL_VERBS))
        }
        self.connections: list[Connection] = []
        self._listeners: dict[str, list[tuple[Connection, Callable[[Message], None]]]] = {}
        self._timers: dict[str, int] = {}
        self._batches: dict[str, list[tuple[str, bytes, dict[str, str]]]] = {}
        self.batches = 0

    # ── connections ─────────────────────────────────────────────────────────────────────────────────

    def listen(self, connection: Connection, subject: str, handler: Callable[[Message], None]) -> None:
        """Subscribe; the last token is `*`."""
        stem, _, last = subject.rpartition(".")
        assert last == "*", subject
        self._listeners.setdefault(stem, []).append((connection, handler))

    def unlisten(self, connection: Connection, subject: str) -> None:
        """End a subscription."""
        stem = subject.rpartition(".")[0]
        self._listeners[stem] = [
            entry for entry in self._listeners.get(stem, []) if entry[0] is not connection
        ]

    def forget(self, connection: Connection) -> None:
        """Notice that a connection is gone."""
        for consumer in self.consumers.values():
            consumer.drop(connection)
        for stem in list(self._listeners):
            self._listeners[stem] = [entry for entry in self._listeners[stem] if entry[0] is not connection]
        if connection in self.connections:
            self.connections.remove(connection)

    def send(self, connection: Connection, subject: str, message: Message, *, late_s: float = 0.0) -> None:
        """Send one message to whoever listens on `subject` on this connection."""
        for entry, handler in self._listeners.get(subject.rpartition(".")[0], []):
            if entry is connection:
                connection.deliver([message], handler, late_s=late_s)

    # ── restarts ────────────────────────────────────────────────────────────────────────────────────

    def crash(self, *, forget_s: float) -> None:
        """Die: everything on the way is lost, and perhaps the last moments of the consumers' state."""
        self.generation += 1
        self.is_down = True
        for consumer in self.consumers.values():
            consumer.restart(forget_s)

    def come_back(self) -> None:
        """Answer again."""
        self.is_down = False
        for consumer in self.consumers.values():
            consumer.resume()

    # ── requests ────────────────────────────────────────────────────────────────────────────────────

    def receive(
        self, connection: Connection, subject: str, data: bytes, reply: str, headers: dict[str, str]
    ) -> None:
        """Handle one message from a client."""
        head = subject.split(".", 1)[0]
        if subject.startswith(_PLAYS_TOUCHED):
            self.observer.heard(connection.process, commits=head == "evt")
        if head == "$JS":
            self._api(connection, subject, data, reply)
        elif head in {"cmd", "evt", "tmr"}:
            answer = self._store_or_gather(subject, data, headers)
            if answer is not None and not self.weather.is_append_ack_lost(subject):
                self._answer(reply, Message(reply, "", _encode(answer), None))
        else:
            self._route(subject, data, reply)

    def store(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Append to the stream that owns this subject, and return the publish acknowledgement."""
        stream = self.streams[PLAYS if subject.split(".", 2)[1] == "play" else DEFINITIONS]
        refusals = (
            [self._is_duplicate, self._is_conflict]
            if self.cluster
            else [self._is_conflict, self._is_duplicate]
        )
        for refusal in refusals:
            answer = refusal(stream, headers)
            if answer is not None:
                return answer
        return self._keep(subject, data, headers)

    def _keep(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        stream = self.streams[PLAYS if subject.split(".", 2)[1] == "play" else DEFINITIONS]
        schedule = headers.get("Nats-Schedule")
        if schedule is not None:
            previous = self._timers.pop(subject, None)
            if previous is not None:
                stream.remove(previous)
        kept = stream.add(subject, data, headers, self.loop.time())
        if "Nats-Msg-Id" in headers:
            stream.ids[headers["Nats-Msg-Id"]] = (kept.sequence, kept.at)
        if schedule is not None:
            self._set_timer(stream, kept, schedule)
        if stream.name == PLAYS:
            self.observer.stored(kept)
            if subject.startswith("cmd."):
                for consumer in self.consumers.values():
                    consumer.offer(kept)
        return {"stream": stream.name, "seq": kept.sequence}

    def _store_or_gather(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
        """Store a message that stands alone; gather those of an atomic batch until its last one, then all or none."""
        batch_id = headers.get("Nats-Batch-Id")
        if batch_id is None:
            return self.store(subject, data, headers)
        batch = self._batches.setdefault(batch_id, [])
        batch.append((subject, data, headers))
        if "Nats-Batch-Commit" not in headers:
            return None
        del self._batches[batch_id]
        stream = self.streams[PLAYS]
        refused = [self._is_conflict(stream, h) or self._is_duplicate(stream, h) for _, _, h in batch]
        complete = [int(h["Nats-Batch-Sequence"]) for _, _, h in batch] == list(range(1, len(batch) + 1))
        if any(refused) or not complete:
            text = (
                "atomic publish batch is incomplete" if not complete else "a message of the batch is refused"
            )
            return {"stream": PLAYS, "seq": 0, "error": {"code": 400, "err_code": 10176, "description": text}}
        self.batches += 1
        # As tried on nats-server 2.15.1: an expectation with a wildcard is held against what was stored before the
        # batch, so that two messages of one batch may both claim the same place.
        for one in batch:
            answer = self._keep(*one)
        return {**answer, "batch": batch_id, "count": len(batch)}

    def timer_of(self, subject: str) -> Kept | None:
        """Return the pending timer on this subject."""
        sequence = self._timers.get(subject)
        return None if sequence is None else self.streams[PLAYS].messages[sequence]

    def _is_duplicate(self, stream: Stream, headers: dict[str, str]) -> dict[str, Any] | None:
        known = stream.ids.get(headers.get("Nats-Msg-Id", ""))
        if known is None or self.loop.time() - known[1] > DUPLICATE_WINDOW_S:
            return None
        return {"stream": stream.name, "seq": known[0], "duplicate": True}

    def _is_conflict(self, stream: Stream, headers: dict[str, str]) -> dict[str, Any] | None:
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is None:
            return None
        found = stream.select(headers["Nats-Expected-Last-Subject-Sequence-Subject"])
        last = found[-1].sequence if found else 0
        if last == int(expected):
            return None
        text = f"wrong last sequence: {last}"
        return {
            "stream": stream.name,
            "seq": 0,
            "error": {"code": 400, "err_code": CONFLICT, "description": text},
        }

    # ── timers ──────────────────────────────────────────────────────────────────────────────────────

    def _set_timer(self, stream: Stream, kept: Kept, schedule: str) -> None:
        at = datetime.fromisoformat(schedule.removeprefix("@at ").replace("Z", "+00:00"))
        due = (at - EPOCH).total_seconds() + self.random.uniform(0.0, TIMER_LAG_S_MAX)
        self._timers[kept.subject] = kept.sequence
        self.loop.call_at(max(due, self.loop.time()), self._fire, stream, kept)

    def _fire(self, stream: Stream, kept: Kept) -> None:
        if self._timers.get(kept.subject) != kept.sequence:
            return
        if self.is_down:
            self.loop.call_later(TIMER_LAG_S_MAX, self._fire, stream, kept)
            return
        del self._timers[kept.subject]
        stream.remove(kept.sequence)
        for _ in range(self.weather.wakes()):
            self.store(kept.headers["Nats-Schedule-Target"], kept.data, {})

    # ── the JetStream API ───────────────────────────────────────────────────────────────────────────

    def _api(self, connection: Connection, subject: str, data: bytes, reply: str) -> None:
        tokens = subject.split(".")
        if tokens[1] == "ACK":
            self.consumers[tokens[3]].answer(int(tokens[5]), data)
        elif subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            self.consumers[tokens[6]].pull(connection, reply, data)
        elif subject.startswith("$JS.API.DIRECT.GET."):
            self._direct_get(tokens[4], _decode(data), reply)
        elif subject.startswith("$JS.API.STREAM.MSG.GET."):
            self._leader_get(tokens[5], _decode(data)["last_by_subj"], reply)
        else:
            raise AssertionError(f"the simulated server does not know {subject}")

    def _direct_get(self, name: str, body: dict[str, Any], reply: str) -> None:
        stream = self.streams[name]
        seen_at = None
        if self.cluster and name == PLAYS:
            seen_at = self.loop.time() - self.random.uniform(0.0, REPLICA_LAG_S_MAX)
        if "batch" in body:
            found = stream.select(body["next_by_subj"], since=body["seq"], until_at=seen_at)
            if not found:
                self._answer(reply, _status(reply, 404))
                return
            batch = found[: body["batch"]]
            end = f"NATS/1.0 204 EOB\r\nNats-Num-Pending: {len(found) - len(batch)}\r\n\r\n".encode()
            self._answer(reply, *[_read(reply, kept) for kept in batch], Message(reply, "", b"", end))
            return
        if "seq" in body:
            one = stream.messages.get(body["seq"])
        else:
            found = stream.select(body["last_by_subj"], until_at=seen_at)
            one = found[-1] if found else None
        self._answer(reply, _status(reply, 404) if one is None else _read(reply, one))

    def _leader_get(self, name: str, subject: str, reply: str) -> None:
        found = self.streams[name].select(subject)
        if not found:
            body: dict[str, Any] = {
                "error": {"code": 404, "err_code": 10037, "description": "no message found"}
            }
        else:
            kept = found[-1]
            data, headers = (
                base64.b64encode(kept.data).decode(),
                base64.b64encode(header_block(kept.headers)).decode(),
            )
            body = {"message": {"subject": kept.subject, "seq": kept.sequence, "data": data, "hdrs": headers}}
        self._answer(reply, Message(reply, "", _encode(body), None))

    def _answer(self, reply: str, *messages: Message) -> None:
        if self.weather.is_read_lost(reply):
            return
        for connection, handler in self._listeners.get(reply.rpartition(".")[0], []):
            connection.deliver(list(messages), handler)

    def _route(self, subject: str, data: bytes, reply: str) -> None:
        listeners = self._listeners.get(subject.rpartition(".")[0], [])
        if reply and not listeners:
            self._answer(reply, _status(reply, 503))
        for connection, handler in listeners:
            if not self.weather.is_nudge_lost(subject):
                connection.deliver([Message(subject, reply, data, None)], handler)


def _status(subject: str, status: int) -> Message:
    return Message(subject, "", b"", f"NATS/1.0 {status}\r\n\r\n".encode())


def _read(subject: str, kept: Kept) -> Message:
    headers = {**kept.headers, "Nats-Subject": kept.subject, "Nats-Sequence": str(kept.sequence)}
    return Message(subject, "", kept.data, bytes(header_block(headers)))

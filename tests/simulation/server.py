"""A NATS server with JetStream in memory, as far as an executor sees it, with the habits measured on a real one.

It answers the wire's own subjects (`$JS.API…`, `$JS.ACK…`), so the real Bus and the real PullConsumer run on top of it.
A single server checks an append's expectation before its message id, a cluster the id first, and a cluster's replicas
lag when they are read. Any delivery's acknowledgement counts, however old. A restart keeps streams and timers, and may
forget the acknowledgements and delivery counts of its last moments.
"""

import base64
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from libs.common.bus import Message, header_block
from libs.common.subjects import CONTROL_VERBS, DEFINITIONS, PAYLOADS, WORK_VERBS
from libs.common.topology import CONTROL_CONSUMER, DUPLICATE_WINDOW_S, WORK_CONSUMER
from tests.simulation.clockwork import EPOCH, Process, SimLoop
from tests.simulation.network import Connection, Weather
from tests.simulation.streams import CONFLICT, PLAYS, Consumer, Kept, Stream, status_message

TIMER_LAG_S_MAX = 0.3
REPLICA_LAG_S_MAX = 0.05
_PLAYS_TOUCHED = (
    "evt.play.",
    "tmr.play.",
    "$JS.ACK.",
    f"$JS.API.DIRECT.GET.{PLAYS}",
    f"$JS.API.STREAM.MSG.GET.{PLAYS}",
)
_encode = msgspec.json.encode
_decode = msgspec.json.decode


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
        self.ack_wait_s = ack_wait_s
        self.cluster = cluster
        self.generation = 0
        self.is_down = False
        self.streams = {name: Stream(name) for name in (PLAYS, DEFINITIONS, PAYLOADS)}
        self.consumers = {
            name: Consumer(self, name, verbs, ack_wait_s)
            for name, verbs in ((WORK_CONSUMER, WORK_VERBS), (CONTROL_CONSUMER, CONTROL_VERBS))
        }
        self.connections: list[Connection] = []
        self._listeners: dict[str, list[tuple[Connection, Callable[[Message], None]]]] = {}
        self._timers: dict[str, int] = {}
        self._batches: dict[str, list[tuple[str, bytes, dict[str, str]]]] = {}
        self.batches = 0
        # Who answers requests on these subjects, at once; None: nobody hears of an answer.
        self.answering: dict[str, Callable[[bytes], bytes | None]] = {}

    # ── connections ─────────────────────────────────────────────────────────────────────────────────

    def listen(self, connection: Connection, subject: str, handler: Callable[[Message], None]) -> None:
        """Subscribe; the last token is `*`."""
        stem, _, last = subject.rpartition(".")
        assert last == "*", subject
        self._listeners.setdefault(stem, []).append((connection, handler))

    def unlisten(self, connection: Connection, subject: str) -> None:
        """End a subscription; requests whose answers nobody listens for are over."""
        stem = subject.rpartition(".")[0]
        for consumer in self.consumers.values():
            consumer.drop(connection, stem)
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
        if subject in self.answering:
            said = self.answering[subject](data)
            if said is not None:
                self._answer(reply, Message(reply, "", said, None))
        elif head == "$JS":
            self._api(connection, subject, data, reply)
        elif head in {"cmd", "evt", "tmr", "payload"}:
            answer = self._store_or_gather(subject, data, headers)
            if answer is not None and not self.weather.is_append_ack_lost(subject):
                self._answer(reply, Message(reply, "", _encode(answer), None))
        else:
            self._route(subject, data, reply)

    def store(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Append to the stream that owns this subject, and return the publish acknowledgement."""
        stream = self.streams[_stream_of(subject)]
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
        stream = self.streams[_stream_of(subject)]
        if stream.name == PAYLOADS:
            for older in stream.select(subject):
                stream.remove(older.sequence)
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
        elif subject.startswith("$JS.API.STREAM.PURGE."):
            body = _decode(data)
            for kept in self.streams[tokens[4]].select(body["filter"]):
                if kept.sequence < body["seq"]:
                    self.streams[tokens[4]].remove(kept.sequence)
            self._answer(reply, Message(reply, "", _encode({"success": True}), None))
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
                self._answer(reply, status_message(reply, 404))
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
        self._answer(reply, status_message(reply, 404) if one is None else _read(reply, one))

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
            self._answer(reply, status_message(reply, 503))
        for connection, handler in listeners:
            if not self.weather.is_nudge_lost(subject):
                connection.deliver([Message(subject, reply, data, None)], handler)


def _stream_of(subject: str) -> str:
    kind, noun = subject.split(".", 2)[:2]
    if kind == "payload":
        return PAYLOADS
    return PLAYS if noun in {"play", "lane"} else DEFINITIONS


def _read(subject: str, kept: Kept) -> Message:
    headers = {**kept.headers, "Nats-Subject": kept.subject, "Nats-Sequence": str(kept.sequence)}
    return Message(subject, "", kept.data, bytes(header_block(headers)))

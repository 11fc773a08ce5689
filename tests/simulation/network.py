"""What lies between a process and the server: delays, losses, and a Bus that speaks to the simulated server."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from libs.common.bus import Bus, Message, Subscription
from libs.common.connection import DRAIN_S_MAX
from libs.common.errors import TooLarge
from tests.simulation.clockwork import Process, SimLoop

if TYPE_CHECKING:
    from tests.simulation.server import Server

LATENCY_S_MIN = 0.0001
LATENCY_S_MAX = 0.003
PAYLOAD_BYTES_MAX = 1_048_576
LATE_S_MAX = 2.0


class Weather(msgspec.Struct, kw_only=True):
    """How often the network fails, as chances per message; `calm` ends all of it."""

    random: Random
    faults: Counter[str]
    append_lost: float = 0.0
    append_ack_lost: float = 0.0
    append_delayed: float = 0.0
    read_lost: float = 0.0
    nudge_lost: float = 0.0
    ack_lost: float = 0.0
    pull_lost: float = 0.0
    late: float = 0.0
    wake_twice: float = 0.0
    calm: bool = False

    def _happens(self, name: str, chance: float) -> bool:
        if self.calm or chance == 0.0 or self.random.random() >= chance:
            return False
        self.faults[name] += 1
        return True

    def latency_s(self) -> float:
        return self.random.uniform(LATENCY_S_MIN, LATENCY_S_MAX)

    def delivery_late_s(self) -> float:
        return self.random.uniform(0.0, LATE_S_MAX) if self._happens("late", self.late) else 0.0

    def wakes(self) -> int:
        return 2 if self._happens("wake_twice", self.wake_twice) else 1

    def is_append_ack_lost(self, subject: str) -> bool:
        return not subject.startswith("cmd.") and self._happens("append_ack_lost", self.append_ack_lost)

    def is_read_lost(self, _reply: str) -> bool:
        return self._happens("read_lost", self.read_lost)

    def is_nudge_lost(self, subject: str) -> bool:
        return subject.startswith("ctl.play.") and self._happens("nudge_lost", self.nudge_lost)

    def outbound(self, subject: str, data: bytes) -> float | Literal["lost"]:
        """Return the extra delay of a message on its way to the server, or that it never arrives."""
        if self.calm:
            return 0.0
        if subject.startswith(("evt.play", "tmr.play", "payload.")):
            if self._happens("append_lost", self.append_lost):
                return "lost"
            # Longer than the client waits for the answer: its retry is there first, or the two race.
            return (
                self.random.uniform(4.9, 9.0) if self._happens("append_delayed", self.append_delayed) else 0.0
            )
        if data == b"+ACK" and self._happens("ack_lost", self.ack_lost):
            return "lost"
        if subject.startswith("$JS.API.CONSUMER.MSG.NEXT") and self._happens("pull_lost", self.pull_lost):
            return "lost"
        return 0.0


class Connection:
    """One client's TCP connection: in order, delayed, cut by a restart of the server."""

    def __init__(self, server: "Server", process: Process) -> None:
        self.server = server
        self.process = process
        self.up = True
        self.buffer: list[tuple[str, bytes, str, dict[str, str]]] = []
        self.reconnected: list[Callable[[], None]] = []
        self._out_at = 0.0
        self._in_at = 0.0
        self._loop: SimLoop = server.loop
        self._server_context = server.loop.server_context
        server.connections.append(self)

    def send(self, subject: str, data: bytes, reply: str, headers: dict[str, str]) -> None:
        """Send one message to the server."""
        if self.process.state == "ghost":
            return
        if not self.up:
            self.buffer.append((subject, data, reply, headers))
            return
        fate = self.server.weather.outbound(subject, data)
        if fate == "lost":
            return
        at = self._loop.time() + self.server.weather.latency_s() + fate
        if fate == 0.0:
            at = self._out_at = max(at, self._out_at)
        generation = self.server.generation
        self._loop.call_at(
            at, self._arrive, generation, subject, data, reply, headers, context=self._server_context
        )

    def _arrive(
        self, generation: int, subject: str, data: bytes, reply: str, headers: dict[str, str]
    ) -> None:
        if generation == self.server.generation and not self.server.is_down:
            self.server.receive(self, subject, data, reply, headers)

    def deliver(
        self, messages: list[Message], handler: Callable[[Message], None], *, late_s: float = 0.0
    ) -> None:
        """Bring messages to this client, in one piece."""
        at = self._loop.time() + self.server.weather.latency_s() + late_s
        if late_s == 0.0:
            at = self._in_at = max(at, self._in_at)
        generation = self.server.generation
        self._loop.call_exactly_at(
            at, self._take, generation, messages, handler, context=self.process.context
        )

    def _take(self, generation: int, messages: list[Message], handler: Callable[[Message], None]) -> None:
        if generation == self.server.generation and self.process.state != "ghost":
            for message in messages:
                handler(message)

    def unlisten(self, subject: str, confirmed: Callable[[Message], None]) -> None:
        """End a subscription: after all that was sent before, and confirmed after all that was delivered before."""
        if not self.up:
            self.server.unlisten(self, subject)
            return

        def arrived(generation: int) -> None:
            self.server.unlisten(self, subject)
            if generation == self.server.generation:
                self.deliver([Message(subject, "", b"", None)], confirmed)

        at = self._out_at = max(self._loop.time() + self.server.weather.latency_s(), self._out_at)
        self._loop.call_at(at, arrived, self.server.generation, context=self._server_context)

    def cut(self) -> None:
        """Lose the connection."""
        self.up = False

    def repair(self) -> None:
        """Reconnect: flush what was published meanwhile, then tell who wants to know. Runs in the client's process."""
        self.up = True
        buffer, self.buffer = self.buffer, []
        for message in buffer:
            self.send(*message)
        for callback in self.reconnected:
            callback()


class SimSubscription(Subscription):
    """A subscription on the simulated server."""

    def __init__(self, connection: Connection, subject: str, handler: Callable[[Message], None]) -> None:
        self._connection = connection
        self._subject = subject
        self._handler: Callable[[Message], None] | None = handler
        connection.server.listen(connection, subject, self._received)

    async def close(self) -> None:
        self._handler = None
        self._connection.unlisten(self._subject, lambda _: None)

    async def drain(self) -> None:
        answered = asyncio.Event()
        self._connection.unlisten(self._subject, lambda _: answered.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S_MAX):
                await answered.wait()
        self._handler = None

    def _received(self, message: Message) -> None:
        if self._handler is not None:
            self._handler(message)


class _Client:
    """As much of a NATS client as a Bus asks for before it says anything."""

    def __init__(self, name: str) -> None:
        self._name = name

    def new_inbox(self) -> str:
        return f"_INBOX.{self._name}"


class SimBus(Bus):
    """The real Bus down to its two primitives, publish and subscribe, which speak to the simulated server."""

    def __init__(self, server: "Server", process: Process) -> None:
        self.connection = Connection(server, process)
        super().__init__(cast("Any", _Client(process.name)), self.connection.reconnected)
        self._server = server
        server.listen(self.connection, self._inbox + "*", self._on_reply)

    @property
    def connected(self) -> bool:
        return self.connection.up

    @property
    def payload_bytes_max(self) -> int:
        return PAYLOAD_BYTES_MAX

    async def publish(
        self, subject: str, data: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        if len(data) > PAYLOAD_BYTES_MAX:
            raise TooLarge(f"a message holds at most {PAYLOAD_BYTES_MAX} bytes, not {len(data)}")
        if self._server.random.random() < 0.05:
            # The client may have to wait for its socket.
            await asyncio.sleep(0)
        self.connection.send(subject, data, reply, dict(headers or {}))

    async def subscribe(
        self, subject: str, handler: Callable[[Message], None], *, queue: str = ""
    ) -> Subscription:
        assert not queue
        return SimSubscription(self.connection, subject, handler)

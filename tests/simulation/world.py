"""A world by seed: several real executors on one simulated server, people who send commands, and what can go wrong.

`World(seed).run()` plays it to its rest and raises Violated when it breaks a law; the same seed is the same world.
"""

import asyncio
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, cast
from unittest import mock

from libs.common import group, ids, subjects
from libs.common.codec import Context, encode_message
from libs.common.config import Config
from libs.common.errors import HeadraceError
from libs.common.health import Health
from libs.common.messages.access import NameClaimed
from libs.common.messages.flow import FlowCreated
from libs.common.payloads import Payloads
from libs.common.subjects import claim, definition, play_key
from services.executor import commands as commands_module
from services.executor import history, play_snapshot
from services.executor.app import App
from services.executor.drive import Drive
from services.executor.entries import Entries
from services.executor.modules.contract import Services
from services.executor.plays import Plays
from tests.simulation.clockwork import DRIVE, EPOCH, PROCESS, Process, SimLoop
from tests.simulation.flows import COMPANY, registry
from tests.simulation.network import PAYLOAD_BYTES_MAX, SimBus, Weather
from tests.simulation.people import People
from tests.simulation.plans import Plan, draw
from tests.simulation.server import Server
from tests.simulation.shelf import Shelf
from tests.simulation.streams import PLAYS
from tests.simulation.touched import Effects
from tests.simulation.truth import Laws, Violated

ACK_WAIT_S = 10.0
TROUBLE_S = 45.0
REST_S = 900.0
SETTLE_S = 1.0
BOOT_S = 0.5
TURNS_MAX = 60_000


class SeenDrive(Drive):
    """The real Drive; what it starts can tell who started it."""

    async def run(self) -> bool:
        process = PROCESS.get()
        assert process is not None
        DRIVE.set(self)
        drives = process.world.laws.drives.setdefault(self.key.play_id, [])
        drives.append(self)
        process.drives.append((drives, self))
        try:
            return await super().run()
        finally:
            if self in drives:
                drives.remove(self)


class World:
    """One simulated world."""

    drive: type[Drive] = SeenDrive
    app: type[App] = App

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.plan = plan or draw(seed)
        self.random = Random(f"world {seed}")
        self.loop = SimLoop(turns_max=TURNS_MAX)
        self.faults: Counter[str] = Counter()
        self.weather = Weather(
            random=Random(f"weather {seed}"), faults=self.faults, **cast("dict[str, Any]", self.plan.weather)
        )
        self.laws = Laws(self.loop, self.faults, pause_s_max=ACK_WAIT_S / 3)
        self.server = Server(
            self.loop,
            Random(f"server {seed}"),
            self.weather,
            self.laws,
            ack_wait_s=ACK_WAIT_S,
            cluster=self.plan.cluster,
        )
        self.laws.server = self.server
        self.shelf = Shelf(Random(f"shelf {seed}"), self.weather, away=self.plan.away)
        self.server.answering = {
            subjects.query("kv"): self.shelf.ask,
            subjects.command("kv"): self.shelf.tell,
        }
        self.effects = Effects(self.laws, self.loop)
        self.executors: list[Process] = []
        self.graveyard: list[Process] = []
        self._names = itertools.count()
        self._ids = Random(f"ids {seed}")
        self.people = People(self)
        self._calm = False
        self._helpers: list[asyncio.Task[None]] = []

    # ── from outside ────────────────────────────────────────────────────────────────────────────────

    def run(self) -> "World":
        """Play the world to its rest. Raises Violated."""
        with self._own_ids():
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self.loop.sweep([*self.executors, *self.graveyard])
        for error in self.loop.errors:
            if error.get("exception") is not None:
                raise Violated(f"an exception that nobody handled: {error}") from error["exception"]
        return self

    def digest(self) -> str:
        """Return a hash of everything that was ever stored."""
        digest = hashlib.blake2b(digest_size=16)
        for kept in self.server.streams[PLAYS].messages.values():
            digest.update(f"{kept.sequence} {kept.subject} {kept.at:.6f} ".encode() + kept.data)
        return digest.hexdigest()

    def story(self) -> str:
        """Return the log of this world, one message a line."""
        lines = []
        for kept in self.server.streams[PLAYS].messages.values():
            types = [
                part.split(b'"', 1)[0].decode() for part in kept.data.split(b'"type":"headrace.play.')[1:]
            ]
            lines.append(f"{kept.at:9.4f} {kept.sequence:4} {kept.subject:40} {' '.join(types)}")
        lines += [
            (
                f"{run.began_at:9.4f}      effect {run.play_id} {run.name} attempt {run.attempt} epoch {run.epoch} "
                f"on {run.process.name} {'ended' if run.ended else ''}"
            )
            for run in self.effects.runs
        ]
        return "\n".join(sorted(lines))

    # ── the course of the world ─────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        self._define()
        for n in range(self.plan.executors):
            self._spawn(self._skew(n))
        await asyncio.sleep(BOOT_S)
        plan = self.plan
        self._at(0.0, *[(at, self.people.start, n, times) for at, n, times in plan.starts])
        self._at(0.0, *[(at, self.people.cancel, n) for at, n in plan.cancels])
        self._at(0.0, *[(at, self.people.revive, n) for at, n in plan.revives])
        self._at(0.0, *[(at, self.people.carry, n) for at, n in plan.carries])
        self._at(0.0, *[(at, self.people.hold, n, times) for at, n, times in plan.holds])
        self._at(0.0, *[(at, self._arm_crash, n, handles) for at, n, handles in plan.crashes])
        self._at(0.0, *[(at, self._arm_stall, n, handles, s) for at, n, handles, s in plan.stalls])
        self._at(0.0, *[(at, self._stop, n) for at, n in plan.stops])
        self._at(0.0, *[(at, self._restart_server, s, forget_s) for at, s, forget_s in plan.restarts])
        self.laws.hits = {touch: self._hit(handles, s) for touch, handles, s in plan.hits}
        self.laws.commit_hits = {commit: self._hit(handles, s) for commit, handles, s in plan.commit_hits}
        people = asyncio.create_task(self._look_after_plays())
        last_at = max((at for at, *_ in [*plan.starts, *plan.holds]), default=0.0)
        await asyncio.sleep(TROUBLE_S if plan.troubled else last_at + SETTLE_S)
        self._calm = self.weather.calm = True
        for process in self.executors:
            process.trips.clear()
            process.go_on()
        await self._rest()
        people.cancel()

    async def _rest(self) -> None:
        give_up_at = self.loop.time() + REST_S
        while unfinished := self._unfinished():
            if self.loop.time() > give_up_at:
                raise Violated(f"I1: not at rest {REST_S:g} s after the last fault: {'; '.join(unfinished)}")
            await asyncio.sleep(SETTLE_S)

    def _unfinished(self) -> list[str]:
        to_retry = [f"play {truth.key.play_id} is to be retried" for truth in self.people.to_retry()]
        return [*self.laws.unfinished(), *to_retry]

    def _at(self, base_s: float, *events: tuple[Any, ...]) -> None:
        for at, act, *args in events:
            self.loop.call_later(base_s + at, act, *args)

    @contextmanager
    def _own_ids(self) -> Iterator[None]:
        """Let this world's ids and retries come from its seed."""
        random = self._ids

        def hexed(bits: int) -> str:
            return f"{random.getrandbits(bits):0{bits // 4}x}"

        def traceparent() -> str:
            return f"00-{hexed(128)}-{hexed(64)}-00"

        with (
            mock.patch.object(ids, "commit_id", partial(hexed, 128)),
            mock.patch.object(ids, "new_id", partial(hexed, 96)),
            mock.patch.object(ids, "new_traceparent", traceparent),
            mock.patch.object(ids, "chance", random.random),
            mock.patch.object(commands_module, "Drive", self.drive),
            mock.patch.object(play_snapshot, "HISTORY_BYTES_MIN", 600 if self.plan.short else 524_288),
            mock.patch.object(play_snapshot, "HISTORY_PER_SNAPSHOT", 0 if self.plan.short else 2),
            mock.patch.object(history, "FIRST_PAGE_MESSAGES", 2 if self.plan.short else 64),
            mock.patch.object(group, "ALONE_MAX", 1 if self.plan.batches else group.ALONE_MAX),
            mock.patch.object(group, "BATCH_MIN", 2 if self.plan.batches else group.BATCH_MIN),
        ):
            yield

    # ── executors ───────────────────────────────────────────────────────────────────────────────────

    def _skew(self, n: int) -> float:
        return self.plan.skews[n] if self.plan.skews else 0.0

    def _spawn(self, skew_s: float) -> None:
        process = Process(f"e{next(self._names)}", self.loop, skew_s=skew_s)
        process.world = self
        process.bus = SimBus(self.server, process)
        self.executors.append(process)
        process.spawn(self._boot(process))

    async def _boot(self, process: Process) -> None:
        config = Config(
            ack_wait_s=ACK_WAIT_S,
            drive_slots=self.plan.slots,
            control_slots=1,
            instance=process.name,
            company_plays_max=self.plan.company_plays_max,
            payload_inline_bytes_max=4 if self.plan.short else 262_144,
        )
        process.app = self.app(
            config,
            process.bus,
            Health({}),
            clock=process,
            registry=_REGISTRIES[self.plan.entries],
            services=Services(
                http=cast("Any", None),
                kv=Entries(process.bus),
                storage=cast("Any", None),
                plays=Plays(
                    process.bus,
                    Payloads(process.bus, process, inline_bytes_max=PAYLOAD_BYTES_MAX // 4),
                    shards=1,
                ),
                now=process.now,
                monotonic_s=process.monotonic_s,
            ),
        )
        try:
            await process.app.start()
        except HeadraceError:
            # The process ends and whoever watches over it starts another, as service.run and a supervisor do.
            process.kill()
            self._bury(process)

    def _pick(self, n: int) -> Process | None:
        return self.executors[n % len(self.executors)] if self.executors else None

    def _arm(self, n: int, handles: int, fault: Callable[[Process], None]) -> None:
        process = self._pick(n)
        if process is not None:
            process.trip_after(handles, fault)

    def _arm_crash(self, n: int, handles: int) -> None:
        self._arm(n, handles, self.crash)

    def _arm_stall(self, n: int, handles: int, length_s: float) -> None:
        self._arm(n, handles, lambda process: self._stall(process, length_s))

    def _hit(self, handles: int, length_s: float | None) -> Callable[[Process], None]:
        if length_s is None:
            return lambda process: process.trip_after(handles, self.crash)
        return lambda process: process.trip_after(handles, lambda victim: self._stall(victim, length_s))

    def crash(self, process: Process) -> None:
        """Kill a process; another takes its place."""
        if self._calm or process not in self.executors:
            return
        self.faults["crash"] += 1
        process.kill()
        self._bury(process)

    def _bury(self, process: Process) -> None:
        if process not in self.executors:
            return
        self.executors.remove(process)
        self.graveyard.append(process)
        for drives, drive in process.drives:
            if drive in drives:
                drives.remove(drive)
        loop, context = self.loop, self.loop.server_context
        # The server may see the connection end at once, or wait for its ping.
        loop.call_later(
            self.random.choice((0.001, 4.0)), self.server.forget, process.bus.connection, context=context
        )
        loop.call_later(self.random.choice((0.05, 3.0)), self._spawn, process.skew_s, context=context)

    def _stall(self, process: Process, length_s: float) -> None:
        if self._calm or process not in self.executors:
            return
        self.faults["stall"] += 1
        process.stall()
        process.last_stall_s = length_s
        self.loop.call_later(length_s, process.go_on, context=self.loop.server_context)

    def _stop(self, n: int) -> None:
        process = self._pick(n)
        if process is None or process.state != "running" or process.app is None:
            return
        self.faults["stop"] += 1
        self.executors.remove(process)
        self.graveyard.append(process)
        self._helpers.append(process.spawn(self._leave(process)))
        self.loop.call_later(0.5, self._spawn, process.skew_s, context=self.loop.server_context)

    async def _leave(self, process: Process) -> None:
        await process.app.stop()
        self.server.forget(process.bus.connection)

    # ── the server ──────────────────────────────────────────────────────────────────────────────────

    def _restart_server(self, away_s: float, forget_s: float) -> None:
        self.faults["restart"] += 1
        if away_s > ACK_WAIT_S / 3:
            self.faults["outage"] += 1
        self.server.crash(forget_s=forget_s)
        for connection in self.server.connections:
            connection.cut()
        self.loop.call_later(away_s, self._server_back)

    def _server_back(self) -> None:
        self.server.come_back()
        for connection in list(self.server.connections):
            delay_s = self.random.uniform(0.01, 0.3)
            self.loop.call_later(delay_s, connection.repair, context=connection.process.context)

    # ── people ──────────────────────────────────────────────────────────────────────────────────────

    def _define(self) -> None:
        for flow in [*self.plan.flows, *self.plan.subflows]:
            data = encode_message(
                FlowCreated(at=EPOCH, flow=flow),
                id=f"flow-{flow.id}",
                context=Context(source="/", subject=flow.id),
            )
            self.server.store(definition("flow", COMPANY, flow.id), data, {})
        # Their short names are no ids: as permanentIds they are found.
        for id in dict.fromkeys(flow.id for flow in self.plan.flows):
            claimed = NameClaimed(at=EPOCH, owner_id=id)
            data = encode_message(claimed, id=f"name-{id}", context=Context(source="/", subject=id))
            self.server.store(claim(COMPANY, "permanent", id), data, {})
        for n, flow in enumerate(self.plan.flows):
            self.people.keys.append(play_key(COMPANY, flow.id, f"p{n}", shards=1))

    def definition_of(self, n: int) -> int:
        """Return the definition that the n-th play is pinned to."""
        return n + 1

    async def _look_after_plays(self) -> None:
        for number in itertools.count():
            await asyncio.sleep(self.random.uniform(0.3, self.plan.look_s))
            self.people.look(number)


_REGISTRIES = {entries: registry(entries=entries) for entries in (False, True)}

"""A bus in memory, as far as schedulers see it, two schedulers that die at any await, and clocks that jump.

The schedulers run their real code (Fires and Commands with the real rules) on a log that answers late, loses answers,
delivers twice and fires by a clock of its own. A commit and its timer are one, as the real log's atomic batch is.
"""

# ruff: noqa: ARG002 - the methods have the form of the real log's

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from libs.common.errors import Conflict, HeadraceError, Unavailable
from libs.common.ids import derived_id
from libs.common.messages import schedule as m
from libs.common.subjects import ScheduleKey
from services.scheduler.commands import Commands
from services.scheduler.fires import Fires
from services.scheduler.firing import Flow
from services.scheduler.schedule_log import Encoded, Known, fire_id
from tests.simulation.clockwork import EPOCH, Process, SimLoop

ACK_WAIT_S = 3.0
# How often the server looks for what is due: ten times what a message takes, and most of the cost of a world.
LOOK_S = 0.1
TIMER_LAG_S_MAX = 0.3
TURNS_MAX = 3_000_000
COMPANY = derived_id("simulated company")
FLOW = derived_id("simulated flow")
T = TypeVar("T")


class Started:
    """A start command in the log: its occurrence, how late by the bus's clock, and whether it ran already."""

    def __init__(self, start: m.Start, at: datetime, ends_at: float) -> None:
        self.start = start
        self.at = at
        self.ends_at = ends_at


class Server:
    """The bus: events, timers, fire commands and plays, and a clock that may jump."""

    def __init__(self, loop: SimLoop, random: Random, *, faults: bool, play_s: float) -> None:
        self.loop = loop
        self.random = random
        self.faults = faults
        self.play_s = play_s
        self.jumped = timedelta(0)
        self.events: dict[ScheduleKey, list[Known]] = {}
        self.sequence = 0
        self.timers: dict[ScheduleKey, m.WakeSchedule] = {}
        self.queue: list[tuple[float, int, ScheduleKey, m.WakeSchedule]] = []
        self.plays: dict[str, Started] = {}
        self.repeats = 0
        self.cancelled: set[str] = set()
        self.flow = Flow(FLOW, 1, 1, True, False)
        self.outage_until = 0.0
        self._numbers = itertools.count()
        self._due: dict[ScheduleKey, datetime] = {}

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.loop.time()) + self.jumped

    def store(self, event: m.ScheduleEvent, expected: int, command_id: str) -> Known:
        key = ScheduleKey(event.schedule.company_id, event.schedule.id)
        history = self.events.setdefault(key, [])
        if (history[-1].sequence if history else 0) != expected:
            raise Conflict("wrong last sequence")
        self.sequence += 1
        known = Known(event.schedule, self.sequence, command_id, event)
        history.append(known)
        wake_at = event.schedule.wake_at
        if wake_at is not None:
            self.arm(key, m.WakeSchedule(at=wake_at, revision=event.schedule.revision))
        return known

    def arm(self, key: ScheduleKey, command: m.WakeSchedule) -> None:
        if command.at <= self.now():
            self.send(key, command)
        else:
            self.timers[key] = command
            self._due[key] = command.at + timedelta(seconds=self.random.uniform(0, TIMER_LAG_S_MAX))

    def send(self, key: ScheduleKey, command: m.WakeSchedule) -> None:
        for _ in range(2 if self.faults and self.random.random() < 0.05 else 1):
            late_s = self.random.uniform(0, 2.0) if self.faults and self.random.random() < 0.1 else 0.0
            entry = (self.loop.time() + late_s, next(self._numbers), key, command)
            heapq.heappush(self.queue, entry)

    def fire_due(self) -> None:
        """Send what is due by the bus's clock."""
        for key in [key for key, at in self._due.items() if at <= self.now()]:
            del self._due[key]
            self.send(key, self.timers.pop(key))

    @property
    def quiet(self) -> bool:
        return not self.queue

    def begin(self, start: m.Start) -> None:
        if start.play_id in self.plays:
            self.repeats += 1
            return
        ends_at = self.loop.time() + self.play_s * self.random.uniform(0.5, 1.5)
        self.plays[start.play_id] = Started(start, self.now(), ends_at)

    def has_ended(self, play_id: str) -> bool:
        play = self.plays.get(play_id)
        return play is not None and (play_id in self.cancelled or play.ends_at <= self.loop.time())


class SimulatedLog:
    """What one scheduler sees of the bus (services.scheduler.fires.Log)."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def _call(self, work: Callable[[], T]) -> T:
        """Go to the server and back; either way may take long, or lose the message."""
        server, random = self._server, self._server.random
        await asyncio.sleep(random.uniform(0.0005, 0.01))
        lost = server.faults and random.random() < 0.02
        if server.loop.time() < server.outage_until or (lost and random.random() < 0.5):
            await asyncio.sleep(0.5)
            raise Unavailable("no answer")
        result = work()
        if lost:
            await asyncio.sleep(0.5)
            raise Unavailable("the answer was lost")
        await asyncio.sleep(random.uniform(0.0005, 0.01))
        return result

    async def _insist(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return await self._call(work)
            except Unavailable:
                await asyncio.sleep(0.05)

    async def schedule(self, key: ScheduleKey, *, leader: bool = False) -> Known | None:
        def last() -> Known | None:
            history = self._server.events.get(key)
            return history[-1] if history else None

        return await self._call(last)

    async def caused_by(self, key: ScheduleKey, command_id: str) -> Known | None:
        def find() -> Known | None:
            history = reversed(self._server.events.get(key, []))
            return next((known for known in history if known.command_id == command_id), None)

        return await self._call(find)

    async def flow(self, company_id: str, flow_id: str) -> Flow | None:
        return await self._call(lambda: self._server.flow)

    def encoded(self, event: m.ScheduleFired, *, expected: int, command_id: str) -> Encoded:
        return Encoded((), {})

    async def commit(
        self, event: m.ScheduleEvent, *, expected: int, command_id: str, encoded: Encoded | None = None
    ) -> Known:
        return await self._call(lambda: self._server.store(event, expected, command_id))

    async def remind(self, known: Known, at: datetime) -> None:
        key = ScheduleKey(known.schedule.company_id, known.schedule.id)

        def rearm() -> None:
            if self._server.events[key][-1].sequence == known.sequence:
                self._server.arm(key, m.WakeSchedule(at=at, revision=known.schedule.revision))

        await self._insist(rearm)

    async def fire_now(self, schedule: m.Schedule, at: datetime, *, id: str) -> None:
        key = ScheduleKey(schedule.company_id, schedule.id)
        await self._insist(lambda: self._server.send(key, m.WakeSchedule(at=at, revision=schedule.revision)))

    async def start(
        self, event: m.ScheduleFired, start: m.Start, *, again: bool = False, encoded: Encoded | None = None
    ) -> None:
        await self._insist(lambda: self._server.begin(start))

    async def cancel(self, event: m.ScheduleFired, running: m.Running) -> None:
        await self._insist(lambda: self._server.cancelled.add(running.play_id))

    async def ended(self, schedule: m.Schedule, *, now: datetime) -> frozenset[str]:
        ids = [entry.play_id for entry in schedule.running]
        return await self._call(lambda: frozenset(id for id in ids if self._server.has_ended(id)))


class SkewedClock:
    """A scheduler's reading of the bus's clock: a little off, and wrong for a while after that has jumped."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.stale = timedelta(0)

    def now(self) -> datetime:
        return self._server.now() + self.stale


class World:
    """Two schedulers on one bus."""

    def __init__(self, seed: int, *, faults: bool = True, play_s: float = 5.0, crashes: bool = True) -> None:
        self.random = Random(seed)
        self.loop = SimLoop(turns_max=TURNS_MAX)
        self.server = Server(self.loop, self.random, faults=faults, play_s=play_s)
        self.crashes = crashes and faults
        self.processes: list[Process] = []
        self.clocks: list[SkewedClock] = []
        self.kills = 0
        self.failed: list[str] = []

    def run(self, script: Callable[["World"], Awaitable[None]]) -> None:
        """Run a script to its end, then sweep the processes away."""
        try:
            self.loop.run_until_complete(self._run(script))
        finally:
            self.loop.sweep(self.processes)
        crashed = [str(entry) for entry in self.loop.errors if "exception" in entry]
        assert not crashed, crashed[:3]

    async def _run(self, script: Callable[["World"], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = False
        for _ in range(2):
            self._launch()
        driver = loop.create_task(self._drive())
        await script(self)
        self._stopping = True
        await driver

    def _launch(self) -> None:
        process = Process(f"scheduler-{len(self.processes)}", self.loop)
        self.processes.append(process)
        clock = SkewedClock(self.server)
        self.clocks.append(clock)
        process.app = Fires(SimulatedLog(self.server), clock)

    def commands(self) -> Commands:
        """Return what answers commands; in no scheduler that dies, for the caller would have to ask again."""
        log = SimulatedLog(self.server)
        clock = SkewedClock(self.server)
        return Commands(log, Fires(log, clock), clock)

    async def tell(self, command: m.AnyScheduleCommand) -> Any:
        """Send a command until it is answered, as a client with the same id would."""
        while True:
            try:
                return await self.commands().handle(command)
            except Unavailable:
                await asyncio.sleep(0.2)

    async def _drive(self) -> None:
        while not self._stopping:
            await asyncio.sleep(LOOK_S)
            self.server.fire_due()
            if self.loop.time() < self.server.outage_until:
                continue
            now = self.loop.time()
            while self.server.queue and self.server.queue[0][0] <= now:
                _, number, key, command = heapq.heappop(self.server.queue)
                self._deliver(number, key, command)

    def _deliver(self, number: int, key: ScheduleKey, command: m.WakeSchedule) -> None:
        alive = [process for process in self.processes if process.state == "running"]
        process = self.random.choice(alive)
        task = process.spawn(self._handle(process, key, command))
        if self.crashes and self.random.random() < 0.15:
            process.trip_after(self.random.randint(1, 40), self._killed)
        # Not acknowledged in time: it comes again, whoever had it.
        entry = (number, key, command, task)
        self.server.loop.call_later(ACK_WAIT_S, self._check, entry)

    def _killed(self, process: Process) -> None:
        process.kill()
        self.kills += 1
        self._launch()

    def _check(self, entry: tuple[int, ScheduleKey, m.WakeSchedule, "asyncio.Task[bool]"]) -> None:
        number, key, command, task = entry
        if not (task.done() and task.result()):
            heapq.heappush(self.server.queue, (self.loop.time(), number, key, command))

    async def _handle(self, process: Process, key: ScheduleKey, command: m.WakeSchedule) -> bool:
        try:
            ready = await process.app.prepare(key, command)
            if self.server.faults and self.random.random() < 0.3:
                # Meanwhile others decide, change the schedule or delete the flow.
                await asyncio.sleep(self.random.uniform(0.0, 4.0))
            await process.app.fire(key, command, ready)
        except HeadraceError:
            return False
        return True

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def pause(self, schedule_id: str) -> None:
        """Stop a schedule and let what it began come to its end."""
        stop = m.PauseSchedule(
            id=derived_id("pause", schedule_id), at=EPOCH, company_id=COMPANY, schedule_id=schedule_id
        )
        await self.tell(stop)
        await asyncio.sleep(10.0)

    async def settle(self, seconds: float = 30.0) -> None:
        """Let everything come to rest."""
        self.crashes = False
        self.server.faults = False
        await asyncio.sleep(seconds)


def a_schedule(schedule_id: str, **fields: Any) -> m.CreateSchedule:
    """Return the command that defines a schedule of the simulated flow."""
    return m.CreateSchedule(
        id=derived_id("create", schedule_id),
        at=EPOCH,
        company_id=COMPANY,
        schedule_id=schedule_id,
        fields=m.ScheduleFields(name="simulated", flow_id=FLOW, **fields),
    )


__all__ = ["COMPANY", "FLOW", "World", "a_schedule", "fire_id"]

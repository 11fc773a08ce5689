"""An event loop without a clock, a socket or a thread: time jumps to the next timer, processes die between awaits.

Everything a simulated process runs carries the process in its context, so a handle of a dead process is never run and
one of a stalled process waits until it goes on. That is what `kill -9` and SIGSTOP do, at every await there is.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
GHOST_TURNS_MAX = 100_000
# uvloop's timers know whole milliseconds: half of them fire before they are due. And no two looks at a clock say the
# same.
TIMER_S = 0.001
LOOK_S = 0.000_01


class Process:
    """One simulated process: it runs, is stalled, or is dead; `ghost` while its remains are swept away."""

    def __init__(self, name: str, loop: "SimLoop", *, skew_s: float = 0.0) -> None:
        self.name = name
        self.loop = loop
        self.state: Literal["running", "stalled", "dead", "ghost"] = "running"
        self.parked: list[SimHandle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.trips: list[tuple[int, Callable[[Process], None]]] = []
        self.handles_run = 0
        self.skew_s = skew_s
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        self.app: Any = None
        self.bus: Any = None
        self.world: Any = None
        self.last_stall_s = 0.0
        self.drives: list[Any] = []

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str = "") -> asyncio.Task[T]:
        """Run a coroutine as part of this process."""
        return self.context.run(self.loop.create_task, coroutine, name=name)

    def trip_after(self, handles: int, fault: Callable[["Process"], None]) -> None:
        """Let a fault happen just before this process runs its n-th handle from now."""
        self.trips.append((self.handles_run + handles, fault))
        self.trips.sort(key=lambda trip: trip[0])

    def kill(self) -> None:
        """End it between two awaits: nothing of it runs again, no `finally`, no `except`."""
        self.state = "dead"

    def stall(self) -> None:
        """Freeze it; messages and timers wait."""
        if self.state == "running":
            self.state = "stalled"

    def go_on(self) -> None:
        """Let a stalled process continue with all that came meanwhile, in order."""
        if self.state == "stalled":
            self.state = "running"
            self.loop.ready.extend(self.parked)
            self.parked.clear()

    # The clock of this process (libs.common.clock.Clock).

    def now(self) -> datetime:
        """Return the wall time as this process sees it."""
        self.skew_s += LOOK_S
        return EPOCH + timedelta(seconds=self.loop.time() + self.skew_s)

    def monotonic_s(self) -> float:
        """Return the monotonic time in seconds."""
        return self.loop.time()


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
DRIVE: ContextVar[Any] = ContextVar("drive")


class SimHandle(asyncio.TimerHandle):
    """A callback with its context, and when it is due."""

    __slots__ = ("args", "callback", "context", "dropped", "due", "process")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, due: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.due = due
        self.dropped = False
        self.process: Process | None = context.get(PROCESS)

    def cancel(self) -> None:
        self.dropped = True

    def cancelled(self) -> bool:
        return self.dropped

    def when(self) -> float:
        return self.due

    def __repr__(self) -> str:
        return f"<SimHandle {self.callback!r} at {self.due:.6f}>"

    def __hash__(self) -> int:
        return id(self)


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks are walked in the same order in every run."""

    def __init__(self, coroutine: Any, *, loop: "SimLoop", name: str | None, number: int) -> None:
        self.number = number
        super().__init__(coroutine, loop=cast("Any", loop), name=name or f"task-{number}")

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop:
    """The loop of one simulated world: as much of an event loop as asyncio's tasks, futures and timeouts ask for."""

    def __init__(self, *, turns_max: int) -> None:
        self.turns_max = turns_max
        self.ready: deque[SimHandle] = deque()
        self.timers: list[tuple[float, int, SimHandle]] = []
        self.errors: list[dict[str, Any]] = []
        self.turns = 0
        self.fatal: Exception | None = None
        self.server_context = copy_context()
        self._now = 0.0
        self._numbers = itertools.count(1)
        self._running = False

    # ── what asyncio asks of a loop ─────────────────────────────────────────────────────────────────

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=cast("Any", self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        assert context is None
        task = SimTask(coro, loop=self, name=name, number=next(self._numbers))
        process = PROCESS.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> SimHandle:
        handle = SimHandle(callback, args, copy_context() if context is None else context, self._now)
        self.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> SimHandle:
        return self.call_at(self._now + max(delay, 0.0), callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> SimHandle:
        context = copy_context() if context is None else context
        if context.get(PROCESS) is not None:
            when = self._now + round((when - self._now) / TIMER_S) * TIMER_S
        return self.call_exactly_at(when, callback, *args, context=context)

    def call_exactly_at(self, when: float, callback: Any, *args: Any, context: Context) -> SimHandle:
        """Run a callback when something from outside reaches a process, not when a timer of it thinks it does."""
        handle = SimHandle(callback, args, context, when)
        heapq.heappush(self.timers, (when, next(self._numbers), handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    # ── running ─────────────────────────────────────────────────────────────────────────────────────

    def run_until_complete(self, future: Any) -> Any:
        """Run until this coroutine has ended; raises RuntimeError when nothing is left that could end it."""
        asyncio._set_running_loop(cast("Any", self))
        self._running = True
        try:
            task = self.create_task(future)
            while not task.done():
                if not self._turn():
                    raise RuntimeError("deadlock: nothing is left to run")
                if self.fatal is not None:
                    raise self.fatal
                if self.turns > self.turns_max:
                    raise RuntimeError(f"livelock: {self.turns} turns, and no end at {self._now:.3f} s")
            return task.result()
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def sweep(self, processes: list[Process]) -> None:
        """End what is left of all processes, so that no coroutine is destroyed while it waits."""
        asyncio._set_running_loop(cast("Any", self))
        try:
            for process in processes:
                process.state = "ghost"
                process.trips.clear()
                self.ready.extend(process.parked)
                for task in process.tasks:
                    task.cancel()
            for _ in range(GHOST_TURNS_MAX):
                if not self.ready:
                    break
                self._turn()
            self.timers.clear()
        finally:
            asyncio._set_running_loop(None)

    def _turn(self) -> bool:
        ready, timers = self.ready, self.timers
        if not ready:
            while timers and timers[0][2].dropped:
                heapq.heappop(timers)
            if not timers:
                return False
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.dropped:
                ready.append(handle)
        handle = ready.popleft()
        if handle.dropped:
            return True
        process = handle.process
        if process is not None and not self._may_run(process, handle):
            return True
        self.turns += 1
        handle.context.run(handle.callback, *handle.args)
        return True

    def _may_run(self, process: Process, handle: SimHandle) -> bool:
        process.handles_run += 1
        while process.trips and process.trips[0][0] <= process.handles_run and process.state == "running":
            process.trips.pop(0)[1](process)
        if process.state in {"stalled", "dead"}:
            process.handles_run -= 1
            process.parked.append(handle)
            return False
        return True

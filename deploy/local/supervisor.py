"""Keeps processes alive: one `Child` per process, restarted when it dies and ended when it should end."""

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from deploy.local.errors import StartFailed
from deploy.local.home import Home
from deploy.local.tether import tethered

BACKOFF_S_FIRST = 0.25
BACKOFF_S_MAX = 2.0
# A child that lives this long was well: its next death is the first one again.
WELL_AFTER_S = 10.0
START_DEATHS_MAX = 3
STOP_S_MAX = 10.0
READY_POLL_S = 0.02
LOG_BYTES_MAX = 32 * 1024 * 1024
LOG_CHECK_S = 5.0
TAIL_LINES = 20


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a child is: its command, what it is told, and how it is asked whether it is ready and to stop."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[int], Awaitable[bool]]
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL


@dataclass
class Child:
    """One process and its successors."""

    spec: Spec
    home: Home
    _process: asyncio.subprocess.Process | None = None
    _was_ready: bool = False
    _stop_signal: signal.Signals | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, keep it alive from now on, and wait until it is ready. Raises StartFailed."""
        self._life = asyncio.create_task(self._keep_alive(), name=self.spec.name)
        while not (self._process and await self.spec.ready(self._process.pid)):
            if self._life.done():
                self._life.result()
                raise StartFailed(f"{self.spec.name} was stopped before it was ready")
            await asyncio.sleep(READY_POLL_S)
        self._was_ready = True

    async def stop(self, within_s: float = STOP_S_MAX) -> None:
        """Ask the process to end, and end it when it does not."""
        if self._life is None:
            return
        self.signal(self.spec.stop_signal)
        done, _ = await asyncio.wait({self._life}, timeout=within_s)
        if not done:
            _say(f"{self.spec.name} did not stop within {within_s:.0f} s and is killed")
            self.signal(signal.SIGKILL)
            await asyncio.wait({self._life})
        error = self._life.exception()
        if error is not None and not isinstance(error, StartFailed):
            raise error

    def signal(self, number: signal.Signals) -> None:
        """Send a signal that the process is not to survive: it is not started again."""
        self._stop_signal = number
        self._stopping.set()
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    def trim_log(self) -> None:
        """Keep the log of a long life within bounds: what is old moves to `.1`, what was there is dropped."""
        path = self.home.log(self.spec.name)
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            # Copied, not renamed: the process goes on writing to the file it has open.
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)

    async def _keep_alive(self) -> None:
        """Run the process, and again when it dies, until it is to stop. Raises StartFailed."""
        deaths = 0
        while not self._stopping.is_set():
            began_s, log_from = time.monotonic(), self.home.log_bytes(self.spec.name)
            code = await self._run_once()
            if self._stopping.is_set():
                return
            deaths = deaths + 1 if time.monotonic() - began_s < WELL_AFTER_S else 1
            self._report_death(code, log_from)
            if deaths >= START_DEATHS_MAX and not self._was_ready:
                raise StartFailed(
                    f"{self.spec.name} died {deaths} times before it was ready; all it said: "
                    f"{self.home.log(self.spec.name)}"
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s(deaths))

    async def _run_once(self) -> int:
        pid_file = self.home.pid_file(self.spec.name)
        with self.home.log(self.spec.name).open("ab") as log:
            self._process = await self._spawn(log)
        self.home.write_run(pid_file.name, str(self._process.pid))
        if self._stop_signal is not None:  # came while the process was being made
            self._process.send_signal(self._stop_signal)
        try:
            return await self._process.wait()
        finally:
            # What the process started must not outlive it. It leads a group of its own.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            pid_file.unlink(missing_ok=True)

    async def _spawn(self, log: BinaryIO) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *tethered(self.spec.argv, self.spec.orphan_signal, self.spec.user),
            env=dict(self.spec.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Out of reach of the terminal's Ctrl-C: stopping in order is our work.
            start_new_session=True,
        )

    def _report_death(self, code: int, log_from: int) -> None:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        _say(f"{self.spec.name} died ({how}); the end of its log:")
        for line in self.home.log_tail(self.spec.name, TAIL_LINES, after_bytes=log_from):
            _say(f"  {self.spec.name} | {line}")


def backoff_s(deaths: int) -> float:
    """Return how long to wait before the next start, after so many deaths in a row."""
    return 0.0 if deaths <= 1 else min(BACKOFF_S_FIRST * 2.0 ** (min(deaths, 10) - 2), BACKOFF_S_MAX)


async def trim_logs(children: list[Child]) -> None:
    """Keep all logs within bounds, for ever."""
    while True:
        await asyncio.sleep(LOG_CHECK_S)
        for child in children:
            child.trim_log()


def rotate_logs(home: Home) -> None:
    """Put the logs of the last run aside."""
    for path in home.logs.glob("*.log"):
        path.replace(path.with_suffix(".log.1"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

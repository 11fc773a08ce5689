"""How long a start takes: from `headrace up` to the result of the first play, on an empty home and on a warm one."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.http_client import Api
from tests.bench.scenarios import create
from tests.fixtures.system import RunningSystem

FIRST = [
    {"name": "first", "ref": "first", "appId": "var", "index": 0, "args": {"values": {"n": "{{ add 1 1 }}"}}}
]
FSYNC_ROUNDS = 100
FSYNC_BYTES = 1024


class Start(msgspec.Struct, frozen=True):
    """Seconds from the start of `up` until its `ready` line, and until the first play has ended."""

    ready_s: float
    first_play_s: float


@contextmanager
def running(home: Path, environ: dict[str, str]) -> Iterator[tuple[RunningSystem, float]]:
    """Run the system until the end of the block; yields it, and when `up` was begun."""
    began_s = time.perf_counter()
    system = RunningSystem(home, environ=environ)
    try:
        yield system, began_s
    finally:
        system.stop()
        system.wait_all_gone()


async def first_play(system: RunningSystem, began_s: float, flow: str | None) -> tuple[Start, Api, str]:
    """Wait until the system is ready, log in, run a play of `flow` (None: of one that is made now)."""
    system.wait_ready()
    ready_s = time.perf_counter() - began_s
    api = Api(system.base_url)
    await api.login(system.email, system.password)
    flow = flow or await create(api, "first", FIRST)
    play: dict[str, Any] = await api.call("POST", f"/api/flows/{flow}/run?wait=30", {})
    start = Start(round(ready_s, 3), round(time.perf_counter() - began_s, 3))
    assert play["state"] == "DONE", f"the first play did not end well: {play}"
    return start, api, flow


def fsync_ms(folder: Path) -> float:
    """Return the median time of appending a kilobyte and syncing it: what durability costs on this disk, in ms."""
    times_s = []
    with (folder / "fsync.probe").open("ab", buffering=0) as file:
        for _ in range(FSYNC_ROUNDS):
            began_s = time.perf_counter()
            file.write(b"\0" * FSYNC_BYTES)
            os.fsync(file.fileno())
            times_s.append(time.perf_counter() - began_s)
    (folder / "fsync.probe").unlink()
    return round(1000 * sorted(times_s)[len(times_s) // 2], 3)

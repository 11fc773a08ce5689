"""Measures levels of load on a running system: speed, latency, CPU and how far the read models are behind."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.bench import load, processes
from tests.bench.http_client import Api
from tests.bench.scenarios import ARGS, CHANNEL_PATH, SCENARIOS, Scenario, create, open_channel

LAG_POLL_S = 0.02
GENERATOR = "generator"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much a run may do: plays in flight per level, seconds and plays of a level, seconds in all."""

    in_flight: tuple[int, ...]
    level_s: float
    level_plays_max: int
    warm_up_s: float
    lag_s_max: float
    total_s: float


class Level(msgspec.Struct, kw_only=True):
    """One row of the table; CPU in milliseconds per play by process.

    `cores`: how many cores the rest of the machine used (`elsewhere`), were idle, waited for the disk, or were taken by
    other guests of the host (`stolen`).
    """

    scenario: str
    in_flight: int
    plays: int
    seconds: float
    plays_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms_per_play: dict[str, float]
    cores: dict[str, float]
    lag_s: float | None
    failed: int
    first_failure: str


@dataclass
class Bench:
    """The running system and what is measured on it."""

    api: Api
    home: Path
    bounds: Bounds
    origin_url: str
    ends_s: float
    levels: list[Level] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    async def run(self, names: tuple[str, ...], told: Callable[[Level], None]) -> None:
        """Measure every level of the scenarios with these names and tell each as soon as it is known."""
        for scenario in SCENARIOS:
            if scenario.name in names:
                await self._scenario(scenario, told)

    async def at_rest(self, seconds: float) -> dict[str, float]:
        """Return the CPU milliseconds per second that each process uses while nothing is asked of it."""
        system = processes.of_home(self.home)
        before_s, began_s = processes.cpu_s(system), time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        return {
            name: round(1000 * (used_s - before_s[name]) / took_s, 1)
            for name, used_s in processes.cpu_s(system).items()
        }

    async def _scenario(self, scenario: Scenario, told: Callable[[Level], None]) -> None:
        if time.monotonic() > self.ends_s:
            self.skipped.append(scenario.name)
            return
        flow = await create(self.api, scenario.name, scenario.layers(self.origin_url))
        target, request = self.api, self.api.request("POST", f"/api/flows/{flow}/run?wait=30", {"args": ARGS})
        if scenario.over_channel:
            target = await open_channel(self.api, scenario.name, flow)
            request = target.request("POST", CHANNEL_PATH, ARGS)
        warm_up = await load.run(
            target, request, in_flight=16, seconds=self.bounds.warm_up_s, plays_max=2_000
        )
        accepted = warm_up.accepted
        await self._lag_s(flow, accepted)
        for in_flight in self.bounds.in_flight:
            if time.monotonic() > self.ends_s:
                self.skipped.append(f"{scenario.name} at {in_flight}")
                continue
            level, more = await self._level(scenario, flow, (target, request), in_flight, accepted)
            accepted += more
            self.levels.append(level)
            told(level)

    async def _level(
        self, scenario: Scenario, flow: str, asked: tuple[Api, bytes], in_flight: int, accepted_before: int
    ) -> tuple[Level, int]:
        """Return the level's figures and how many plays it started."""
        system = processes.of_home(self.home)
        before_s, machine_before, began_s = processes.cpu_s(system), processes.machine(), time.monotonic()
        result = await load.run(
            *asked,
            in_flight=in_flight,
            seconds=self.bounds.level_s,
            plays_max=self.bounds.level_plays_max,
        )
        lag_s = await self._lag_s(flow, accepted_before + result.accepted)
        used_s = {name: after_s - before_s[name] for name, after_s in processes.cpu_s(system).items()}
        used_s[GENERATOR] = result.generator_cpu_s
        took_s = time.monotonic() - began_s
        changed = [now - before for now, before in zip(processes.machine(), machine_before, strict=True)]
        busy_s, idle_s, disk_s, stolen_s = changed
        plays = max(1, result.done)
        return Level(
            scenario=scenario.name,
            in_flight=in_flight,
            plays=result.done,
            seconds=round(result.elapsed_s, 3),
            plays_per_s=round(result.done / result.elapsed_s, 1),
            p50_ms=round(result.percentile_ms(50), 2),
            p95_ms=round(result.percentile_ms(95), 2),
            p99_ms=round(result.percentile_ms(99), 2),
            cpu_ms_per_play={name: round(1000 * seconds / plays, 3) for name, seconds in used_s.items()},
            cores={
                "elsewhere": _cores(busy_s - sum(used_s.values()), took_s),
                "idle": _cores(idle_s, took_s),
                "disk": _cores(disk_s, took_s),
                "stolen": _cores(stolen_s, took_s),
            },
            lag_s=None if lag_s is None else round(lag_s, 3),
            failed=result.failed,
            first_failure=result.first_failure,
        ), result.accepted

    async def _lag_s(self, flow: str, plays: int) -> float | None:
        """Return how long it takes until the list of plays counts all that were accepted as DONE; None: too long."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < self.bounds.lag_s_max:
            listed = await self.api.call("GET", f"/api/plays?flowId={flow}&state=DONE&size=1")
            if listed["total"] >= plays:
                return time.monotonic() - began_s
            await asyncio.sleep(LAG_POLL_S)
        return None


def _cores(seconds: float, took_s: float) -> float:
    return round(max(0.0, seconds) / took_s, 2)

"""`python -m tests.faults.soak`: plays of every kind, people at work on them, and a process killed every few seconds.

Whoever accepted a play must bring it to an end, free its slots and leave no child behind; whatever dies meanwhile. The
seed decides what is started, asked for and killed; how these meet is up to the machine.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from typing import Any

import aiohttp
import uvloop

from tests.e2e.api import TERMINAL, Answer, Api
from tests.faults.soak_flows import KINDS, Kind, defined
from tests.fixtures.system import RunningSystem, running_system

STARTERS = 4
PAUSE_S_MAX = 0.06
OPERATION_EVERY_S = 0.05
HELP_EVERY_S = 0.3
KILL_EVERY_S = (2.0, 5.0)
REST_S_MAX = 120.0
AWAY_S_MAX = 60.0
RETRY_PAUSE_S = 0.1
# Operations meet plays in any state: that some are refused is the point.
EXPECTED = frozenset({200, 404, 409})
EXECUTORS = ("executor-0", "executor-1")
VICTIMS = (*EXECUTORS, *EXECUTORS, "gateway-0", "nats-0", "postgres-0", "scheduler-0", "store-0")
OPEN = ("NEW", "RUN", "WAIT", "ON_HOLD", "DEFERRED")
# A killed executor's plays are taken over soon; ten days of a log are nobody's concern here.
SETTINGS = {"HEADRACE_ACK_WAIT_S": "3"}


class Soak:
    """One run: what was accepted, what was killed, and what went wrong."""

    def __init__(self, system: RunningSystem, api: Api, flows: dict[str, str], seed: int) -> None:
        self._system = system
        self._api = api
        self._flows = flows
        self._seed = seed
        self.accepted: dict[str, Kind] = {}
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self, seconds: float) -> None:
        """Start, operate and kill for so long; then let everything come to rest and look at it."""
        until_s = time.monotonic() + seconds
        starters = (self._start(number, until_s) for number in range(STARTERS))
        async with asyncio.TaskGroup() as group:
            helping = group.create_task(self._help())
            await asyncio.gather(*starters, self._operate(until_s), self._kill(until_s))
            began_s = time.monotonic()
            await self._rest()
            rested_s = time.monotonic() - began_s
            helping.cancel()
        await self._slots_are_free()
        self._logs_are_clean()
        print(f"{len(self.accepted)} plays, at rest {rested_s:.1f} s after the last start")
        print("killed: " + ", ".join(f"{name} {count}" for name, count in sorted(self.killed.items())))

    # ── what goes on ────────────────────────────────────────────────────────────────────────────────

    async def _start(self, number: int, until_s: float) -> None:
        chance = random.Random(f"{self._seed} start {number}")
        place = 0
        while time.monotonic() < until_s:
            place += 1
            kind = chance.choice(KINDS)
            body = {"args": kind.args(chance), "idempotencyKey": f"{number}-{place}"}
            answer = await self._call("POST", f"/api/flows/{self._flows[kind.name]}/run", body)
            if answer is not None and answer.status == 200:
                self.accepted[answer.json["playId"]] = kind
            await asyncio.sleep(chance.random() * PAUSE_S_MAX)

    async def _operate(self, until_s: float) -> None:
        chance = random.Random(f"{self._seed} operate")
        while time.monotonic() < until_s:
            await asyncio.sleep(OPERATION_EVERY_S)
            play_ids = list(self.accepted)[-200:]
            if not play_ids:
                continue
            play = f"/api/plays/{chance.choice(play_ids)}"
            match chance.choice(("hold", "hold", "retry", "retry", "cancel")):
                case "cancel":
                    await self._call("DELETE", play)
                case verb:
                    await self._call("POST", f"{play}/{verb}", {})

    async def _help(self) -> None:
        """Resume what somebody holds and approve what waits, as people do in the end."""
        while True:
            await asyncio.sleep(HELP_EVERY_S)
            for play in [*await self._listed("ON_HOLD"), *await self._listed("DEFERRED")]:
                if play["hold"]:
                    await self._call("POST", f"/api/plays/{play['id']}/resume", {})
            for play in await self._listed("WAIT"):
                if play["flowId"] == self._flows["gate"]:
                    decision = {"layerId": "sign", "decision": "approved"}
                    await self._call("POST", f"/api/plays/{play['id']}/approve", decision)

    async def _kill(self, until_s: float) -> None:
        chance = random.Random(f"{self._seed} kill")
        while time.monotonic() < until_s:
            await asyncio.sleep(chance.uniform(*KILL_EVERY_S))
            name = chance.choice(VICTIMS)
            pid = self._system.kill(name)
            self.killed[name] += 1
            await asyncio.to_thread(self._system.wait_restarted, name, pid)

    # ── what must be true in the end ────────────────────────────────────────────────────────────────

    async def _rest(self) -> None:
        deadline_s = time.monotonic() + REST_S_MAX
        left = dict(self.accepted)
        while left and time.monotonic() < deadline_s:
            for play_id in list(left):
                answer = await self._call("GET", f"/api/plays/{play_id}")
                if answer is not None and answer.status == 200 and answer.json["state"] in TERMINAL:
                    kind, state, error = left.pop(play_id), answer.json["state"], answer.json["error"]
                    if state != kind.ends and error != "CANCELLED":
                        self.wrong.append(f"{kind.name} {play_id}: {state} {error}")
        self.wrong += [f"{kind.name} {play_id} has not ended" for play_id, kind in left.items()]
        # Children and error flows have no one who counts them, but they are plays.
        for state in OPEN:
            self.wrong += [f"{play['id']} is still {state}" for play in await self._listed(state)]

    async def _slots_are_free(self) -> None:
        """Run one more play than a limited flow takes at once: all of them must get through."""
        for kind in KINDS:
            if not kind.max_concurrent:
                continue
            run = f"/api/flows/{self._flows[kind.name]}/run"
            bodies = [{"args": kind.args(random.Random(0))} for _ in range(kind.max_concurrent + 1)]
            answers = await asyncio.gather(*(self._call("POST", run, body) for body in bodies))
            for answer in answers:
                if answer is None or answer.status != 200:
                    self.wrong.append(f"{kind.name}: {answer}")
                    continue
                play = await self._api.wait_for(answer.json["playId"])
                if play["state"] != kind.ends:
                    self.wrong.append(f"{kind.name} at rest: {play['state']} {play['error']}")

    def _logs_are_clean(self) -> None:
        for name in self._system.names():
            lines = self._system.logs(name).splitlines()
            self.wrong += [f"{name}: {line[:500]}" for line in lines if '"level": "error"' in line]

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────

    async def _listed(self, state: str) -> list[dict[str, Any]]:
        answer = await self._call("GET", f"/api/plays?state={state}&size=100")
        return [] if answer is None else list(answer.json["data"])

    async def _call(self, method: str, path: str, body: Any = None) -> Answer | None:
        """Make a call, again as long as somebody is away; None when nobody came back."""
        deadline_s = time.monotonic() + AWAY_S_MAX
        while time.monotonic() < deadline_s:
            try:
                answer = await self._api.call(method, path, body)
            except aiohttp.ClientError:
                answer = None
            if answer is not None and answer.status != 503:
                if answer.status not in EXPECTED:
                    self.wrong.append(f"{method} {path}: {answer.status} {answer.json}")
                return answer
            await asyncio.sleep(RETRY_PAUSE_S)
        self.wrong.append(f"{method} {path}: nobody answered")
        return None


def main() -> int:
    """Run the soak and return its exit code: 1 when anything went wrong."""
    words = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    words.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="how long to start and kill (60)"
    )
    words.add_argument(
        "--seed", type=int, default=None, metavar="N", help="what happens; else drawn and printed"
    )
    arguments = words.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wrong = runner.run(_soak(arguments.seconds, seed))
    print("\n".join([f"{len(wrong)} wrong", *wrong[:20]]) if wrong else "nothing was lost")
    return 1 if wrong else 0


async def _soak(seconds: float, seed: int) -> list[str]:
    with running_system("--executors", "2", "--schedulers", "2", environ=SETTINGS) as system:
        async with Api.logged_in(system) as api:
            soak = Soak(system, api, await defined(api), seed)
            await soak.run(seconds)
            return soak.wrong


if __name__ == "__main__":
    raise SystemExit(main())

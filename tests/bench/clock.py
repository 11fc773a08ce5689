"""`python -m tests.bench.clock`: many schedules due in one second, a scheduler killed meanwhile; how late is each?

The judge is the log: when the server stored each start command, and when the executor's first commit of the play.
"""

import argparse
import asyncio
import time
from datetime import UTC, datetime, timedelta

import uvloop

from libs.common import codec, subjects
from libs.common.bus import Bus, Stored
from tests.bench.processes import machine
from tests.e2e.api import Api
from tests.fixtures.system import running_system
from tests.waiting import eventually

AT_ONCE = 32
WITHIN_S = 120.0
# Timers fire 1 to 16 s before their time: earlier than this all of them do.
AHEAD_S_MIN = 20.0
PURE = {"ref": "one", "appId": "var", "args": {"values": {"a": 1}}}


def main() -> None:
    """Run the bench and print its figures."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.clock", description=__doc__)
    words.add_argument("--schedules", type=int, default=10_000, metavar="N", help="how many (10,000)")
    words.add_argument(
        "--define-s", type=float, default=60.0, help="seconds that defining them may take (60)"
    )
    words.add_argument("--no-kill", action="store_true", help="let both schedulers live")
    arguments = words.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(arguments.schedules, arguments.define_s, kill=not arguments.no_kill))


async def _run(count: int, define_s: float, *, kill: bool) -> None:
    with running_system("--schedulers", "2") as system:
        async with Api.logged_in(system) as api:
            flow = await api.create_flow("Burst", PURE)
            due = datetime.now(UTC) + timedelta(seconds=define_s + AHEAD_S_MIN)
            due = due.replace(second=0, microsecond=0) + timedelta(minutes=1)
            began = time.monotonic()
            await _define(api, flow["id"], count, f"{due.minute} {due.hour} * * *")
            print(f"{count:,} schedules defined in {time.monotonic() - began:.1f} s, due at {due:%H:%M:%S}")
            bus = await Bus.connect(system.env()["HEADRACE_NATS_URL"], name="bench")
            try:
                left_s = (due - datetime.now(UTC)).total_seconds()
                await eventually(lambda: _begun(bus), within_s=left_s + WITHIN_S)
                before = machine()
                if kill:
                    system.kill("scheduler-0")
                    print("scheduler-0 killed")

                async def all_projected() -> bool:
                    rows = await api.get(f"/api/flows/{flow['id']}/plays?state=DONE&size=1")
                    return bool(rows["total"] >= count)

                await eventually(all_projected, within_s=WITHIN_S)
                after = machine()
                starts = await bus.load(subjects.plays_stream(0), subjects.shard_starts(0))
                commits = await bus.load(subjects.plays_stream(0), subjects.shard_events(0))
            finally:
                await bus.close()
    ids = [codec.decode_message(start.data).data.schedule_id for start in starts]
    print(f"start commands {len(starts):,}, of schedules {len(set(ids)):,}")
    _print("start command stored", [_stored_at(start) - due for start in starts])
    _print("play ended", [_stored_at(commit) - due for commit in commits])
    print(f"cores stolen by other guests: {(after.stolen_s - before.stolen_s):.1f} core seconds")


async def _define(api: Api, flow_id: str, count: int, cron: str) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def define(number: int) -> None:
        async with slots:
            body = {"name": f"s{number}", "flowId": flow_id, "cron": cron}
            await api.post("/api/schedules", body, status=201)

    await asyncio.gather(*(define(number) for number in range(count)))


async def _begun(bus: Bus) -> bool:
    return bool(await bus.load(subjects.plays_stream(0), subjects.shard_starts(0)))


def _print(what: str, late: list[timedelta]) -> None:
    late.sort()
    shown = ", ".join(
        f"{name} {late[min(len(late) - 1, int(len(late) * share))].total_seconds():.2f} s"
        for name, share in (("first", 0.0), ("median", 0.5), ("p99", 0.99), ("last", 1.0))
    )
    print(f"{what}: {shown} after the minute")


def _stored_at(message: Stored) -> datetime:
    return datetime.fromisoformat(message.headers["Nats-Time-Stamp"][:26].rstrip("Z") + "+00:00")


if __name__ == "__main__":
    main()

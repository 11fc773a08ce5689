"""`python -m tests.bench`: start the whole system on an empty home, measure it over HTTP, print a table.

The figures compare one machine with itself: the generator shares the cores with the system.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import uvloop

from tests.bench import parts, processes, profiles, report, starts
from tests.bench.measure import Bench, Bounds
from tests.bench.origin import origin
from tests.bench.scenarios import SCENARIOS
from tests.fixtures.system import ROOT

FULL = Bounds(
    in_flight=(1, 16, 64, 256),
    level_s=4.0,
    level_plays_max=20_000,
    warm_up_s=1.0,
    lag_s_max=10.0,
    total_s=200.0,
)
REST_S = 2.0
QUICK = Bounds(
    in_flight=(1, 64), level_s=1.5, level_plays_max=5_000, warm_up_s=0.5, lag_s_max=3.0, total_s=32.0
)


def main() -> int:
    """Run the bench and return its exit code."""
    words = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    words.add_argument("--quick", action="store_true", help="at most 40 seconds instead of 4 minutes")
    words.add_argument(
        "--json", type=Path, metavar="FILE", help="where the figures go (a file in the temp folder)"
    )
    words.add_argument(
        "--scenario",
        action="append",
        choices=[scenario.name for scenario in SCENARIOS],
        help="only this one; may be repeated: "
        + "; ".join(f"{scenario.name} {scenario.meaning}" for scenario in SCENARIOS),
    )
    words.add_argument(
        "--in-flight", action="append", type=int, metavar="N", help="only this level; may be repeated"
    )
    words.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="HEADRACE_NAME=VALUE",
        help="a setting of the system; may be repeated: --set HEADRACE_DURABILITY=relaxed",
    )
    words.add_argument("--markdown", action="store_true", help="also print the table for a page")
    words.add_argument("--profile", action="store_true", help="also print where the services' CPU time goes")
    arguments = words.parse_args()
    home = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    home.chmod(0o711)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(_run(home, arguments))
    finally:
        shutil.rmtree(home)
    file = arguments.json or Path(tempfile.gettempdir()) / "headrace-bench.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n")
    print(f"figures: {file}")
    return 0


async def _run(home: Path, arguments: argparse.Namespace) -> report.Report:
    bounds = QUICK if arguments.quick else FULL
    if arguments.in_flight:
        bounds = replace(bounds, in_flight=tuple(arguments.in_flight))
    ends_s = time.monotonic() + bounds.total_s
    names = tuple(arguments.scenario or [scenario.name for scenario in SCENARIOS])
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    environ = {"HEADRACE_OUTBOUND_ALLOW": "127.0.0.1"} | settings
    machine = report.machine(starts.fsync_ms(home))
    print(report.head(machine, settings))
    with starts.running(home, environ) as (system, began_s):
        cold, api, flow = await starts.first_play(system, began_s, None)
        await api.close()
    samples = home / "samples"
    if arguments.profile:
        samples.mkdir()
        environ |= profiles.environment(samples)
    async with origin() as url:
        with starts.running(home, environ) as (system, began_s):
            warm, api, _ = await starts.first_play(system, began_s, flow)
            bench = Bench(api, home, bounds, url, ends_s)
            print(report.COLUMNS)
            await bench.run(names, lambda level: print(report.row(level), flush=True))
            at_rest = await bench.at_rest(REST_S)
            memory = processes.peak_mib(processes.of_home(home))
            await api.close()
    measured = report.Report(
        machine=machine,
        cold=cold,
        warm=warm,
        levels=bench.levels,
        skipped=bench.skipped,
        at_rest_cpu_ms_per_s=at_rest,
        peak_mib=memory,
        settings=settings,
        parts_us=parts.costs_us(),
    )
    print(report.tail(measured))
    if arguments.markdown:
        print(report.markdown(measured.levels))
    if arguments.profile:
        print(profiles.text(samples, ROOT))
    return measured


if __name__ == "__main__":
    sys.exit(main())

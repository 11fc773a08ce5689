"""Background work that dies takes its service with it, so that it is started again."""

import asyncio
import os
import subprocess
import sys

from libs.common.background import keep, on_death

SERVICE = """
import asyncio
from libs.common import background, service

class App:
    def __init__(self, config, bus, health): pass
    def checks(self): return {}
    async def start(self):
        self.task = background.keep(self.work(), name="counting")
    async def work(self):
        await asyncio.sleep(0)
        raise ZeroDivisionError("cannot count")
    async def stop(self):
        print("stopped", flush=True)

service.run("gateway", App)
"""


def test_a_service_whose_work_died_stops_and_says_why(nats_url: str) -> None:
    environ = {**os.environ, "HEADRACE_NATS_URL": nats_url, "HEADRACE_OPS_PORT": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", SERVICE], env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert (ran.returncode, ran.stdout) == (1, "stopped\n"), ran.stderr
    assert "background_work_died" in ran.stderr
    assert "cannot count" in ran.stderr


async def test_work_that_is_done_or_cancelled_is_no_death() -> None:
    async def work() -> None:
        return

    deaths = []
    on_death(lambda: deaths.append("died"))
    tasks = [keep(work(), name="done"), keep(work(), name="cancelled")]
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert deaths == []

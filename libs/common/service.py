"""How every service begins and ends: configuration, bus, topology, its own parts, and a graceful stop."""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import structlog

from libs.common import background, health, log, topology, trace
from libs.common.bus import Bus
from libs.common.config import Config, from_env
from libs.common.errors import HeadraceError

# Allocations before the young are looked through, and how often before the older are; Python's own first is 700.
GC_THRESHOLDS = (20_000, 20, 20)

logger = structlog.get_logger(__name__)


class App(Protocol):
    """The parts of one service."""

    async def start(self) -> None:
        """Begin to work; returns when the service can be used."""
        ...

    async def stop(self) -> None:
        """Take no more work, finish or hand over what is under way."""
        ...

    def checks(self) -> Mapping[str, health.Check]:
        """Return what readiness depends on beside the bus, by name."""
        ...


MakeApp = Callable[[Config, Bus, health.Health], App]


def run(service: str, make_app: MakeApp) -> None:
    """Run a service until SIGTERM or SIGINT; the process's main function.

    Exits 1 when it cannot start, or when work that must not end died (`background`).
    """
    config = from_env(Config)
    log.configure(service=service, instance=config.instance, level=config.log_level)
    trace.configure(service=service, instance=config.instance, endpoint=config.otlp_endpoint)
    try:
        died = _run_loop(_serve(config, make_app))
    except HeadraceError as error:
        logger.error("start_failed", error=error.message)  # noqa: TRY400 - the sentence says it all
        sys.exit(1)
    finally:
        trace.shutdown()
    if died:
        sys.exit(1)


def _run_loop(main: Coroutine[None, None, bool]) -> bool:
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def _settle_memory() -> None:
    # What the start made stays; looking through it again and again costs a tenth of a busy service's CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(config: Config, make_app: MakeApp) -> bool:
    """Serve until told to stop; tell whether that was because background work died."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    died = False

    def end() -> None:
        nonlocal died
        # What goes wrong while everything stops is not why it stops.
        died = died or not stopping.is_set()
        stopping.set()

    background.on_death(end)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    bus = await Bus.connect(config.nats_url, name=config.instance)
    await topology.ensure(bus, config)

    async def nats_check() -> str | None:
        return None if bus.connected else "NATS cannot be reached"

    state = health.Health({"nats": nats_check})
    app = make_app(config, bus, state)
    state.checks.update(app.checks())
    runner = await health.serve(state, host=config.host, port=config.ops_port, reuse_port=config.reuse_port)
    try:
        await app.start()
        _settle_memory()
        state.started = True
        logger.info("service_started")
        await stopping.wait()
        state.draining = True
        logger.info("service_stopping")
        await app.stop()
    finally:
        await runner.cleanup()
        await bus.close()
    return died

"""What plays leave behind: modules clean up when their play has ended, and a sweep finds what a crash left.

A crash between a play's end and its clean-up leaves folders of plays that have ended; the sweep asks the log which
ones these are, when an executor starts and every hour.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from libs.common import background
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.errors import HeadraceError
from libs.common.messages.play import TERMINAL
from libs.common.subjects import PlayKey, parse_play, play_key, plays_stream
from services.executor.parts import Parts
from services.executor.plan import Plan
from services.executor.storage import Storage

SWEEP_INTERVAL_S = 3600.0

log = structlog.get_logger(__name__)


async def clean_up(parts: Parts, key: PlayKey, plan: Plan) -> None:
    """Let the modules of a flow clean up after a play that has ended; what goes wrong is logged and left."""
    for module in parts.registry.cleaning:
        if module.app_id not in plan.app_ids:
            continue
        try:
            await module.after_play(key.company_id, key.play_id, parts.services)
        except Exception:
            # The play has ended, whatever a module makes of it.
            log.exception("clean_up_failed", play=key.play_id, module=module.app_id)


@asynccontextmanager
async def sweeping(storage: Storage, bus: Bus, clock: Clock, *, shards: int) -> AsyncIterator[None]:
    """Sweep now and every hour, until the end of the block."""
    task = background.keep(_keep_sweeping(storage, bus, clock, shards), name="leftovers")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_sweeping(storage: Storage, bus: Bus, clock: Clock, shards: int) -> None:
    while True:
        try:
            await sweep(storage, bus, shards=shards)
            await storage.drop_old_drafts(now_s=clock.now().timestamp())
        except (HeadraceError, OSError) as error:
            log.warning("sweep_failed", error=str(error))
        await asyncio.sleep(SWEEP_INTERVAL_S)


async def sweep(storage: Storage, bus: Bus, *, shards: int) -> int:
    """Delete the folders of plays that have ended or that the log has forgotten; return how many."""
    deleted = 0
    for folder in await storage.temp_folders():
        key = play_key(folder.company_id, "*", folder.play_id, shards=shards)
        newest = await bus.last(plays_stream(key.shard), key.events)
        if newest is None or parse_play(newest.subject)[1] in TERMINAL:
            deleted += await storage.remove_temp_folder(folder.company_id, folder.play_id)
    if deleted:
        log.info("leftovers_deleted", folders=deleted)
    return deleted

"""The drivers of one executor: which plays it drives, their signs of life, and who is told that a play moved (R12)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from libs.common import ids, metrics
from libs.common.bus import Bus, Message
from libs.common.clock import Clock
from libs.common.codec import Context, encode_message, source_of
from libs.common.consumer import Delivery
from libs.common.errors import HeadraceError, Unavailable
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from services.executor.drive import Drive

ASK_DRIVER_TIMES = 2
HAND_OVER_DEADLINE_S = 10.0

log = structlog.get_logger(__name__)


class Drivers:
    """Knows every drive of this process; a parked play has none. `left` holds those that a stop cut short."""

    def __init__(self, bus: Bus, clock: Clock, *, ack_wait_s: float) -> None:
        self.left: list[Drive] = []
        self._bus = bus
        self._clock = clock
        self._ack_wait_s = ack_wait_s
        # Several of a play at once: a redelivery, or a cancel that overtook its start, may meet a driver in the same
        # process.
        self._drives: dict[str, list[Drive]] = {}
        self._replies: set[asyncio.Task[None]] = set()
        metrics.DRIVING.set_function(lambda: sum(map(len, self._drives.values())))

    def add(self, drive: Drive) -> None:
        """Keep this drive alive and tell it what is new, until it is removed."""
        self._drives.setdefault(drive.key.play_id, []).append(drive)

    def remove(self, drive: Drive) -> None:
        """Forget a drive that is over."""
        of_play = self._drives[drive.key.play_id]
        of_play.remove(drive)
        if not of_play:
            del self._drives[drive.key.play_id]

    def drives(self, key: PlayKey, delivery: Delivery, epoch: int) -> bool:
        """Tell whether this very command drives its play here already, in this epoch."""
        of_play = self._drives.get(key.play_id)
        if of_play is None:
            return False
        return any(drive.delivery.sequence == delivery.sequence and drive.epoch == epoch for drive in of_play)

    def nudged(self, message: Message) -> None:
        """Tell the drivers of a play that its log may hold something new, and answer who asks whether there is one."""
        drives = self._drives.get(message.subject.rpartition(".")[2], [])
        for drive in drives:
            drive.nudge()
        if drives and message.reply:
            task = asyncio.get_running_loop().create_task(self._bus.publish(message.reply, b"driving"))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def answers(self, key: PlayKey) -> bool:
        """Tell whether a driver of this play, here or elsewhere, gives a sign of life."""
        # More than once, for a nudge can be lost; longer in all than a driver may pause unseen (R11).
        for _ in range(ASK_DRIVER_TIMES):
            try:
                await self._bus.request(key.nudge, timeout_s=self._ack_wait_s / 4)
            except Unavailable:
                continue
            return True
        return False

    async def heartbeats(self) -> None:
        """Keep every driven play's command from being redelivered, and see what others appended (R12)."""
        interval_s = self._ack_wait_s / 3
        async with asyncio.TaskGroup() as group:
            looking: asyncio.Task[Any] | None = None
            while True:
                await asyncio.sleep(interval_s)
                drives = [drive for of_play in self._drives.values() for drive in of_play]
                for drive in drives:
                    await self._beat(drive, drive.keep)
                # A look may wait for its answer longer than a command may go without a sign of life.
                if looking is None or looking.done():
                    looking = group.create_task(self._look(drives))

    async def _look(self, drives: list[Drive]) -> None:
        await asyncio.gather(*(self._beat(drive, drive.look) for drive in drives))

    async def _beat(self, drive: Drive, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except HeadraceError as error:
            log.warning("heartbeat_failed", play=drive.key.play_id, error=error.message)
        except Exception:
            # Whatever is wrong with one play, the others' heartbeats go on.
            log.exception("heartbeat_crashed", play=drive.key.play_id)

    async def hand_over(self, drive: Drive) -> None:
        """Ask for another driver of a play that was left: nobody has to wait for a redelivery."""
        key = drive.key
        revive = m.RevivePlay(at=self._clock.now(), epoch=drive.epoch)
        context = Context(source=source_of(key.company_id, key.flow_id), subject=key.play_id)
        id = ids.commit_id()
        try:
            data = encode_message(revive, id=id, context=context)
            await self._bus.append(key.command("revive"), data, id=id, deadline_s=HAND_OVER_DEADLINE_S)
        except Unavailable as error:
            log.warning("hand_over_failed", play=key.play_id, error=error.message)
            return
        log.info("play_handed_over", play=key.play_id)

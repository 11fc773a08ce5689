"""All channels of all companies as they are now: read from the log once, then followed (D7).

A message that was lost on the way is caught up with at the next look into the log.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec
import structlog

from libs.common import background, codec, subjects
from libs.common.bus import Bus, Message, Stored, Subscription
from libs.common.errors import HeadraceError
from libs.common.messages.channel import Channel, ChannelEvent

LOOK_AGAIN_S = 30.0
RETRY_DELAY_S = 0.5
EVERY_CHANNEL = subjects.definition("channel", "*", "*")

log = structlog.get_logger(__name__)
# Called with a channel that is new or has changed, deleted ones included.
Listener = Callable[[Channel], None]


class ChannelBook:
    """The channels that are there, and who wants to know when one changes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._channels: dict[tuple[str, str], Channel] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._read_upto = 0
        self._listeners: list[Listener] = []
        self._look = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def on_change(self, listener: Listener) -> None:
        """Have a listener told of every change from now on, and of what is there as soon as it is read."""
        self._listeners.append(listener)
        for channel in self._channels.values():
            listener(channel)

    def channels(self) -> Iterable[Channel]:
        """Return the channels that are not deleted."""
        return tuple(self._channels.values())

    def newest(self, channel: Channel) -> Channel:
        """Return a channel as it is now; one that is deleted is told so and disabled."""
        known = self._channels.get((channel.company_id, channel.id))
        return known or msgspec.structs.replace(channel, deleted=True, enabled=False, port=None)

    def of_company(self, company_id: str, kind: str) -> list[Channel]:
        """Return the enabled channels of one company and kind, oldest first."""
        found = [
            channel
            for (owner, _), channel in self._channels.items()
            if owner == company_id and channel.kind == kind and channel.enabled
        ]
        return sorted(found, key=lambda channel: (channel.created_at, channel.id))

    async def start(self) -> None:
        """Follow what changes; what is there is read in the background, for the log may be away."""
        self._subscription = await self._bus.subscribe(subjects.live_definition("channel"), self._changed)
        self._bus.on_reconnected(self._look.set)
        self._task = background.keep(self._read_for_ever(), name="channels")

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.close()

    async def _read_for_ever(self) -> None:
        while True:
            self._look.clear()
            delay_s = LOOK_AGAIN_S
            try:
                await self._read()
            except HeadraceError as error:
                log.debug("channels_not_read", reason=error.message)
                delay_s = RETRY_DELAY_S
            try:
                async with asyncio.timeout(delay_s):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _read(self) -> None:
        stored = await self._bus.load(subjects.DEFINITIONS, EVERY_CHANNEL, since=self._read_upto + 1)
        for newest in _newest(stored):
            self._take(newest.subject, newest.data, newest.sequence)
        if stored:
            self._read_upto = stored[-1].sequence

    def _changed(self, message: Message) -> None:
        subject = subjects.stored_definition(message.subject)
        self._take(subject, message.data, int(message.headers.get("Nats-Sequence", "0")))

    def _take(self, subject: str, data: bytes, sequence: int) -> None:
        try:
            event = codec.last_event(data).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.error("definition_unreadable", subject=subject, sequence=sequence, error=str(error))  # noqa: TRY400
            return
        if not isinstance(event, ChannelEvent):
            log.error("definition_unreadable", subject=subject, sequence=sequence, error="no channel")
            return
        channel = event.channel
        place = (channel.company_id, channel.id)
        if self._sequences.get(place, 0) >= sequence:
            return
        self._sequences[place] = sequence
        if channel.deleted:
            self._channels.pop(place, None)
        else:
            self._channels[place] = channel
        for listener in self._listeners:
            listener(channel)


def _newest(stored: list[Stored]) -> list[Stored]:
    return list({message.subject: message for message in stored}.values())

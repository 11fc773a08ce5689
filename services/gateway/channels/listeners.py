"""One listener per enabled channel, on the channel's port; whichever gateway of a host has it serves it (ADR 28).

A port that another gateway of the host has, or anybody else, is tried again once a second: when that gateway dies, the
next try takes over.
"""

import asyncio
from typing import NamedTuple

import structlog

from libs.common import background, metrics
from libs.common.config import Config
from libs.common.messages.channel import Channel
from services.gateway.channels.book import ChannelBook
from services.gateway.channels.server import ChannelServer, Tools

TAKE_OVER_S = 1.0
FINISH_S_MAX = 5.0
BACKLOG = 512

log = structlog.get_logger(__name__)


class _Listener(NamedTuple):
    """A channel that this process serves."""

    port: int
    server: ChannelServer
    socket: asyncio.Server


class Listeners:
    """Opens and closes ports as channels are enabled, changed, disabled."""

    def __init__(self, config: Config, book: ChannelBook, tools: Tools) -> None:
        self._host = config.channel_host
        self._book = book
        self._tools = tools
        self._open: dict[str, _Listener] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._refused: set[int] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        metrics.CHANNELS_OPEN.set_function(lambda: len(self._open))

    async def start(self) -> None:
        """Begin to listen where channels are enabled, and go on as they change."""
        self._book.on_change(self._take)
        self._task = background.keep(self._follow(), name="channel listeners")

    async def stop(self) -> None:
        """Accept nothing more and finish the requests under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for channel_id in list(self._open):
            self._close(channel_id)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _take(self, channel: Channel) -> None:
        listener = self._open.get(channel.id)
        if listener is not None:
            # Requests on connections that are open see the change at once.
            listener.server.channel = channel
            listener.server.say_goodbye()
            if _port_of(channel) != listener.port:
                self._close(channel.id)
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            unserved = [
                channel
                for channel in self._book.channels()
                if _port_of(channel) is not None and channel.id not in self._open
            ]
            missing = False
            for channel in unserved:
                missing |= not await self._listen(channel)
            try:
                async with asyncio.timeout(TAKE_OVER_S if missing else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _listen(self, channel: Channel) -> bool:
        port = _port_of(channel)
        assert port is not None
        server = ChannelServer(channel, self._tools)
        try:
            socket = await asyncio.get_running_loop().create_server(server, self._host, port, backlog=BACKLOG)
        except OSError as error:
            if port not in self._refused:
                self._refused.add(port)
                log.info("channel_port_taken", channel=channel.id, port=port, reason=str(error))
            return False
        self._refused.discard(port)
        self._open[channel.id] = _Listener(port, server, socket)
        log.info("channel_listening", channel=channel.id, host=self._host, port=port)
        # It may have changed while the port was being opened.
        self._take(self._book.newest(channel))
        return True

    def _close(self, channel_id: str) -> None:
        listener = self._open.pop(channel_id)
        listener.server.say_goodbye()
        # Before anything is awaited: whoever comes after this finds nobody.
        listener.socket.close()
        listener.server.pre_shutdown()
        task = asyncio.create_task(listener.server.shutdown(FINISH_S_MAX), name=f"close channel {channel_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        log.info("channel_closed", channel=channel_id, port=listener.port)


def _port_of(channel: Channel) -> int | None:
    return channel.port if channel.enabled and not channel.deleted else None

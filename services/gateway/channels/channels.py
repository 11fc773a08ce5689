"""The channels that a gateway serves over HTTP and WebSockets, and what it takes to do so."""

from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from services.gateway.channels.book import ChannelBook
from services.gateway.channels.invocation import Invocation
from services.gateway.channels.listeners import Listeners
from services.gateway.channels.recorder import Recorder
from services.gateway.channels.secrets import ChannelSecrets
from services.gateway.channels.server import Tools
from services.gateway.starts import Starts


class Channels:
    """All of it: started after the gateway knows of channels, stopped before it stops waiting for plays."""

    def __init__(self, config: Config, bus: Bus, clock: Clock, book: ChannelBook, starts: Starts) -> None:
        self._recorder = Recorder(bus)
        tools = Tools(
            Invocation(starts), ChannelSecrets(config), self._recorder, clock, config.body_bytes_max
        )
        self._listeners = Listeners(config, book, tools)

    async def start(self) -> None:
        """Listen where channels are enabled."""
        await self._recorder.start()
        await self._listeners.start()

    async def stop(self) -> None:
        """Finish the requests under way and record them."""
        await self._listeners.stop()
        await self._recorder.stop()

"""What the routes share."""

from typing import NamedTuple

from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.health import Health
from libs.common.payloads import Payloads
from services.gateway.auth import Auth
from services.gateway.channels.book import ChannelBook
from services.gateway.definitions import Definitions
from services.gateway.feeds import Feeds
from services.gateway.lines import Lines
from services.gateway.live import Live
from services.gateway.plays import Plays
from services.gateway.positions import Positions
from services.gateway.readiness import SystemReadiness
from services.gateway.starts import Starts
from services.gateway.store import Store


class Parts(NamedTuple):
    """The parts of one gateway."""

    config: Config
    bus: Bus
    clock: Clock
    health: Health
    auth: Auth
    definitions: Definitions
    plays: Plays
    live: Live
    feeds: Feeds
    positions: Positions
    readiness: SystemReadiness
    store: Store
    starts: Starts
    channels: ChannelBook
    payloads: Payloads
    lines: Lines


def assemble(config: Config, bus: Bus, clock: Clock, health: Health) -> Parts:
    """Return the parts of one gateway, not yet started."""
    positions = Positions(config.shards)
    definitions = Definitions(bus, replicated=config.replicas > 1)
    plays, live = Plays(bus, config.shards), Live(bus, clock)
    payloads = Payloads(bus, clock, inline_bytes_max=config.payload_inline_bytes_max)
    return Parts(
        config=config,
        bus=bus,
        clock=clock,
        health=health,
        auth=Auth(config, bus, clock),
        definitions=definitions,
        plays=plays,
        live=live,
        feeds=Feeds(bus, positions, config.shards),
        positions=positions,
        readiness=SystemReadiness(config, bus, clock, health),
        store=Store(bus, positions, definitions),
        starts=Starts(bus, clock, definitions, plays, live, positions, payloads),
        channels=ChannelBook(bus),
        payloads=payloads,
        lines=Lines(bus, live, company_plays_max=config.company_plays_max, shards=config.shards),
    )

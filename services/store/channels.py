"""Channels and their routes: decided, listed, and given their ports (spec flow8 section 14).

Ports, and the names of MCP tools, are unique beyond one channel: an event that takes one is appended only if no
channel of anybody has changed since it was decided, so no two stores give the same port away.
"""

import asyncio

import msgspec

from libs.common import codec, subjects
from libs.common.bus import Bus
from libs.common.cipher import Cipher
from libs.common.errors import Conflict, NotFound
from libs.common.ids import is_id
from libs.common.messages.channel import (
    AddRoute,
    AnyChannelCommand,
    Channel,
    ChannelEvent,
    ChannelSummary,
    ChannelView,
    CreateChannel,
    DeleteChannel,
    DeleteRoute,
    GetChannel,
    ListChannels,
    UpdateChannel,
    UpdateRoute,
    channel_view,
    hmac_context,
    token_context,
)
from libs.common.messages.flow import FlowEvent
from libs.common.messages.query import Reply, Rows
from libs.common.messages.request import ListRequests, RequestView
from services.store.claims import PERMANENT, Claims
from services.store.database import Row
from services.store.domain import channel as rules
from services.store.domain import channel_route as route_rules
from services.store.domain.names import is_permanent_id
from services.store.ledger import Decided, Ledger, Stand, check_command
from services.store.listing import Listing, Where

_REQUEST = """
    id, channel_id, route_id, method, path, status, play_ids, duration_ms, headers, ip, body_bytes, at
"""
EVERY_CHANNEL = subjects.definition("channel", "*", "*")


class Channels:
    """Answers `cmd.channel` and `qry.channel`."""

    def __init__(self, bus: Bus, ledger: Ledger, listing: Listing, cipher: Cipher, ports: range) -> None:
        self._bus = bus
        self._ledger = ledger
        self._listing = listing
        self._cipher = cipher
        self._ports = ports
        # Those that look at all channels wait for each other here; between stores the optimistic lock decides.
        self._settling = asyncio.Lock()

    async def handle(self, command: AnyChannelCommand) -> Reply:
        """Decide a command and return the channel after it, with its routes.

        Raises Invalid naming the field, NotFound (CHANNEL_NOT_FOUND, ROUTE_NOT_FOUND), Refused (NO_PORT_AVAILABLE,
        ROUTE_TAKEN, TOOL_NAME_TAKEN and limits).
        """
        check_command(command)
        if not is_id(command.channel_id):
            rules.found(None, command.channel_id)
        subject = subjects.definition("channel", command.company_id, command.channel_id)

        async def rule(known: Stand | None) -> Decided:
            event = await self._decide(command, _channel(known))
            if rules.settles_alone(event):
                return Decided(event)
            return await self._settle(event, subject, known)

        if isinstance(command, CreateChannel | UpdateChannel):
            async with self._settling:
                done = await self._ledger.commit(command, subject, rule)
        else:
            done = await self._ledger.commit(command, subject, rule)
        data = msgspec.Raw(codec.encode(channel_view(done.event.channel)))
        return Reply(data=data, sequences={subjects.DEFINITIONS: done.sequence})

    async def page(self, query: ListChannels) -> Rows:
        """Return a page of channels without their routes, oldest first."""
        await self._listing.caught_up(query)
        where = (
            Where(query.company_id)
            .add("deleted = ", value=False)
            .add("kind = ", query.kind)
            .add("enabled = ", query.enabled)
        )
        rows, total = await self._listing.page("shown", "channels", where, "created_at, id", query.page)
        return Rows([msgspec.json.decode(row["shown"], type=ChannelSummary) for row in rows], total)

    async def get(self, query: GetChannel) -> ChannelView:
        """Return one channel with its routes. Raises NotFound (CHANNEL_NOT_FOUND)."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("id = ", query.channel_id).add("deleted = ", value=False)
        row = await self._listing.row("shown", "channels", where)
        if row is None:
            raise NotFound(f"there is no channel {query.channel_id[:80]}", code="CHANNEL_NOT_FOUND")
        return msgspec.json.decode(row["shown"], type=ChannelView)

    async def requests(self, query: ListRequests) -> Rows:
        """Return a page of what a channel was asked, newest first. Raises NotFound (CHANNEL_NOT_FOUND)."""
        await self.get(
            GetChannel(company_id=query.company_id, after=query.after, channel_id=query.channel_id)
        )
        where = Where(query.company_id).add("channel_id = ", query.channel_id).add("at >= ", query.since)
        rows, total = await self._listing.page(_REQUEST, "channel_requests", where, "n desc", query.page)
        return Rows([_request(row) for row in rows], total)

    async def _decide(self, command: AnyChannelCommand, known: Channel | None) -> ChannelEvent:
        match command:
            case CreateChannel():
                return rules.created(command, known, self._seals(command))
            case UpdateChannel():
                return rules.updated(command, known, self._seals(command))
            case DeleteChannel():
                return rules.deleted(command, known)
        channel = rules.found(known, command.channel_id)
        match command:
            case AddRoute():
                return route_rules.added(command, channel, await self._flow_ids(command))
            case UpdateRoute():
                return route_rules.updated(command, channel, await self._flow_ids(command))
            case DeleteRoute():
                return route_rules.deleted(command, channel)

    async def _settle(self, event: ChannelEvent, subject: str, known: Stand | None) -> Decided:
        stands = await self._ledger.all(EVERY_CHANNEL)
        channels = {channel.id: channel for stand in stands if (channel := _channel(stand)) is not None}
        newest = next((stand for stand in stands if _is(stand, event.channel)), None)
        if (newest.sequence if newest else 0) != (known.sequence if known else 0):
            # What was decided rests on an older state of this channel than the lock would guard.
            raise Conflict(f"{subject} was changed meanwhile")
        others = [channel for channel in channels.values() if channel.id != event.channel.id]
        settled = rules.settled(event, others, self._ports)
        return Decided(settled, lock=EVERY_CHANNEL, expected=stands[-1].sequence if stands else 0)

    def _seals(self, command: CreateChannel | UpdateChannel) -> rules.Seals:
        fields, channel_id = command.fields, command.channel_id
        token, secret = fields.auth_token, fields.hmac_secret
        return rules.Seals(
            token=self._cipher.seal(token, context=token_context(channel_id))
            if isinstance(token, str)
            else None,
            hmac_secret=self._cipher.seal(secret, context=hmac_context(channel_id))
            if isinstance(secret, str)
            else None,
        )

    async def _flow_ids(self, command: AddRoute | UpdateRoute) -> dict[str, str]:
        given = command.fields.target_flow_ids
        found: dict[str, str] = {}
        for name in given[: route_rules.TARGET_FLOWS_MAX] if isinstance(given, list) else ():
            flow_id = await self._flow_id(command.company_id, name)
            if flow_id is not None:
                found[name] = flow_id
        return found

    async def _flow_id(self, company_id: str, name: str) -> str | None:
        flow_id: str | None = name
        if not is_id(name):
            if not is_permanent_id(name):
                return None
            flow_id = await Claims(self._bus, company_id, PERMANENT).owner(name)
        if flow_id is None:
            return None
        known = await self._ledger.last(subjects.definition("flow", company_id, flow_id))
        if known is None or not isinstance(known.event, FlowEvent) or known.event.flow.deleted:
            return None
        return flow_id


def _request(row: Row) -> RequestView:
    play_ids = tuple(row["play_ids"].split(",")) if row["play_ids"] else ()
    return RequestView(
        id=row["id"],
        channel_id=row["channel_id"],
        route_id=row["route_id"] or None,
        method=row["method"],
        path=row["path"],
        status=row["status"],
        play_id=play_ids[0] if play_ids else None,
        play_ids=play_ids,
        duration=row["duration_ms"],
        headers=msgspec.json.decode(row["headers"]),
        ip=row["ip"],
        body_bytes=row["body_bytes"],
        timestamp=row["at"],
    )


def _is(stand: Stand, channel: Channel) -> bool:
    known = _channel(stand)
    return known is not None and (known.id, known.company_id) == (channel.id, channel.company_id)


def _channel(known: Stand | None) -> Channel | None:
    return known.event.channel if known is not None and isinstance(known.event, ChannelEvent) else None

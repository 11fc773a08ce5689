"""The rules for channels: who may call them, and on which port (spec flow8 section 14)."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.channel import (
    AUTH_MODES,
    CHANNEL_KINDS,
    HMAC_STYLES,
    HMAC_TOLERANCE_S_DEFAULT,
    Channel,
    ChannelCreated,
    ChannelDeleted,
    ChannelEvent,
    ChannelFields,
    ChannelUpdated,
    CreateChannel,
    DeleteChannel,
    UpdateChannel,
)
from services.store.domain import fields as check

TOKEN_CHARS_MAX = 512
HMAC_SECRET_CHARS_MAX = 512
HMAC_TOLERANCE_S_MAX = 86_400
CHANNELS_PER_COMPANY_MAX = 500
PORT_MIN, PORT_MAX = 1, 65_535
WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 - how such secrets begin, not one of them


class Seals(NamedTuple):
    """The secrets of a command, encrypted; None where it brings none."""

    token: str | None = None
    hmac_secret: str | None = None


def ports_of(text: str) -> range:
    """Return the ports of `HEADRACE_CHANNEL_PORTS`, such as `7701-7799`. Raises Invalid when it is no range."""
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise Invalid("HEADRACE_CHANNEL_PORTS must be a range of ports such as 7701-7799")
    low, high = map(int, numbers)
    if not PORT_MIN <= low <= high <= PORT_MAX:
        raise Invalid(f"HEADRACE_CHANNEL_PORTS must lie within {PORT_MIN}-{PORT_MAX}, the smaller port first")
    return range(low, high + 1)


def created(command: CreateChannel, known: Channel | None, seals: Seals) -> ChannelCreated:
    """Return the event that makes a channel, its port still to be `settled`. Raises Invalid, Refused."""
    if known is not None:
        raise Refused(f"there is a channel {command.channel_id} already")
    given = command.fields
    if given.name is UNSET:
        raise Invalid("name is required")
    if given.kind is UNSET:
        raise Invalid("kind is required")
    kind = check.one_of(_kind(given.kind), "kind", CHANNEL_KINDS)
    blank = Channel(
        id=command.channel_id,
        company_id=command.company_id,
        name="",
        kind="http",
        created_at=command.at,
        updated_at=command.at,
    )
    made = _changed(msgspec.structs.replace(blank, kind=kind), given, seals)
    return ChannelCreated(at=command.at, by=command.by, origin=command.origin, channel=made)


def updated(command: UpdateChannel, known: Channel | None, seals: Seals) -> ChannelUpdated:
    """Return the event that changes a channel, its port still to be `settled`.

    Raises NotFound (CHANNEL_NOT_FOUND), Invalid naming the field.
    """
    channel = found(known, command.channel_id)
    if command.fields.kind is not UNSET and _kind(command.fields.kind) != channel.kind:
        raise Invalid(f"kind stays {channel.kind}; make another channel instead")
    made = msgspec.structs.replace(_changed(channel, command.fields, seals), updated_at=command.at)
    return ChannelUpdated(at=command.at, by=command.by, origin=command.origin, channel=made)


def deleted(command: DeleteChannel, known: Channel | None) -> ChannelDeleted:
    """Return the event that deletes a channel and forgets its secrets. Raises NotFound (CHANNEL_NOT_FOUND)."""
    channel = found(known, command.channel_id)
    gone = msgspec.structs.replace(
        channel,
        deleted=True,
        enabled=False,
        port=None,
        sealed_token="",
        sealed_hmac_secret="",
        updated_at=command.at,
    )
    return ChannelDeleted(at=command.at, by=command.by, origin=command.origin, channel=gone)


def found(known: Channel | None, channel_id: str) -> Channel:
    """Return the channel. Raises NotFound (CHANNEL_NOT_FOUND) when there is none (any more)."""
    if known is None or known.deleted:
        raise NotFound(f"there is no channel {channel_id[:80]}", code="CHANNEL_NOT_FOUND")
    return known


# ── what other channels have a say in ───────────────────────────────────────────────────────────────


def settles_alone(event: ChannelEvent) -> bool:
    """Tell whether an event holds whatever other channels do: it takes no port and no tool name."""
    channel = event.channel
    if channel.deleted or isinstance(event, ChannelCreated):
        return channel.deleted
    return channel.kind != "mcp" and not _needs_port(channel)


def settled(event: ChannelEvent, others: Iterable[Channel], ports: range) -> ChannelEvent:
    """Return the event with the channel's port: the lowest free one, none when it is disabled (section 14.1).

    `others` are all other channels, of every company. Raises Refused (NO_PORT_AVAILABLE) when all ports are taken, and
    for a tool name that another channel of the company has.
    """
    channel, others = event.channel, [other for other in others if not other.deleted]
    _check_company(event, others)
    if not _needs_port(channel):
        port = channel.port if channel.enabled else None
        return msgspec.structs.replace(event, channel=msgspec.structs.replace(channel, port=port))
    taken = {other.port for other in others}
    port = next((port for port in ports if port not in taken), None)
    if port is None:
        raise Refused(
            f"all ports of {ports[0]}-{ports[-1]} are taken; disable or delete a channel, or widen "
            "HEADRACE_CHANNEL_PORTS",
            code="NO_PORT_AVAILABLE",
        )
    return msgspec.structs.replace(event, channel=msgspec.structs.replace(channel, port=port))


def _needs_port(channel: Channel) -> bool:
    return channel.kind != "mcp" and channel.enabled and channel.port is None


def _check_company(event: ChannelEvent, others: list[Channel]) -> None:
    channel = event.channel
    neighbours = [other for other in others if other.company_id == channel.company_id]
    if isinstance(event, ChannelCreated) and len(neighbours) >= CHANNELS_PER_COMPANY_MAX:
        raise Refused(f"a company has at most {CHANNELS_PER_COMPANY_MAX} channels", code="TOO_MANY_CHANNELS")
    taken = {route.tool_name for other in neighbours for route in other.routes if route.tool_name}
    for route in channel.routes:
        if route.tool_name in taken:
            raise Refused(f"toolName {route.tool_name} is taken by another channel", code="TOOL_NAME_TAKEN")


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────


def _kind(given: str) -> str:
    return "websocket" if given == "ws" else given


def _changed(channel: Channel, given: ChannelFields, seals: Seals) -> Channel:
    new: dict[str, Any] = {}
    if given.name is not UNSET:
        new["name"] = check.name(given.name)
    if given.enabled is not UNSET:
        new["enabled"] = check.boolean(given.enabled, "enabled")
    new |= _auth(channel, given, seals)
    changed = msgspec.structs.replace(channel, **new)
    if not changed.enabled:
        changed = msgspec.structs.replace(changed, port=None)
    _check_auth(changed)
    return changed


def _auth(channel: Channel, given: ChannelFields, seals: Seals) -> dict[str, Any]:
    new: dict[str, Any] = {}
    style: str | None = channel.hmac_style
    if given.hmac_style is not UNSET:
        chosen = given.hmac_style
        style = None if chosen is None else check.one_of(chosen, "hmacStyle", HMAC_STYLES)
        if style not in (None, channel.hmac_style) and given.hmac_secret is UNSET:
            raise Invalid(
                "hmacSecret is required with another hmacStyle, for each has its own form of secrets"
            )
        new["hmac_style"] = style
    if given.hmac_tolerance_seconds is not UNSET:
        seconds = given.hmac_tolerance_seconds
        new["hmac_tolerance_seconds"] = (
            HMAC_TOLERANCE_S_DEFAULT
            if seconds is None
            else check.whole(seconds, "hmacToleranceSeconds", low=1, high=HMAC_TOLERANCE_S_MAX)
        )
    if given.auth_token is not UNSET:
        if given.auth_token is not None:
            _check_token(given.auth_token)
        new["sealed_token"] = seals.token or ""
    if given.hmac_secret is not UNSET:
        if given.hmac_secret is not None:
            _check_secret(given.hmac_secret, style)
        new["sealed_hmac_secret"] = seals.hmac_secret or ""
    mode = _mode(channel, given)
    return new if mode is None else new | {"auth_mode": mode}


def _mode(channel: Channel, given: ChannelFields) -> str | None:
    if given.auth_mode is not UNSET and given.auth_mode is not None:
        return check.one_of(given.auth_mode, "authMode", AUTH_MODES)
    # Whoever gives a token wants it asked for (section 14.1).
    if channel.auth_mode == "public" and isinstance(given.auth_token, str):
        return "header_token"
    return "public" if given.auth_mode is None else None


def _check_token(token: str) -> None:
    text = check.text(token, "authToken", chars_max=TOKEN_CHARS_MAX)
    if not text or not all("!" <= char <= "~" for char in text):
        raise Invalid("authToken must hold printable ASCII without spaces, for it travels in a header")


def _check_secret(secret: str, style: str | None) -> None:
    text = check.text(secret, "hmacSecret", chars_max=HMAC_SECRET_CHARS_MAX)
    if not text or "\0" in text:
        raise Invalid("hmacSecret must not be empty, nor hold the character U+0000")
    if style == "standard-webhooks" and not _is_webhook_secret(text):
        raise Invalid("hmacSecret must be base64, after whsec_ or alone, for hmacStyle standard-webhooks")


def _is_webhook_secret(text: str) -> bool:
    try:
        return len(base64.b64decode(text.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)) > 0
    except (binascii.Error, ValueError):
        return False


def _check_auth(channel: Channel) -> None:
    if channel.kind == "mcp" and channel.auth_mode != "public":
        raise Invalid(
            "authMode: MCP clients bring an API key with the scope mcp; a channel has no token of its own"
        )
    if channel.auth_mode == "header_token" and not channel.sealed_token:
        raise Invalid("authToken is required for authMode header_token")
    if channel.auth_mode == "hmac":
        if channel.kind != "http":
            raise Invalid("authMode hmac is for channels of kind http")
        if channel.hmac_style is None:
            raise Invalid("hmacStyle is required for authMode hmac")
        if not channel.sealed_hmac_secret:
            raise Invalid("hmacSecret is required for authMode hmac")

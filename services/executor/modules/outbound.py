"""Where modules may connect to: the public internet, and what HEADRACE_OUTBOUND_ALLOW names.

Flows are written by people who may not reach the network that the executor stands in. So every address is judged
when a socket for it is made, after name resolution and after redirects: a name that changes its address between a
check and the connection, a number written in an odd way and an address inside an address all end at the same place.
"""

from contextvars import ContextVar
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import socket
from typing import Any

import aiohttp
import msgspec

ALLOW_VARIABLE = "HEADRACE_OUTBOUND_ALLOW"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Public by number, yet answered by the cloud's own hosts: the Azure platform channel.
_PLATFORM_ADDRESSES = frozenset({IPv4Address("168.63.129.16")})
# Set apart (RFC 6890), which Python knows only in part; a cloud answers for its hosts at 192.0.0.192.
_PROTOCOL_ASSIGNMENTS = IPv4Network("192.0.0.0/24")
# IPv4 reached through a translator (RFC 6052); what counts is the address inside.
_NAT64 = IPv6Network("64:ff9b::/96")


class OutboundRefused(aiohttp.ClientError):
    """The guard forbids this address; the message says how to allow it."""


class Attempt(msgspec.Struct):
    """One connection on its way: the host that was asked for, and the addresses that were refused."""

    host: str
    refused: list[str]


_attempt: ContextVar[Attempt | None] = ContextVar("outbound_attempt", default=None)


class OutboundGuard:
    """Judges addresses. `middleware` and `open_socket` belong together, on one aiohttp session."""

    def __init__(self, allow: str) -> None:
        """Read a comma-separated list of host names, addresses and CIDR ranges.

        Raises SystemExit with a sentence when an entry is none of these.
        """
        entries = [entry.strip() for entry in allow.split(",") if entry.strip()]
        self._networks = tuple(network for entry in entries if (network := _network(entry)) is not None)
        self._hosts = frozenset(_host(entry) for entry in entries if _network(entry) is None)

    def allows(self, address: str, *, host: str = "") -> bool:
        """Tell whether a connection to this address, made for this host name, may be opened."""
        if _host(host) in self._hosts:
            return True
        judged = _innermost(ip_address(address.partition("%")[0]))
        if any(judged.version == network.version and judged in network for network in self._networks):
            return True
        return _is_public(judged)

    async def middleware(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Name the host that the connection is for; runs again for every redirect.

        Raises OutboundRefused when no address of the host may be used.
        """
        attempt = Attempt(host=request.url.host or "", refused=[])
        token = _attempt.set(attempt)
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError as error:
            if attempt.refused:
                raise OutboundRefused(_sentence(attempt)) from error
            raise
        finally:
            _attempt.reset(token)

    def open_socket(self, addr_info: tuple[Any, ...]) -> socket:
        """Make the socket for one resolved address. Raises PermissionError when the guard forbids it."""
        family, kind, protocol, _, address = addr_info
        attempt = _attempt.get()
        host = attempt.host if attempt else ""
        if not self.allows(str(address[0]), host=host):
            if attempt:
                attempt.refused.append(str(address[0]))
            raise PermissionError(f"outbound connections to {address[0]} are not allowed")
        return socket(family=family, type=kind, proto=protocol)


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    # What looks like an address or a range and is none must not pass for a host name that never matches.
    if "/" in entry or ":" in entry or entry.replace(".", "").isdigit() or not _host(entry):
        raise SystemExit(f"configuration: {ALLOW_VARIABLE}: {entry!r} is no host name, address or CIDR range")
    return None


def _host(name: str) -> str:
    return name.rstrip(".").lower()


def _innermost(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    if special or address in _PLATFORM_ADDRESSES or address in _PROTOCOL_ASSIGNMENTS:
        return False
    if isinstance(address, IPv6Address) and (address.teredo or address.is_site_local):
        return False
    return address.is_global and not (address.is_private or address.is_link_local)


def _sentence(attempt: Attempt) -> str:
    shown = ", ".join(dict.fromkeys(attempt.refused))
    where = shown if shown == attempt.host else f"{attempt.host} ({shown})"
    return (
        f"outbound connections to {where} are not allowed: it is no public address; "
        f"to allow it, name the host, the address or its CIDR range in {ALLOW_VARIABLE}"
    )

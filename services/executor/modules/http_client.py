"""The HTTP session that all modules of an executor share: pooled, bounded, guarded, without memory of cookies."""

import aiohttp
from aiohttp.abc import AbstractResolver

from services.executor.modules.outbound import OutboundGuard

CONNECTIONS_MAX = 512
CONNECTIONS_PER_HOST_MAX = 128
CONNECT_TIMEOUT_S = 30.0
IDLE_CONNECTION_S = 30.0
NAME_CACHE_S = 10
HEADER_LINE_BYTES_MAX = 16_384
HEADER_FIELD_BYTES_MAX = 16_384
READ_BUFFER_BYTES = 256 * 1024
USER_AGENT = "headrace"


def http_session(
    outbound_allow: str = "", *, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return the session for `Services.http`; must be made inside the running loop, and closed.

    `outbound_allow` is HEADRACE_OUTBOUND_ALLOW: hosts, addresses and CIDR ranges beyond the public internet.
    `resolver` takes the place of the machine's own name service; what it says is judged all the same.
    Raises SystemExit with a sentence when it cannot be read.
    """
    guard = OutboundGuard(outbound_allow)
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS_MAX,
        limit_per_host=CONNECTIONS_PER_HOST_MAX,
        keepalive_timeout=IDLE_CONNECTION_S,
        ttl_dns_cache=NAME_CACHE_S,
        resolver=resolver,
        socket_factory=guard.open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        # One company's cookies must never travel with another's calls.
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(guard.middleware,),
        headers={"User-Agent": USER_AGENT},
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT_TIMEOUT_S),
        max_line_size=HEADER_LINE_BYTES_MAX,
        max_field_size=HEADER_FIELD_BYTES_MAX,
        read_bufsize=READ_BUFFER_BYTES,
        # A proxy from the environment would make the connection in our place, past the guard.
        trust_env=False,
    )

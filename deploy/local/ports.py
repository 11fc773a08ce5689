"""Ports of this machine: finding a free one, holding one for several processes, asking what answers on one."""

import asyncio
import secrets
import socket

from deploy.local.errors import PortTaken

# Below the range from which Linux (32768) and macOS (49152) take the near end of outgoing connections: a port chosen
# here is not lost to one of those while its server restarts.
FREE_PORT_MIN = 15_000
FREE_PORT_MAX = 32_000
LOOPBACK = "127.0.0.1"
PROBE_S_MAX = 2.0


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(*, preferred: int | None = None, host: str = LOOPBACK) -> int:
    """Return the preferred port if it is free, else any free one."""
    if preferred is not None and is_free(preferred, host):
        return preferred
    while True:
        port = FREE_PORT_MIN + secrets.randbelow(FREE_PORT_MAX - FREE_PORT_MIN)
        if is_free(port, host):
            return port


def hold(port: int, host: str = LOOPBACK) -> socket.socket:
    """Keep a port for the processes of this user that listen on it with SO_REUSEPORT.

    The returned socket does not listen, so the kernel hands it no connection. Raises PortTaken.
    """
    # Asked without SO_REUSEPORT first: with it, a second system of the same user would silently share the port.
    if not is_free(port, host):
        raise PortTaken(
            f"port {port} is taken. Choose another: HEADRACE_PORT=4460 headrace up (0 takes any free port)"
        )
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind((host, port))
    except OSError:
        # Connections that ended a minute ago still keep the port. Not asked for at first: while nobody listens, two
        # sockets with this option may hold the same port, and a second system would not be refused.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    return held


def hold_free(host: str = LOOPBACK) -> socket.socket:
    """Keep any free port as `hold` does: two systems that start at once do not choose the same one."""
    while True:
        try:
            return hold(free_port(host=host), host)
        except PortTaken:
            # Somebody was faster.
            continue


async def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether something listens on the port."""
    return await _ask(host, port, b"") is not None


async def is_ready(ops_port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a service answers 200 to `GET /health/ready`."""
    # HTTP/1.0 by hand: importing an HTTP client would cost more than the whole start of the supervisor.
    answer = await _ask(host, ops_port, b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
    return answer is not None and answer.split(b" ")[1:2] == [b"200"]


async def _ask(host: str, port: int, request: bytes) -> bytes | None:
    """Return the first line of the answer (empty when nothing was asked), or None when nobody answers."""
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                if not request:
                    return b""
                writer.write(request)
                return await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None

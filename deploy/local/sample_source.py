"""The data of the sample: the IANA time zone tables of the package tzdata, served over HTTP on this machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files

from deploy.local import ports

FILES = ("zone.tab", "iso3166.tab")
COLD_FILE = "iso3166.tab"
# An address of the loopback network where nothing else listens: executors are allowed this one, so a flow reaches
# nothing else of this machine. Systems that know only the usual one use that.
HOST_PREFERRED = "127.86.90.1"
# An HTTP client tries once more by itself, at once: that is still the step's first attempt.
HANG_UPS = 2
REQUEST_S_MAX = 5.0

Told = Callable[[str], None]


def host() -> str:
    """Return the address that the sample's data is served from on this machine."""
    return HOST_PREFERRED if ports.is_free(0, HOST_PREFERRED) else ports.LOOPBACK


class Source:
    """Answers GET for the tables. It starts cold: it hangs up on the first HANG_UPS requests for COLD_FILE."""

    def __init__(self, told: Told) -> None:
        folder = files("tzdata.zoneinfo")
        self._content = {f"/{name}": (folder / name).read_bytes() for name in FILES}
        self._told = told
        self._hung_up = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == f"/{COLD_FILE}" and self._is_cold():
                    return
                writer.write(self._response(path))
                await writer.drain()
        except (
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
            TimeoutError,
            IndexError,
        ):
            return  # whoever asks like that gets no answer
        finally:
            writer.close()

    def _is_cold(self) -> bool:
        if self._hung_up == HANG_UPS:
            return False
        if not self._hung_up:
            self._told(f"the data source is cold and hangs up on whoever asks for {COLD_FILE}")
        self._hung_up += 1
        return True

    def _response(self, path: str) -> bytes:
        content = self._content.get(path)
        status, body = ("200 OK", content) if content is not None else ("404 Not Found", b"not here\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}"
        return f"{head}\r\nConnection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def serving(told: Told) -> AsyncIterator[str]:
    """Serve the tables until the end of the block and yield the URL; `told` hears what happens on purpose."""
    server = await asyncio.start_server(Source(told).answer, host(), 0)
    address, port = server.sockets[0].getsockname()
    try:
        yield f"http://{address}:{port}"
    finally:
        server.close()
        await server.wait_closed()

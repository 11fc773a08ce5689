"""Writes the API's documents: `python -m services.gateway.contracts <folder>`, or `make contracts`."""

import asyncio
import sys
from pathlib import Path

import msgspec

from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.health import Health
from libs.common.wire import DirectClient
from services.gateway import asyncapi, openapi
from services.gateway.app import routes
from services.gateway.cors import Origins
from services.gateway.flow_like import hub
from services.gateway.parts import assemble
from services.gateway.routing import Route


async def route_table() -> list[Route]:
    """Return the gateway's routes without starting anything; nothing behind them is connected."""
    parts = assemble(Config(), Bus(DirectClient(), []), SystemClock(), Health({}))
    return routes(parts, Origins(""), hub.load(Config()))


def documents() -> dict[str, bytes]:
    """Return the documents as their files hold them, by file name."""
    table = asyncio.run(route_table())
    found = {"openapi.json": openapi.document(table), "asyncapi.json": asyncapi.document()}
    return {
        name: msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n" for name, what in found.items()
    }


def main() -> None:
    """Write the documents into the folder that the first argument names."""
    folder = Path(sys.argv[1])
    for name, content in documents().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()

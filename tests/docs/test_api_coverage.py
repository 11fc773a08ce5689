"""The table of the published index tells which of its endpoints the gateway serves, and tells the truth."""

import re
from collections import Counter

from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.health import Health
from services.gateway.app import routes
from services.gateway.cors import Origins
from services.gateway.parts import assemble
from tests.docs import pages

PAGE = "docs/api-coverage.md"
# How many the index lists per group (flow8 section 3.1).
INDEX = {"auth": 6, "flows": 10, "plays": 5, "groups": 4, "kv": 3, "channels": 5, "schedules": 4, "ws": 1}


def table() -> dict[str, str]:
    return {pages.words(row[0])[0]: row[1].strip() for row in pages.rows(pages.read(PAGE))}


async def served(nats_url: str) -> set[str]:
    bus = await Bus.connect(nats_url, name="docs")
    parts = assemble(Config(nats_url=nats_url), bus, SystemClock(), Health({}))
    found = {f"{route.method} {route.path}" for route in routes(parts, Origins(""))}
    await bus.close()
    return {re.sub(r"\{(\w+)\}", r":\1", endpoint) for endpoint in found}


def test_the_table_lists_the_whole_index() -> None:
    groups = Counter(endpoint.split("/")[2] for endpoint in table())
    assert groups == INDEX
    assert sum(groups.values()) == 38


async def test_the_table_says_what_is_served(nats_url: str) -> None:
    known = await served(nats_url)
    there = {endpoint: "yes" if endpoint.replace("WS ", "GET ") in known else "no" for endpoint in table()}
    assert table() == there

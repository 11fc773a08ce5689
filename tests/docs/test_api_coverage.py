"""The tables of the published indexes tell which of their endpoints the gateway serves, and tell the truth."""

import re
from collections import Counter

from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.health import Health
from services.gateway.app import routes
from services.gateway.cors import Origins
from services.gateway.flow_like import hub
from services.gateway.flow_like.surface import canonical
from services.gateway.parts import assemble
from tests.docs import pages

PAGE = "docs/api-coverage.md"
FIRST, SECOND = "The flow8 index", "The Flow-Like Kubernetes index"
# How many the index lists per group (flow8 section 3.1).
INDEX = {"auth": 6, "flows": 10, "plays": 5, "groups": 4, "kv": 3, "channels": 5, "schedules": 4, "ws": 1}
# How many the second index lists per group (flow-like section 0.2); "" is `/api/v1/` itself.
SECOND_INDEX = {
    "health": 5, "jobs": 3, "": 1, "version": 1, "catalog": 1, "info": 6, "auth": 3, "oauth": 1, "user": 2,
    "profile": 1, "apps": 5, "execution": 2, "store": 2,
}  # fmt: skip


def table(heading: str) -> dict[str, str]:
    return {pages.words(row[0])[0]: row[1].strip() for row in pages.rows(pages.section(PAGE, heading))}


async def served(nats_url: str) -> set[str]:
    bus = await Bus.connect(nats_url, name="docs")
    config = Config(nats_url=nats_url)
    parts = assemble(config, bus, SystemClock(), Health({}))
    found = {f"{route.method} {route.path}" for route in routes(parts, Origins(""), hub.load(config))}
    await bus.close()
    return {nameless(endpoint) for endpoint in found}


def nameless(endpoint: str) -> str:
    """Return an endpoint without the names of its parameters and the slash at its end."""
    method, _, path = endpoint.partition(" ")
    path = re.sub(r":\w+|{\w+}", "{}", canonical(path))
    return f"{'GET' if method == 'WS' else method} {path}"


def test_the_tables_list_the_whole_indexes() -> None:
    groups = Counter(endpoint.split("/")[2] for endpoint in table(FIRST))
    assert groups == INDEX
    assert sum(groups.values()) == 38
    second = Counter(re.sub(r"^\w+ (/api/v1)?/", "", endpoint).split("/")[0] for endpoint in table(SECOND))
    assert second == SECOND_INDEX
    assert sum(second.values()) == 33


async def test_the_tables_say_what_is_served(nats_url: str) -> None:
    known = await served(nats_url)
    for heading in (FIRST, SECOND):
        there = {endpoint: "yes" if nameless(endpoint) in known else "no" for endpoint in table(heading)}
        assert table(heading) == there

"""The flows that are measured, and how they are made over the API."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.http_client import Api

Layer = dict[str, Any]
PURE_MANY = 50
FAN_OUT = 100
CHANNEL_PATH = "/run"
CHANNEL_TOKEN = "bench-4711"
OPEN_S_MAX = 10.0
OPEN_POLL_S = 0.02


@dataclass(frozen=True)
class Scenario:
    """A kind of flow; `layers` takes the URL that steps with effects call.

    With `over_channel` the flow is called on the port of an HTTP channel instead of over the API.
    """

    name: str
    meaning: str
    layers: Callable[[str], list[Layer]]
    over_channel: bool = False


def _five_pure(_url: str) -> list[Layer]:
    order = {"net": "{{ $prev.args.net }}", "name": "{{ upper $prev.args.name }}"}
    ways = [
        {"condition": "{{ gt $prev.tax.gross 1000 }}", "label": "large"},
        {"condition": "true", "label": "standard"},
    ]
    letter = {
        "template": "Dear {{ .name }}, {{ .gross }} as {{ .way }}.",
        "data": {
            "name": "{{ $prev.order.name }}",
            "gross": "{{ $prev.tax.gross }}",
            "way": "{{ $prev.way.route }}",
        },
    }
    answer = {"text": "{{ $prev.letter.result }}", "route": "{{ $prev.way.route }}"}
    return [
        _layer("order", "var", 0, {"values": order}),
        _layer("tax", "var", 1, {"values": {"gross": "{{ mul $prev.order.net 1.19 }}", "rate": 0.19}}),
        _layer("way", "router", 2, {"routes": ways}),
        _layer("letter", "template", 3, letter),
        _layer("answer", "var", 4, {"values": answer}),
    ]


def _five_pure_of_body(url: str) -> list[Layer]:
    first, *others = _five_pure(url)
    order = {"net": "{{ $prev.args.body.net }}", "name": "{{ upper $prev.args.body.name }}"}
    return [first | {"args": {"values": order}}, *others]


def _five_effects(url: str) -> list[Layer]:
    return [_layer(f"call{number}", "curl", number, {"url": url}) for number in range(5)]


def _many_pure(_url: str) -> list[Layer]:
    first = _layer("s0", "var", 0, {"values": {"n": "{{ $prev.args.net }}"}})
    return [first] + [
        _layer(f"s{number}", "var", number, {"values": {"n": f"{{{{ add $prev.s{number - 1}.n 1 }}}}"}})
        for number in range(1, PURE_MANY)
    ]


def _fan_out(_url: str) -> list[Layer]:
    return [
        _layer(f"s{number}", "var", 0, {"values": {"n": f"{{{{ add $prev.args.net {number} }}}}"}})
        for number in range(FAN_OUT)
    ]


def _layer(ref: str, app_id: str, index: int, args: dict[str, Any]) -> Layer:
    return {"name": ref, "ref": ref, "appId": app_id, "index": index, "args": args}


SCENARIOS = (
    Scenario("pure5", "five pure steps", _five_pure),
    Scenario(
        "channel5", "five pure steps, called over an HTTP channel", _five_pure_of_body, over_channel=True
    ),
    Scenario("effects5", "five steps with effects (HTTP calls)", _five_effects),
    Scenario("pure50", f"{PURE_MANY} pure steps", _many_pure),
    Scenario("fan100", f"{FAN_OUT} parallel pure steps", _fan_out),
)
ARGS = {"net": 1250, "name": "Ada"}


async def create(api: Api, name: str, layers: list[Layer]) -> str:
    """Create a flow with these layers and return its id."""
    flow = await api.call("POST", "/api/flows", {"name": name})
    for layer in layers:
        await api.call("POST", f"/api/flows/{flow['id']}/layers", layer)
    return str(flow["id"])


async def open_channel(api: Api, name: str, flow: str) -> Api:
    """Put a synchronous channel before a flow and return a client of its port, which is open."""
    fields = {"name": name, "kind": "http", "authToken": CHANNEL_TOKEN}
    channel = await api.call("POST", "/api/channels", fields)
    route = {"name": name, "path": CHANNEL_PATH, "targetFlowIds": [flow]}
    await api.call("POST", f"/api/channels/{channel['id']}/routes", route)
    client = Api(f"http://127.0.0.1:{channel['port']}", token=CHANNEL_TOKEN)
    ends_s = time.monotonic() + OPEN_S_MAX
    while True:
        try:
            (await client.connect()).close()
        except ConnectionError:
            if time.monotonic() > ends_s:
                raise
            await asyncio.sleep(OPEN_POLL_S)
        else:
            return client

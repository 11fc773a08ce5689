"""The flows that are measured, and how they are made over the API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.http_client import Api

Layer = dict[str, Any]
PURE_MANY = 50
FAN_OUT = 100


@dataclass(frozen=True)
class Scenario:
    """A kind of flow; `layers` takes the URL that steps with effects call."""

    name: str
    meaning: str
    layers: Callable[[str], list[Layer]]


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

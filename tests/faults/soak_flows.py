"""The flows of the soak: between them they wait, repeat, call each other, fail, stand in line and ask people."""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from tests.e2e.api import Api

Layer = dict[str, Any]
PARKED_MS = 3_000
ITEMS_MAX = 12


class Kind(NamedTuple):
    """Plays of one flow: what they start with, and the state in which they end unless somebody cancels them."""

    name: str
    args: Callable[[Random], dict[str, Any]]
    ends: str = "DONE"
    max_concurrent: int = 0


KINDS = (
    Kind("pure", lambda _: {"n": 1}),
    Kind("loop", lambda chance: {"items": list(range(chance.randint(0, ITEMS_MAX)))}),
    Kind("line", lambda _: {}, max_concurrent=3),
    Kind("gate", lambda _: {"n": 2}),
    Kind("park", lambda _: {"n": 3}),
    Kind("fail", lambda _: {"text": "no JSON"}, ends="FAIL", max_concurrent=4),
)


async def defined(api: Api) -> dict[str, str]:
    """Define the flow of each kind and return their ids by its name."""
    pure = await api.create_flow("Soak pure", _step("a", 0), _step("b", 1), _step("c", 2))
    told = await api.create_flow("Soak told", _step("a", 0))
    flows = {
        "pure": pure,
        "loop": await api.create_flow("Soak loop", *_loop(pure["id"])),
        "line": await api.create_flow("Soak line", _module("wait", 0, "delay", ms=150)),
        "gate": await api.create_flow(
            "Soak gate", _step("a", 0), _step("sign", 1) | {"needsApproval": True}, _step("z", 2)
        ),
        "park": await api.create_flow("Soak park", _module("wait", 0, "delay", ms=PARKED_MS), _step("z", 1)),
        "fail": await api.create_flow(
            "Soak fail", _step("a", 0), _module("parse", 1, "json-parse", input="{{ $prev.args.text }}")
        ),
    }
    for kind in KINDS:
        if kind.max_concurrent:
            execution: dict[str, Any] = {"maxConcurrent": kind.max_concurrent}
            if kind.ends == "FAIL":
                execution["onFailFlowId"] = told["id"]
            await api.put(f"/api/flows/{flows[kind.name]['id']}", {"execution": execution})
    return {name: flow["id"] for name, flow in flows.items()}


def _loop(flow_id: str) -> list[Layer]:
    args = {"n": "{{ $prev.each.item }}"}
    return [
        _module("each", 0, "iterator", items="{{ $prev.args.items }}", batchSize=4),
        _module("call", 1, "subflow", flowId=flow_id, args=args),
        _module("all", 2, "aggregator", sourceRef="call", field="out.n"),
    ]


def _step(ref: str, index: int) -> Layer:
    return _module(ref, index, "var", values={"n": "{{ $prev.args.n }}"})


def _module(ref: str, index: int, app_id: str, **args: Any) -> Layer:
    return {"name": ref, "ref": ref, "index": index, "appId": app_id, "args": args}

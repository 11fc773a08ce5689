"""Steps of flows with loops, and running such flows."""

from tests.e2e.api import Api, Json

TERMINAL_WITHIN_S = 60


def var(ref: str, index: int, **fields: Json) -> Json:
    """Return a step that puts out what its `n` evaluates to, as `{"n": …}`."""
    values = {"n": fields.pop("n", "{{ $prev.loop.item }}")}
    return {"ref": ref, "appId": "var", "index": index, "args": {"values": values}, **fields}


def loop(index: int = 1, *, items: Json = "{{ $prev.args.items }}", ref: str = "loop", **args: Json) -> Json:
    return {"ref": ref, "appId": "iterator", "index": index, "args": {"items": items, **args}}


def gather(index: int, source: Json = "body", ref: str = "all", **args: Json) -> Json:
    return {"ref": ref, "appId": "aggregator", "index": index, "args": {"sourceRef": source, **args}}


async def ended(
    api: Api, name: str, *layers: Json, items: Json = (), **args: Json
) -> tuple[Json, list[Json]]:
    """Run a flow of these steps over these items; return its play and the records of its steps."""
    flow = await api.create_flow(name, *layers)
    play = await api.run(flow["id"], {"items": list(items), **args}, wait=TERMINAL_WITHIN_S)
    return play, await api.get(f"/api/plays/{play['playId']}/layers")

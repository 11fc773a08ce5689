"""Steps of flows, and what comes of running them."""

from tests.e2e.api import Api, Json


def step(app_id: str, ref: str = "a", **args: Json) -> Json:
    """Return a step of this module with these args."""
    return {"ref": ref, "appId": app_id, "args": args}


def var(ref: str = "a", **values: Json) -> Json:
    """Return a step that puts out these values."""
    return step("var", ref, values=values)


def note(ref: str, index: int = 0, **fields: Json) -> Json:
    """Return a step at this index that puts out `values`, with other fields of a layer."""
    return {**var(ref, **fields.pop("values", {"n": 1})), "index": index, **fields}


def broken(ref: str = "bad", index: int = 0, **fields: Json) -> Json:
    """Return a step that fails for good."""
    return {**step("json-parse", ref, input="{"), "index": index, **fields}


async def layers_of(api: Api, *steps: Json, args: Json = None) -> dict[str, Json]:
    """Run these steps as a flow and return its layers by ref."""
    flow = await api.create_flow("Stated", *steps)
    play = await api.run(flow["id"], args, wait=60)
    return await api.layers_of(play["playId"])

"""What a running system answers fits the schemas of its own OpenAPI document."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.schemas import misfits, resolved
from tests.e2e.api import Answer, Api, Json
from tests.fixtures.system import RunningSystem

STEP = {"ref": "a", "appId": "var", "args": {"values": {"n": 1}}, "retry": {"count": 1}}


class Checked:
    """A client that compares each answer with the document."""

    def __init__(self, api: Api, document: Json) -> None:
        self.api = api
        self.document = document

    async def call(
        self, method: str, template: str, body: Json = None, *, query: str = "", **parts: str
    ) -> Json:
        """Make a call, and return its answer when it is one that the document tells of."""
        answer = await self.api.call(method, template.format(**parts) + query, body)
        assert self.misfits(answer, self.document["paths"][template][method.lower()]) == [], answer
        return answer.json

    def misfits(self, answer: Answer, operation: Json) -> list[str]:
        """Return where the answer differs from what the operation tells."""
        told = operation["responses"].get(str(answer.status))
        if told is None:
            return [f"{answer.status} is not told"]
        told = resolved(self.document, told["$ref"]) if "$ref" in told else told
        return misfits(answer.json, told["content"]["application/json"]["schema"], self.document)


@pytest.fixture
async def checked(shared_system: RunningSystem) -> AsyncIterator[Checked]:
    async with Api.logged_in(shared_system) as api:
        yield Checked(api, await api.get("/openapi.json"))


async def test_the_life_of_a_flow(checked: Checked) -> None:
    flow = await checked.call("POST", "/api/flows", {"name": "Fits"})
    flows, layers = "/api/flows/{id}", "/api/flows/{id}/layers"
    layer = await checked.call("POST", layers, {"name": "a", **STEP}, id=flow["id"])
    for method, template, body in (
        ("GET", flows, None),
        ("PUT", flows, {"execution": {"timeout": 60}}),
        ("GET", layers, None),
        ("GET", f"{layers}/{{layerId}}", None),
        ("PUT", f"{layers}/{{layerId}}", {"timeout": 5}),
        ("GET", "/api/flows/{id}/versions", None),
        ("GET", "/api/flows/{id}/plays", None),
        ("DELETE", f"{layers}/{{layerId}}", None),
        ("DELETE", flows, None),
        ("GET", flows, None),
    ):
        await checked.call(method, template, body, id=flow["id"], layerId=layer["id"])


async def test_the_life_of_a_play(checked: Checked) -> None:
    flow = await checked.api.create_flow("Fits too", {**STEP, "needsApproval": True})
    run = "/api/flows/{id}/run"
    started = await checked.call("POST", run, {}, id=flow["id"])
    waiting = await checked.call("POST", run, {}, query="?wait=60", id=flow["id"])
    assert (started["state"], waiting["state"]) == ("RUN", "WAIT")
    play, decision = waiting["playId"], {"layerId": "a", "decision": "approved"}
    await checked.call("POST", "/api/plays/{id}/approve", decision, id=play)
    await checked.api.wait_for(play)
    for template in ("/api/plays/{id}", "/api/plays/{id}/layers"):
        await checked.call("GET", template, id=play)
    await checked.call("DELETE", "/api/plays/{id}", id=started["playId"])
    # Refusals have a schema too.
    await checked.call("DELETE", "/api/plays/{id}", id=play)
    await checked.call("POST", "/api/plays/{id}/approve", {}, id=play)
    await checked.call("GET", "/api/plays/{id}", id="0" * 24)


async def test_every_list(checked: Checked) -> None:
    paths = [
        path
        for path, methods in checked.document["paths"].items()
        if path.startswith("/api/")
        and "{" not in path
        and "application/json"
        in methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    ]
    assert len(paths) > 5
    for path in paths:
        await checked.call("GET", path)

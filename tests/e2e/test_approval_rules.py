"""Approvals with rules over HTTP: who decides, how many must, and what happens without them (spec flow8 section 12)."""

import pytest

from tests.e2e.api import Api, Json
from tests.waiting import eventually

STEP = {"ref": "gate", "appId": "var", "args": {"values": {"n": 1}}, "needsApproval": True}
YES = {"layerId": "gate", "decision": "approved"}


async def waiting(api: Api, name: str, **rules: Json) -> str:
    flow = await api.create_flow(name, {**STEP, "approval": rules})
    play: str = (await api.run(flow["id"], wait=60))["playId"]
    return play


async def test_section_12_two_must_approve_and_each_counts_once(api: Api) -> None:
    play = await waiting(api, "Two", count=2)
    assert (await api.post(f"/api/plays/{play}/approve", YES))["state"] in {"RUN", "WAIT"}
    assert await api.refused("POST", f"/api/plays/{play}/approve", YES) == (409, "CONFLICT")
    await api.wait_for(play, "WAIT")
    votes = (await api.layers_of(play))["gate"]["approval"]["votes"]
    assert [vote["decision"] for vote in votes] == ["approved"]


async def test_section_12_who_is_not_named_may_not_decide(api: Api) -> None:
    play = await waiting(api, "Named", approvers=["operator"])
    assert await api.refused("POST", f"/api/plays/{play}/approve", YES) == (403, "FORBIDDEN")


async def test_section_12_whoever_started_it_may_not_decide_when_asked_not_to(api: Api) -> None:
    play = await waiting(api, "Self", noSelfApproval=True)
    assert await api.refused("POST", f"/api/plays/{play}/approve", YES) == (403, "FORBIDDEN")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_section_12_nor_may_they_in_a_flow_that_theirs_calls(api: Api, asynchronous: bool) -> None:
    name = f"Called {asynchronous}"
    called = await api.create_flow(name, {**STEP, "approval": {"noSelfApproval": True}})
    calls = {"ref": "call", "appId": "subflow", "args": {"flowId": called["id"], "async": asynchronous}}
    await api.run((await api.create_flow(f"Calls {name}", calls))["id"])

    async def gated() -> Json:
        return (await api.get(f"/api/plays?flowId={called['id']}&state=WAIT"))["data"]

    (play,) = await eventually(gated)
    assert await api.refused("POST", f"/api/plays/{play['id']}/approve", YES) == (403, "FORBIDDEN")


async def test_section_12_nor_may_they_in_the_flow_for_their_failure(api: Api) -> None:
    told = await api.create_flow("Told", {**STEP, "approval": {"noSelfApproval": True}})
    fails = {"ref": "a", "appId": "var", "args": {"values": {"x": "{{ div 1 0 }}"}}}
    await api.run((await api.create_flow("Fails", fails, execution={"onFailFlowId": told["id"]}))["id"])

    async def gated() -> Json:
        return (await api.get(f"/api/plays?flowId={told['id']}&state=WAIT"))["data"]

    (play,) = await eventually(gated)
    assert await api.refused("POST", f"/api/plays/{play['id']}/approve", YES) == (403, "FORBIDDEN")


@pytest.mark.parametrize(("on_timeout", "state"), [("approve", "DONE"), ("decline", "FAIL")])
async def test_section_12_without_a_decision_in_time_the_rules_decide(
    api: Api, on_timeout: str, state: str
) -> None:
    play = await waiting(api, f"Late {on_timeout}", timeout=1, onTimeout=on_timeout)
    assert (await api.wait_for(play, state))["state"] == state


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"count": 0}, "approval.count"),
        ({"approvers": ["nobody at all"]}, "approval.approvers"),
        ({"onTimeout": "shrug"}, "approval.onTimeout"),
        ({"escalateTo": ["admin"]}, "approval.escalateTo"),
        ({"remindEverySeconds": 1}, "approval.remindEverySeconds"),
        ({"voters": 2}, "voters"),
    ],
)
async def test_section_12_rules_that_do_not_fit_are_refused_by_name(
    api: Api, rules: Json, field: str
) -> None:
    flow = await api.post("/api/flows", {"name": "Rules"}, status=201)
    answer = await api.call(
        "POST", f"/api/flows/{flow['id']}/layers", {**STEP, "name": "g", "approval": rules}
    )
    assert (answer.status, field in answer.json["message"]) == (400, True), answer

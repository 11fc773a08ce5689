"""Flows through the store: commands on the bus, the log, the answers and the read models."""

import pytest

from libs.common.errors import NotFound
from libs.common.messages.query import GetFlow, ListFlows
from tests.integration.store_parts import COMPANY, add_layer, create_flow, running_store


async def test_a_created_flow_can_be_read_at_once(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        created = await store.command("flow", create_flow("Invoice Processing"))
        step = add_layer(created["id"], "Set value", args={"value": "{{ add 1 2 }}"})
        changed = await store.command("flow", step)

        shown = await store.query("flow", GetFlow(company_id=COMPANY, flow_id="invoice-processing"))
        listed = await store.query("flow", ListFlows(company_id=COMPANY))

    assert changed["version"] == 2
    assert shown == changed
    assert [layer["ref"] for layer in shown["layers"]] == ["setValue"]
    assert listed["total"] == 1
    assert "layers" not in listed["data"][0]


async def test_a_flow_of_another_company_is_not_found(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        created = await store.command("flow", create_flow())
        with pytest.raises(NotFound, match=created["id"]) as caught:
            await store.query("flow", GetFlow(company_id="b" * 24, flow_id=created["id"]))
    assert caught.value.code == "FLOW_NOT_FOUND"

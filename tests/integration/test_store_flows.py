"""Flows through the store: commands on the bus, the log, the answers and the read models."""

import asyncio
import secrets

import msgspec
import pytest

from libs.common import codec, subjects
from libs.common.errors import HeadraceError, Invalid, NotFound, Refused, Unavailable
from libs.common.messages.flow import DeleteFlow, DeleteLayer, FlowFields, UpdateFlow
from libs.common.messages.query import GetFlow, ListFlows, Page
from tests.integration.store_parts import (
    COMPANY,
    T0,
    Store,
    a_module,
    add_layer,
    announce,
    at,
    create_flow,
    running_store,
)
from tests.waiting import eventually


def update_flow(flow_id: str, *, id: str = "", **fields: object) -> UpdateFlow:
    given = FlowFields(**fields)  # type: ignore[arg-type]  # the test says what fits
    return UpdateFlow(
        id=id or secrets.token_hex(16), at=T0, company_id=COMPANY, flow_id=flow_id, fields=given
    )


async def test_a_created_flow_can_be_read_at_once(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        created = await store.command("flow", create_flow("Invoice Processing"))
        step = add_layer(created["id"], "Set value", args={"value": "{{ add 1 2 }}"})
        changed = await store.command("flow", step)
        shown = await store.query("flow", GetFlow(company_id=COMPANY, flow_id="invoice-processing"))
        listed = await store.query("flow", ListFlows(company_id=COMPANY))

    assert changed["version"] == 2
    # Only who changes a flow is told of its warnings.
    assert shown | {"warnings": []} == changed
    assert [layer["ref"] for layer in shown["layers"]] == ["setValue"]
    assert listed["total"] == 1
    assert "layers" not in listed["data"][0]


async def test_steps_are_shown_by_index_and_then_as_they_were_added(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        created = await store.command("flow", create_flow())
        for index, ref in ((5, "c"), (1, "b"), (5, "d"), (0, "a")):
            last = await store.command("flow", add_layer(created["id"], index=index, ref=ref))
        shown = await store.query("flow", GetFlow(company_id=COMPANY, flow_id=created["id"]))

    assert [layer["ref"] for layer in last["layers"]] == ["a", "b", "c", "d"]
    assert shown | {"warnings": []} == last


async def test_a_flow_of_another_company_is_not_found(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        created = await store.command("flow", create_flow())
        with pytest.raises(NotFound, match=created["id"]) as caught:
            await store.query("flow", GetFlow(company_id="b" * 24, flow_id=created["id"]))
    assert caught.value.code == "FLOW_NOT_FOUND"


async def test_a_repeated_command_answers_the_same_and_appends_nothing(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        create = create_flow()
        created = await store.command("flow", create)
        step = add_layer(create.flow_id)
        added = await store.command("flow", step)
        update = update_flow(create.flow_id, name="Other")
        updated = await store.command("flow", update)
        before = await store.bus.last_sequence(subjects.DEFINITIONS)
        again = [await store.command("flow", command) for command in (update, create, step, update)]
        after = await store.bus.last_sequence(subjects.DEFINITIONS)

    assert again == [updated, created, added, updated]
    assert after == before


async def test_one_command_sent_many_times_at_once_counts_once(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        create = create_flow()
        answers = await asyncio.gather(*(store.command("flow", create) for _ in range(10)))
        step = add_layer(create.flow_id)
        steps = await asyncio.gather(*(store.command("flow", step) for _ in range(10)))

    assert all(answer == answers[0] for answer in answers)
    assert all(answer == steps[0] for answer in steps)
    assert len(steps[0]["layers"]) == 1


async def test_changes_of_many_at_once_are_all_kept(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        other = Store(store.config, store.bus)
        await other.start()
        created = await store.command("flow", create_flow())
        await asyncio.gather(
            *(store.command("flow", add_layer(created["id"], f"Step {n}")) for n in range(12))
        )
        shown = await store.query("flow", GetFlow(company_id=COMPANY, flow_id=created["id"]))
        await other.stop()

    assert shown["version"] == 13
    assert {layer["ref"] for layer in shown["layers"]} == {f"step{n}" for n in range(12)}


async def test_permanent_ids_are_unique_and_stay(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        made = await asyncio.gather(*(store.command("flow", create_flow("Same name")) for _ in range(8)))
        renamed = await store.command("flow", update_flow(made[0]["permanentId"], name="New name"))
        elsewhere = msgspec.structs.replace(create_flow("Same name"), company_id="b" * 24)
        theirs = await store.command("flow", elsewhere)

    expected = {"same-name", *(f"same-name-{n}" for n in range(2, 9))}
    assert {flow["permanentId"] for flow in made} == expected
    assert (renamed["id"], renamed["permanentId"]) == (made[0]["id"], made[0]["permanentId"])
    assert theirs["permanentId"] == "same-name"


async def test_a_deleted_flow_is_gone_from_everything_that_is_asked(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        flow = await store.command("flow", create_flow())
        delete = DeleteFlow(id="del", at=T0, company_id=COMPANY, flow_id=flow["permanentId"])
        deleted = await store.command("flow", delete)
        listed = await store.query("flow", ListFlows(company_id=COMPANY))
        for key in (flow["id"], flow["permanentId"]):
            with pytest.raises(NotFound):
                await store.query("flow", GetFlow(company_id=COMPANY, flow_id=key))
        with pytest.raises(NotFound):
            await store.command("flow", update_flow(flow["id"], name="x"))
        successor = await store.command("flow", create_flow())

    assert deleted["deleted"] is True
    assert listed == {"data": [], "total": 0}
    assert successor["permanentId"] == f"{flow['permanentId']}-2"


async def test_lists_are_filtered_and_paged_oldest_first(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        for n in range(5):
            create = create_flow(f"F{n}", category="even" if n % 2 == 0 else "odd", enabled=n < 4)
            await store.command("flow", msgspec.structs.replace(create, at=at(n)))
        ask = ListFlows(company_id=COMPANY, page=Page(1, 2))
        page = await store.query("flow", ask)
        even = await store.query("flow", ListFlows(company_id=COMPANY, category="even", enabled=True))
        none = await store.query("flow", ListFlows(company_id=COMPANY, page=Page(9, 2), group_id=None))

    assert ([flow["name"] for flow in page["data"]], page["total"]) == (["F2", "F3"], 5)
    assert ([flow["name"] for flow in even["data"]], even["total"]) == (["F0", "F2"], 2)
    assert (none["data"], none["total"]) == ([], 5)


async def test_refusals_come_back_as_they_were_raised(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        flow = await store.command("flow", create_flow())
        before = await store.bus.last_sequence(subjects.DEFINITIONS)
        wrong: list[tuple[msgspec.Struct, type[HeadraceError], str]] = [
            (create_flow(""), Invalid, "name must not be empty"),
            (create_flow(group_id="1" * 24), Invalid, "groupId"),
            (add_layer(flow["id"], app_id="nope"), Invalid, "appId nope"),
            (add_layer(flow["id"], args={"v": "{{ add 1 }"}), Invalid, "position"),
            (add_layer("no-such-flow"), NotFound, "no-such-flow"),
            (msgspec.structs.replace(create_flow(), flow_id=flow["id"]), Refused, "already"),
            (
                DeleteLayer(id="d", at=T0, company_id=COMPANY, flow_id=flow["id"], layer_id="2" * 24),
                NotFound,
                "no layer",
            ),
            (msgspec.structs.replace(create_flow(), id="line\nbreak"), Invalid, "command's id"),
            (msgspec.structs.replace(create_flow(), company_id="a.b"), Invalid, "companyId"),
        ]
        for command, kind, words in wrong:
            with pytest.raises(kind, match=words):
                await store.command("flow", command)
        assert await store.bus.last_sequence(subjects.DEFINITIONS) == before


async def test_without_modules_steps_cannot_be_added_yet(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database, modules=False) as store:
        flow = await store.command("flow", create_flow())
        with pytest.raises(Unavailable, match="no executor has announced"):
            await store.command("flow", add_layer(flow["id"]))
        await announce(store.bus, a_module("var"))

        async def taken() -> bool:
            try:
                await store.command("flow", add_layer(flow["id"]))
            except Unavailable:
                return False
            return True

        await eventually(taken)


async def test_an_event_carries_its_command_and_the_whole_flow(nats_url: str, database: str) -> None:
    async with running_store(nats_url, database) as store:
        create = create_flow()
        flow = await store.command("flow", create)
        subject = subjects.definition("flow", COMPANY, flow["id"])
        stored = await store.bus.last(subjects.DEFINITIONS, subject)

    assert stored is not None
    envelope = codec.last_event(stored.data)
    assert (envelope.id, envelope.type) == (create.id, "headrace.flow.created.v1")
    assert stored.headers["Nats-Msg-Id"] == create.id
    assert envelope.data.flow.permanent_id == "invoice-processing"

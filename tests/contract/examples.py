"""One realistic message of each type, every field set: what the golden files are made from.

`python -m tests.contract.examples` writes the file of each type that has none. A file that is there is never written
again: it stands for what some log out there still holds.
"""

from pathlib import Path
from typing import Any

import msgspec

from libs.common.codec import TYPE_NAMES, TYPES, Context, encode_message, source_of
from libs.common.messages import access, approval, flow, group, key, kv, module, play
from libs.common.messages.origin import Origin
from tests.contract.example_accounts import grant_events
from tests.contract.example_apps import app_events
from tests.contract.example_channels import channel_events
from tests.contract.example_children import child_messages, lane_events
from tests.contract.example_plays import (
    AT,
    LAYER,
    USER,
    later,
    play_commands,
    play_events,
    play_layer_events,
)
from tests.contract.example_schedules import schedule_messages

GOLDEN = Path(__file__).parent / "golden"
COMPANY = "69b52a3d0c1f5e8a90000001"
FLOW = "69b52a3d0c1f5e8a90000003"
PLAY = "69b52a3d0c1f5e8a90000005"
GROUP = "69b52a3d0c1f5e8a90000008"
KEY = "69b52a3d0c1f5e8a9000000a"
ENTRY = "69b52a3d0c1f5e8a9000000b"
COMMIT = "5d2f6c1e9b7a4830a1c4e6f80b2d4c6e"
ORIGIN = Origin(ip="203.0.113.7", user_agent="curl/8.5.0", request_id="a1b2c3", key_id=KEY)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def a_flow(*, deleted: bool = False) -> flow.Flow:
    """Return a flow of one layer that uses everything a definition may hold."""
    layer = flow.Layer(
        id=LAYER,
        flow_id=FLOW,
        name="Charge the card",
        ref="charge",
        app_id="curl",
        index=1,
        args={"url": "https://pay.example/{{ $prev.args.customer }}", "method": "POST"},
        timeout=20,
        retry=flow.Retry(count=3, delay_ms=1000, backoff_multiplier=2.0, jitter=True, max_delay_ms=8000),
        filters=({"leftValue": "{{ $prev.args.total }}", "operator": "gt", "rightValue": 1000},),
        needs_approval=True,
        approval=approval.Approval(
            approvers=("admin", "ada@example.test"),
            count=2,
            timeout=7200,
            on_timeout="escalate",
            escalate_to=("admin",),
            no_self_approval=True,
            remind_every_seconds=1800,
        ),
        component_config_ids={"request": "69b52a3d0c1f5e8a9000000a"},
        link_ids_by_type={"bearer": "69b52a3d0c1f5e8a9000000b"},
        module_version=2,
        on_error="continue",
        defer_after_ms=500,
    )
    return flow.Flow(
        id=FLOW,
        company_id=COMPANY,
        permanent_id="charge-a-card",
        name="Charge a card",
        enabled=True,
        category="billing",
        group_id=GROUP,
        kv_inherit="true",
        kv_conflict="child",
        execution=flow.Execution(timeout=600, max_concurrent=10, on_fail_flow_id="69b52a3d0c1f5e8a9000000c"),
        version=3,
        created_at=AT,
        updated_at=later(10),
        deleted=deleted,
        layers=(layer,),
    )


def definition_events() -> list[msgspec.Struct]:
    """Return one of each fact about what people define, and about the modules that executors know."""
    facts: dict[str, Any] = {"at": later(10), "flow": a_flow(), "by": USER}
    info = module.ModuleInfo(
        app_id="template",
        version=1,
        pure=True,
        docs="Fills a Go template.",
        args_schema={
            "type": "object",
            "properties": {"template": {"type": "string"}},
            "required": ["template"],
        },
        args_example={"template": "Dear {{ .name }}"},
        out_example={"result": "Dear Ada"},
        raw_args=("template",),
    )
    return [
        flow.FlowCreated(**facts),
        flow.FlowUpdated(**facts, changed=("name", "category")),
        flow.FlowDeleted(at=later(10), flow=a_flow(deleted=True), by=USER),
        flow.LayerAdded(**facts, layer_id=LAYER),
        flow.LayerUpdated(**facts, layer_id=LAYER),
        flow.LayerDeleted(**facts, layer_id=LAYER),
        module.ModuleAnnounced(at=AT, module=info),
    ]


def access_events() -> list[msgspec.Struct]:
    """Return one of each fact about who may do what."""
    user = access.User(
        id=USER,
        company_id=COMPANY,
        email="ada@example.test",
        name="Ada",
        role="editor",
        created_at=AT,
        updated_at=later(10),
        disabled=True,
        password="xsalsa20poly1305:k1:bm9uY2U:Y2lwaGVydGV4dA",
    )
    session = access.Session(
        user_id=USER,
        company_id=COMPANY,
        email="ada@example.test",
        name="Ada",
        role="editor",
        opened_at=AT,
        expires_at=later(3600),
    )
    company = access.Company(id=COMPANY, name="Example", created_at=AT)
    return [
        access.CompanyCreated(at=AT, by=USER, company=company),
        access.UserCreated(at=AT, by=USER, user=user),
        access.UserUpdated(at=later(10), by=USER, user=user),
        access.SessionOpened(at=AT, by=USER, session=session),
        access.SessionClosed(at=later(60), by=USER),
        access.SessionRefused(at=AT, by=USER),
        access.NameClaimed(at=AT, by=USER, owner_id=FLOW),
    ]


def key_events() -> list[msgspec.Struct]:
    """Return one of each fact about API keys."""
    made = key.ApiKey(
        id=KEY, company_id=COMPANY, user_id=USER, name="ci", scopes=("standard", "mcp"), issued_at=AT
    )
    revoked = msgspec.structs.replace(made, revoked=True)
    return [
        key.KeyIssued(at=AT, by=USER, origin=ORIGIN, key=made),
        key.KeyRevoked(at=later(60), by=USER, origin=ORIGIN, key=revoked),
        key.KeyUsed(at=later(30), by=USER, origin=ORIGIN, key_id=KEY, company_id=COMPANY),
    ]


def group_events() -> list[msgspec.Struct]:
    """Return one of each fact about groups."""
    made = group.Group(
        id=GROUP, company_id=COMPANY, name="Finance", index=3, created_at=AT, updated_at=later(10)
    )
    deleted = msgspec.structs.replace(made, deleted=True)
    return [
        group.GroupCreated(at=AT, by=USER, origin=ORIGIN, group=made),
        group.GroupUpdated(at=later(10), by=USER, origin=ORIGIN, group=made),
        group.GroupDeleted(at=later(20), by=USER, origin=ORIGIN, group=deleted),
    ]


def kv_events() -> list[msgspec.Struct]:
    """Return one of each fact about KV entries."""
    made = kv.KvEntry(
        id=ENTRY,
        company_id=COMPANY,
        scope="flow_group",
        scope_key=GROUP,
        key="rate",
        sealed='{"alg":"A256GCM","kid":"k1","nonce":"bm9uY2U=","ct":"Y2lwaGVydGV4dA=="}',
        secret=True,
        created_at=AT,
        updated_at=later(10),
        applied=(COMMIT,),
    )
    deleted = msgspec.structs.replace(made, sealed="", deleted=True)
    return [
        kv.KvSet(at=later(10), by=USER, origin=ORIGIN, entry=made),
        kv.KvDeleted(at=later(20), by=USER, origin=ORIGIN, entry=deleted),
    ]


def all_examples() -> dict[str, msgspec.Struct]:
    """Return the examples by the name of their type."""
    groups = (
        play_commands,
        play_events,
        play_layer_events,
        definition_events,
        access_events,
        child_messages,
        lane_events,
        schedule_messages,
        key_events,
        grant_events,
        group_events,
        kv_events,
        channel_events,
        lambda: app_events(a_flow()),
    )
    return {TYPE_NAMES[type(message)]: message for make in groups for message in make()}


def envelope_of(message: msgspec.Struct) -> bytes:
    """Return a message as it would lie in the log."""
    is_play = type(message).__module__.startswith(play.__name__)
    context = Context(
        source=source_of(COMPANY, FLOW),
        subject=PLAY if is_play else FLOW,
        correlation_id=PLAY,
        causation_id=f"{COMMIT[::-1]}",
        traceparent=TRACEPARENT,
    )
    return encode_message(message, id=f"{COMMIT}.0", context=context)


def main() -> None:
    """Write the golden file of each type that has none."""
    examples = all_examples()
    for name in TYPES:
        path = GOLDEN / f"{name}.json"
        if not path.exists():
            path.write_bytes(msgspec.json.format(envelope_of(examples[name]), indent=2) + b"\n")


if __name__ == "__main__":
    main()

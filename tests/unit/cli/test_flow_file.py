"""A flow file states a whole flow, and tells what makes a flow equal to it."""

import json
from typing import Any

import msgspec
import pytest

from libs.cli import flow_file
from libs.cli.errors import USAGE, CommandFailed
from libs.common.messages.flow import FlowFields, LayerFields

LAYER = {"ref": "a", "appId": "var"}


def answer(*layers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What the API shows of a flow that was made from these fields."""
    settings = {
        "id": "f" * 24, "companyId": "c" * 24, "permanentId": "x", "name": "X", "enabled": True, "category": "",
        "groupId": None, "kvInherit": "true", "kvConflict": "child", "execution": {}, "version": 3,
    }  # fmt: skip
    defaults = {
        "name": "a", "ref": "a", "appId": "var", "index": 0, "args": {}, "timeout": 0, "retry": None, "filters": [],
        "needsApproval": False, "componentConfigIds": {}, "linkIdsByType": {}, "moduleVersion": 1, "onError": "fail",
        "deferAfterMs": 0,
    }  # fmt: skip
    shown = [{"id": f"{n:024x}", "flowId": "f" * 24, **defaults, **layer} for n, layer in enumerate(layers)]
    return {**settings, **fields, "layers": shown}


def read(**fields: Any) -> flow_file.FlowFile:
    return flow_file.read(json.dumps({"name": "X", **fields}).encode(), "x.json")


def told(wanted: flow_file.FlowFile, known: dict[str, Any] | None) -> list[str]:
    return [str(change) for change in flow_file.changes(wanted, known)]


def names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def test_a_file_can_state_every_field_that_the_api_takes() -> None:
    assert names(flow_file.FlowFile) == names(FlowFields) | {"permanentId", "layers"}
    assert names(flow_file.LayerFile) == names(LayerFields)


@pytest.mark.parametrize(
    "known",
    [
        answer(),
        answer(
            {}, {"ref": "b", "index": 0, "args": {"n": [1, None, {"deep": "Ü"}]}}, enabled=False, category="c"
        ),
        answer(
            {
                "retry": {
                    "count": 1,
                    "delayMs": 0,
                    "backoffMultiplier": 2.5,
                    "jitter": True,
                    "maxDelayMs": None,
                }
            }
        ),
        answer({"filters": [{"leftValue": "a", "operator": "eq"}], "onError": "skip", "timeout": 3}),
        answer(
            {"name": "Long name", "needsApproval": True, "deferAfterMs": 5},
            groupId="d" * 24,
            kvInherit="false",
        ),
        answer(
            {}, execution={"timeout": 60, "maxConcurrent": 2, "onFailFlowId": "other"}, kvConflict="merge"
        ),
    ],
)
def test_what_was_exported_changes_nothing(known: dict[str, Any]) -> None:
    text = flow_file.text_of(flow_file.of_answer(known))
    assert told(flow_file.read(text.encode(), "x.json"), known) == []


def test_an_export_leaves_out_what_has_its_default() -> None:
    exported = json.loads(flow_file.text_of(flow_file.of_answer(answer({}))))
    layer = {"ref": "a", "name": "a", "appId": "var", "index": 0}
    assert exported == {"permanentId": "x", "name": "X", "layers": [layer]}


def test_a_flow_that_is_not_there_is_created_with_its_steps() -> None:
    assert told(read(layers=[LAYER]), None) == ["create flow", "create layer a"]


def test_steps_go_before_others_change_and_change_before_new_ones_come() -> None:
    known = answer({}, {"ref": "old", "index": 1})
    changes = flow_file.changes(read(layers=[{"ref": "new", "appId": "var"}, LAYER]), known)
    assert [(change.verb, change.ref, change.layer_id) for change in changes] == [
        ("delete", "old", f"{1:024x}"), ("update", "a", f"{0:024x}"), ("create", "new", ""),
    ]  # fmt: skip
    # Only what differs is sent: the step has moved behind the new one.
    assert changes[1].fields == {"index": 1}


def test_what_a_file_leaves_out_goes_back_to_its_default() -> None:
    known = answer(
        {"timeout": 5, "needsApproval": True}, category="c", enabled=False, execution={"timeout": 5}
    )
    changes = flow_file.changes(read(layers=[LAYER]), known)
    assert [change.fields for change in changes] == [
        {"enabled": True, "category": "", "execution": {}},
        {"timeout": 0, "needsApproval": False},
    ]


def test_equal_values_spelled_otherwise_are_no_change() -> None:
    layer = {**LAYER, "retry": {"count": 3, "backoffMultiplier": 2}}
    stored = {"count": 3, "delayMs": 0, "backoffMultiplier": 2.0, "jitter": False, "maxDelayMs": None}
    assert told(read(layers=[layer], kvInherit=True), answer({"retry": stored})) == []


def test_a_step_without_an_index_comes_after_the_one_above() -> None:
    layers = [{"ref": "a", "appId": "v"}, {"ref": "b", "appId": "v", "index": 7}, {"ref": "c", "appId": "v"}]
    assert [(layer.index, layer.name) for layer in read(layers=layers).layers] == [
        (0, "a"),
        (7, "b"),
        (8, "c"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "truncated"),
        (b"[]", "object"),
        (b"{}", "name"),
        (b'{"name": "X", "nmae": 1}', "nmae"),
        (b'{"name": "X", "layers": [{"ref": "a"}]}', "appId"),
        (b'{"name": "X", "layers": [{"ref": "a", "appId": "v", "args": []}]}', "args"),
        (
            b'{"name": "X", "layers": [{"ref": "a", "appId": "v"}, {"ref": "a", "appId": "v"}]}',
            "a is used twice",
        ),
        (b'{"name": "X", "layers": [{"ref": "", "appId": "v"}]}', "empty ref"),
        (b'{"name": "\xff"}', "UTF-8"),
    ],
)
def test_a_file_that_states_no_flow_is_refused_naming_what_is_wrong(content: bytes, said: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        flow_file.read(content, "x.json")
    assert refused.value.exit_code == USAGE
    assert refused.value.message.startswith("x.json is not a flow: ")
    assert said.lower() in refused.value.message.lower()


def test_a_layer_with_rules_of_an_approval_waits_unless_its_file_says_otherwise() -> None:
    ruled = read(layers=[{**LAYER, "approval": {"count": 2}}])
    lifted = read(layers=[{**LAYER, "approval": {"count": 2}, "needsApproval": False}])
    assert [flow.layers[0].needs_approval for flow in (ruled, lifted)] == [True, False]
    assert [flow_file.read(flow_file.text_of(flow).encode(), "x.json") for flow in (ruled, lifted)] == [
        ruled,
        lifted,
    ]

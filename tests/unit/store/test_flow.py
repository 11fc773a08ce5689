"""The rules for flows and their steps: what a command makes of a flow, and what is refused by name."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.flow import (
    AddLayer,
    AnyFlowCommand,
    CreateFlow,
    DeleteFlow,
    DeleteLayer,
    Flow,
    FlowDeleted,
    FlowFields,
    FlowUpdated,
    LayerFields,
    RestoreFlow,
    UpdateFlow,
    UpdateLayer,
)
from libs.common.messages.module import ModuleInfo
from services.store.domain.differences import CHANGES_MAX, differences
from services.store.domain.flow import LAYERS_MAX, Surroundings, decide
from services.store.domain.layer import ARGS_BYTES_MAX
from services.store.domain.warnings import warnings

T0 = datetime(2026, 1, 2, tzinfo=UTC)
T1 = T0 + timedelta(minutes=1)
COMPANY, FLOW, LAYER = "c" * 24, "f" * 24, "1" * 24
MODULES = {
    app_id: ModuleInfo(
        app_id=app_id,
        version=1,
        pure=True,
        docs="",
        args_schema={},
        args_example={},
        out_example=None,
        raw_args=raw,
    )
    for app_id, raw in (("var", ()), ("template", ("template",)))
}
GIVEN = Surroundings(modules=MODULES, permanent_id="invoices")


def command(kind: type[msgspec.Struct], **more: Any) -> Any:
    return kind(id="x", at=T1, company_id=COMPANY, flow_id=FLOW, by="me", **more)


def create(**fields: Any) -> Flow:
    return decide(command(CreateFlow, fields=FlowFields(**fields)), None, GIVEN).flow


def update(flow: Flow, **fields: Any) -> Flow:
    return decide(command(UpdateFlow, fields=FlowFields(**fields)), flow, GIVEN).flow


def add(flow: Flow, layer_id: str = LAYER, **fields: Any) -> Flow:
    given = LayerFields(**({"name": "Set value", "app_id": "var"} | fields))
    return decide(command(AddLayer, layer_id=layer_id, fields=given), flow, GIVEN).flow


def change(flow: Flow, layer_id: str = LAYER, **fields: Any) -> Flow:
    return decide(command(UpdateLayer, layer_id=layer_id, fields=LayerFields(**fields)), flow, GIVEN).flow


def a_flow() -> Flow:
    return create(name="Invoices")


# ── flows ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_flow_has_the_documented_defaults() -> None:
    flow = create(name="Invoices")
    assert msgspec.json.decode(msgspec.json.encode(flow)) == {
        "id": FLOW,
        "companyId": COMPANY,
        "permanentId": "invoices",
        "name": "Invoices",
        "enabled": True,
        "category": "",
        "groupId": None,
        "kvInherit": "true",
        "kvConflict": "child",
        "execution": {},
        "version": 1,
        "createdAt": "2026-01-02T00:01:00Z",
        "updatedAt": "2026-01-02T00:01:00Z",
        "deleted": False,
        "layers": [],
    }


def test_an_update_replaces_what_is_supplied_and_raises_the_version() -> None:
    flow = create(name="Invoices", category="money", execution={"timeout": 60, "maxConcurrent": 2})
    event = decide(
        command(UpdateFlow, fields=FlowFields(name="Bills", execution={"timeout": 5})), flow, GIVEN
    )
    assert isinstance(event, FlowUpdated)
    assert event.changed == ("name", "execution")
    assert (event.flow.name, event.flow.category, event.flow.version) == ("Bills", "money", 2)
    assert (event.flow.execution.timeout, event.flow.execution.max_concurrent) == (5, 0)
    assert event.flow.permanent_id == "invoices"


def test_an_empty_update_still_raises_the_version() -> None:
    assert update(a_flow()).version == 2


def test_null_sets_fields_back() -> None:
    flow = create(name="Invoices", execution={"timeout": 60})
    assert update(flow, execution=None, group_id=None).execution.timeout == 0


@pytest.mark.parametrize(
    ("given", "kept"), [(True, "true"), (False, "false"), ("true", "true"), ("false", "false")]
)
def test_kv_inherit_takes_booleans_and_their_names(given: bool | str, kept: str) -> None:
    assert create(name="Invoices", kv_inherit=given).kv_inherit == kept


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "name is required"),
        ({"name": "  "}, "name must not be empty"),
        ({"name": "x" * 201}, "name holds at most 200 characters"),
        ({"name": "a", "category": "x" * 201}, "category holds at most"),
        ({"name": "a", "group_id": "1" * 24}, "groupId 1{24} names no group"),
        ({"name": "a", "kv_inherit": "yes"}, "kvInherit must be one of true, false"),
        ({"name": "a", "kv_conflict": "none"}, "kvConflict must be one of child, parent, merge"),
        ({"name": "a", "execution": {"timeout": -1}}, "execution.timeout must be from 0 to 604800"),
        ({"name": "a", "execution": {"timeout": 604_801}}, "execution.timeout must be from 0 to 604800"),
        ({"name": "a", "execution": {"timeout": "5"}}, "execution.timeout must be a whole number"),
        (
            {"name": "a", "execution": {"maxConcurrent": True}},
            "execution.maxConcurrent must be a whole number",
        ),
        ({"name": "a", "execution": {"onFailFlowId": {}}}, "execution.onFailFlowId must be a string"),
        ({"name": "a", "execution": {"onFailFlowId": FLOW}}, "execution.onFailFlowId must name another flow"),
        (
            {"name": "a", "execution": {"onFailFlowId": "invoices"}},
            "execution.onFailFlowId must name another flow",
        ),
    ],
)
def test_a_flow_that_does_not_fit_is_refused_by_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        create(**fields)


def test_a_known_group_is_taken() -> None:
    given = Surroundings(modules={}, group_exists=True)
    fields = FlowFields(name="Invoices", group_id="1" * 24)
    assert decide(command(CreateFlow, fields=fields), None, given).flow.group_id == "1" * 24


def test_a_flow_is_deleted_softly() -> None:
    event = decide(command(DeleteFlow), add(a_flow()), GIVEN)
    assert isinstance(event, FlowDeleted)
    assert (event.flow.deleted, event.flow.version, len(event.flow.layers)) == (True, 3, 1)


@pytest.mark.parametrize(
    "asked",
    [
        command(UpdateFlow, fields=FlowFields()),
        command(DeleteFlow),
        command(AddLayer, layer_id=LAYER, fields=LayerFields(name="a", app_id="var")),
        command(UpdateLayer, layer_id=LAYER, fields=LayerFields()),
        command(DeleteLayer, layer_id=LAYER),
    ],
)
def test_a_deleted_flow_is_not_found(asked: AnyFlowCommand) -> None:
    flow = decide(command(DeleteFlow), add(a_flow()), GIVEN).flow
    with pytest.raises(NotFound) as caught:
        decide(asked, flow, GIVEN)
    assert caught.value.code == "FLOW_NOT_FOUND"
    with pytest.raises(NotFound):
        decide(asked, None, GIVEN)


def test_an_id_is_used_once() -> None:
    with pytest.raises(Refused):
        decide(command(CreateFlow, fields=FlowFields(name="Invoices")), a_flow(), GIVEN)


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_step_has_the_documented_defaults() -> None:
    flow = add(a_flow())
    layer = msgspec.json.decode(msgspec.json.encode(flow.layers[0]))
    assert flow.version == 2
    assert flow.updated_at == T1
    assert layer == {
        "id": LAYER,
        "flowId": FLOW,
        "name": "Set value",
        "ref": "setValue",
        "appId": "var",
        "index": 0,
        "args": {},
        "timeout": 0,
        "retry": None,
        "filters": [],
        "needsApproval": False,
        "approval": None,
        "componentConfigIds": {},
        "linkIdsByType": {},
        "moduleVersion": 1,
        "onError": "fail",
        "deferAfterMs": 0,
    }


def test_steps_without_index_follow_each_other() -> None:
    flow = add(add(add(a_flow(), "1" * 24), "2" * 24, index=10), "3" * 24)
    assert [layer.index for layer in flow.layers] == [0, 10, 11]
    assert [layer.ref for layer in flow.layers] == ["setValue", "setValue2", "setValue3"]


def test_a_change_replaces_args_whole_and_null_sets_back() -> None:
    flow = add(
        a_flow(), args={"a": 1, "b": 2}, timeout=5, retry={"count": 1}, on_error="skip", defer_after_ms=3
    )
    layer = change(flow, args={"c": 3}, timeout=None, retry=None, on_error=None, defer_after_ms=None).layers[
        0
    ]
    assert layer.args == {"c": 3}
    assert (layer.timeout, layer.retry, layer.on_error, layer.defer_after_ms) == (0, None, "fail", 0)
    assert layer.ref == "setValue"
    assert change(flow, args=None).layers[0].args == {}


def test_retry_takes_its_documented_fields() -> None:
    retry = {
        "count": 3,
        "delayMs": 1000,
        "backoffMultiplier": 2,
        "jitter": True,
        "maxDelayMs": 5000,
        "other": 1,
    }
    layer = add(a_flow(), retry=retry).layers[0]
    assert msgspec.to_builtins(layer.retry) == {
        "count": 3,
        "delayMs": 1000,
        "backoffMultiplier": 2.0,
        "jitter": True,
        "maxDelayMs": 5000,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"app_id": "nope"}, "appId nope names no module"),
        ({"ref": "2x"}, "ref must match"),
        ({"ref": "a-b"}, "ref must match"),
        ({"ref": "x" * 65}, "ref must match"),
        ({"ref": "args"}, "ref args is reserved"),
        ({"ref": "input"}, "ref input is reserved"),
        ({"ref": "taken"}, "ref taken is already used"),
        ({"index": -1}, "index must be from 0"),
        ({"timeout": 604_801}, "timeout must be from 0 to 604800"),
        ({"retry": {"count": 101}}, "retry.count must be from 0 to 100"),
        ({"retry": {"delayMs": -1}}, "retry.delayMs must be from 0"),
        ({"retry": {"backoffMultiplier": "2"}}, "retry.backoffMultiplier must be a number"),
        ({"retry": {"jitter": 1}}, "retry.jitter must be true or false"),
        ({"retry": {"maxDelayMs": "1"}}, "retry.maxDelayMs must be a whole number"),
        ({"filters": ["x"]}, "filters must be an array of objects"),
        (
            {"filters": [{"leftValue": 1, "operator": "??", "rightValue": 1}]},
            r"layer setValue: filters\[0\].operator",
        ),
        (
            {"filters": [{"leftValue": "{{", "operator": "eq", "rightValue": 1}]},
            r"layer setValue: .*position",
        ),
        ({"on_error": "explode"}, "onError must be one of fail, continue, skip"),
        ({"defer_after_ms": -1}, "deferAfterMs must be from 0"),
        ({"module_version": 0}, "moduleVersion must be from 1"),
        ({"component_config_ids": {"ai": "x" * 201}}, "componentConfigIds.ai holds at most"),
        ({"args": {"v": "x" * ARGS_BYTES_MAX}}, "args hold at most 262144 bytes"),
        ({"args": {"deep": ["{{ add 1 }"]}}, r"layer setValue: args: .*position \d+ in deep\[0\]"),
        ({"args": {"v": "{{ nope 1 }}"}}, r"layer setValue: args: .*nope.* in v"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_its_field(fields: dict[str, Any], message: str) -> None:
    flow = add(a_flow(), "9" * 24, ref="taken")
    with pytest.raises(Invalid, match=message):
        add(flow, **fields)


def test_a_change_is_checked_like_a_new_step() -> None:
    flow = add(add(a_flow(), "9" * 24, ref="taken"))
    with pytest.raises(Invalid, match="ref taken is already used"):
        change(flow, ref="taken")
    assert change(flow, ref="setValue").version == 4


def test_templates_of_a_module_are_left_to_the_module() -> None:
    flow = add(a_flow(), app_id="template", args={"template": "{{ .amount }}"})
    assert flow.layers[0].args == {"template": "{{ .amount }}"}
    with pytest.raises(Invalid, match="args"):
        add(a_flow(), app_id="var", args={"value": "{{ .amount }}"})


def test_required_fields_are_named() -> None:
    for fields, message in (
        (LayerFields(app_id="var"), "name is required"),
        (LayerFields(name="a"), "appId is"),
    ):
        with pytest.raises(Invalid, match=message):
            decide(command(AddLayer, layer_id=LAYER, fields=fields), a_flow(), GIVEN)


def test_an_unknown_step_is_not_found() -> None:
    for kind, more in ((UpdateLayer, {"fields": LayerFields()}), (DeleteLayer, {})):
        with pytest.raises(NotFound, match="2" * 24) as caught:
            decide(command(kind, layer_id="2" * 24, **more), add(a_flow()), GIVEN)
        assert caught.value.code == "LAYER_NOT_FOUND"


def test_a_step_is_removed() -> None:
    flow = decide(command(DeleteLayer, layer_id=LAYER), add(a_flow()), GIVEN).flow
    assert (flow.layers, flow.version) == ((), 3)


def test_a_flow_holds_so_many_steps() -> None:
    flow = add(a_flow())
    full = msgspec.structs.replace(flow, layers=flow.layers * LAYERS_MAX)
    with pytest.raises(Refused, match=f"at most {LAYERS_MAX} layers"):
        add(full, "2" * 24)


def test_differences_are_told_place_by_place_and_layers_by_ref() -> None:
    before = add(create(name="A"), ref="one", args={"values": {"n": 1, "same": [1, 2]}})
    after = update(before, name="B", execution={"timeout": 5})
    renamed = msgspec.structs.replace(before.layers[0], ref="two")
    after = msgspec.structs.replace(after, layers=(renamed,))
    found = {change.path: (change.before, change.after) for change in differences(before, after)}
    assert found["name"] == ("A", "B")
    assert found["execution.timeout"] == (None, 5)
    assert found["layers.one"][1] is None
    assert found["layers.two"][0] is None
    assert set(found) == {"name", "execution.timeout", "layers.one", "layers.two"}
    assert differences(before, before) == []


def test_true_is_not_one_and_differences_have_an_end() -> None:
    flow = create(name="A")
    values = {f"v{n}": n for n in range(CHANGES_MAX + 5)}
    one, other = add(flow, args={"values": {"x": 1}}), add(flow, args={"values": {"x": True}})
    assert [change.path for change in differences(one, other)] == ["layers.setValue.args.values.x"]
    many = add(flow, args={"values": values})
    changed = add(flow, args={"values": dict.fromkeys(values, "x")})
    assert len(differences(many, changed)) == CHANGES_MAX


def test_a_version_is_restored_but_for_what_the_flow_is() -> None:
    old = add(create(name="A", category="x"), ref="one")
    now = msgspec.structs.replace(update(old, name="B", category="y"), layers=())
    given = msgspec.structs.replace(GIVEN, restored=old)
    event = decide(command(RestoreFlow, version=old.version), now, given)
    assert isinstance(event, FlowUpdated)
    assert event.flow == msgspec.structs.replace(old, version=now.version + 1, updated_at=T1)
    assert event.changed == ("name", "category", "layers")
    with pytest.raises(NotFound) as caught:
        decide(command(RestoreFlow, version=77), now, GIVEN)
    assert caught.value.code == "FLOW_VERSION_NOT_FOUND"


def test_a_read_of_what_nobody_provides_is_warned_of() -> None:
    flow = add(
        create(name="A"),
        ref="a",
        index=1,
        args={"values": {"x": "{{ $prev.b.n }}", "y": "{{ $prev.args.n }}"}},
    )
    assert warnings(flow, MODULES) == ("layer a reads $prev.b, which no layer provides",)
    later = add(flow, "2" * 24, name="b", ref="b", index=1)
    assert warnings(later, MODULES) == ("layer a reads $prev.b, which is not there before it runs",)
    earlier = add(flow, "2" * 24, name="b", ref="b", index=0)
    assert warnings(earlier, MODULES) == ()
    filters = [{"leftValue": "{{ $prev.c.state }}", "operator": "eq", "rightValue": "FAIL"}]
    filtered = add(create(name="A"), ref="a", filters=filters)
    assert warnings(filtered, MODULES) == ("layer a reads $prev.c, which no layer provides",)
    # What a module reads itself is its own.
    own = add(create(name="A"), ref="a", app_id="template", args={"template": "{{ .b }}", "data": {}})
    assert warnings(own, MODULES) == ()

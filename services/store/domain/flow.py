"""The rules for flows: a command and the flow as it is give the next event, or a refusal (spec flow8 section 5)."""

from typing import Any, assert_never

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.flow import (
    AddLayer,
    AnyFlowCommand,
    AnyFlowEvent,
    CreateFlow,
    DeleteFlow,
    DeleteLayer,
    Execution,
    Flow,
    FlowCreated,
    FlowDeleted,
    FlowFields,
    FlowUpdated,
    Layer,
    LayerAdded,
    LayerDeleted,
    LayerUpdated,
    RestoreFlow,
    UpdateFlow,
    UpdateLayer,
)
from services.store.domain import fields as check
from services.store.domain import layer as steps
from services.store.domain.layer import Modules

LAYERS_MAX = 500
CONCURRENT_MAX = 100_000
KV_CONFLICTS = ("child", "parent", "merge")
# What a version of a flow is beside its identity.
_CONTENT = ("name", "enabled", "category", "group_id", "kv_inherit", "kv_conflict", "execution", "layers")


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision about a flow reads beside the flow: the modules there are, and what was looked up for it.

    `permanent_id` is the name claimed for a new flow; `group_exists` answers for the group that the command names;
    `restored` is the version that it names.
    """

    modules: Modules
    permanent_id: str = ""
    group_exists: bool = False
    restored: Flow | None = None


def decide(command: AnyFlowCommand, flow: Flow | None, given: Surroundings) -> AnyFlowEvent:
    """Return the event that follows.

    Raises Invalid naming the field, NotFound (FLOW_NOT_FOUND, LAYER_NOT_FOUND), or Refused.
    """
    if isinstance(command, CreateFlow):
        return _create(command, flow, given)
    if flow is None or flow.deleted:
        raise NotFound(f"there is no flow {command.flow_id}", code="FLOW_NOT_FOUND")
    match command:
        case UpdateFlow():
            return _update(command, flow, given)
        case DeleteFlow():
            return FlowDeleted(at=command.at, by=command.by, flow=_next(flow, command, deleted=True))
        case RestoreFlow():
            return _restore(command, flow, given)
        case AddLayer():
            return _add_layer(command, flow, given)
        case UpdateLayer():
            return _update_layer(command, flow, given)
        case DeleteLayer():
            return _delete_layer(command, flow)
        case _:
            assert_never(command)


def check_fields(fields: FlowFields) -> dict[str, Any]:
    """Return the supplied fields of a flow, checked, by the names of Flow. Raises Invalid naming the field."""
    supplied = {name: getattr(fields, name) for name in fields.__struct_fields__}
    return {name: _CHECKS[name](value) for name, value in supplied.items() if value is not UNSET}


def _create(command: CreateFlow, flow: Flow | None, given: Surroundings) -> FlowCreated:
    if flow is not None:
        raise Refused(f"there is a flow {command.flow_id} already")
    new = check_fields(command.fields)
    if "name" not in new:
        raise Invalid("name is required")
    _check_group(new, given)
    blank = Flow(
        id=command.flow_id,
        company_id=command.company_id,
        permanent_id=given.permanent_id,
        name="",
        enabled=True,
        category="",
        group_id=None,
        kv_inherit="true",
        kv_conflict="child",
        execution=Execution(),
        version=1,
        created_at=command.at,
        updated_at=command.at,
    )
    made = msgspec.structs.replace(blank, **new)
    _check_error_flow(made)
    return FlowCreated(at=command.at, by=command.by, flow=made)


def _update(command: UpdateFlow, flow: Flow, given: Surroundings) -> FlowUpdated:
    new = check_fields(command.fields)
    _check_group(new, given)
    made = _next(flow, command, **new)
    _check_error_flow(made)
    return FlowUpdated(at=command.at, by=command.by, flow=made, changed=tuple(map(_camel, new)))


def _restore(command: RestoreFlow, flow: Flow, given: Surroundings) -> FlowUpdated:
    old = given.restored
    if old is None:
        raise NotFound(f"flow {flow.id} has no version {command.version}", code="FLOW_VERSION_NOT_FOUND")
    content = {name: getattr(old, name) for name in _CONTENT}
    if not given.group_exists:
        content["group_id"] = None
    changed = tuple(_camel(name) for name in _CONTENT if content[name] != getattr(flow, name))
    return FlowUpdated(at=command.at, by=command.by, flow=_next(flow, command, **content), changed=changed)


def _add_layer(command: AddLayer, flow: Flow, given: Surroundings) -> LayerAdded:
    if len(flow.layers) >= LAYERS_MAX:
        raise Refused(f"a flow holds at most {LAYERS_MAX} layers")
    if any(layer.id == command.layer_id for layer in flow.layers):
        raise Refused(f"there is a layer {command.layer_id} already")
    made = steps.added(
        command.fields, flow_id=flow.id, layer_id=command.layer_id, layers=flow.layers, modules=given.modules
    )
    changed = _next(flow, command, layers=(*flow.layers, made))
    return LayerAdded(at=command.at, by=command.by, flow=changed, layer_id=made.id)


def _update_layer(command: UpdateLayer, flow: Flow, given: Surroundings) -> LayerUpdated:
    old = _layer(flow, command.layer_id)
    made = steps.changed(old, command.fields, others=flow.layers, modules=given.modules)
    layers = tuple(made if layer.id == made.id else layer for layer in flow.layers)
    return LayerUpdated(
        at=command.at, by=command.by, flow=_next(flow, command, layers=layers), layer_id=made.id
    )


def _delete_layer(command: DeleteLayer, flow: Flow) -> LayerDeleted:
    gone = _layer(flow, command.layer_id)
    layers = tuple(layer for layer in flow.layers if layer.id != gone.id)
    return LayerDeleted(
        at=command.at, by=command.by, flow=_next(flow, command, layers=layers), layer_id=gone.id
    )


def _layer(flow: Flow, layer_id: str) -> Layer:
    for layer in flow.layers:
        if layer.id == layer_id:
            return layer
    raise NotFound(f"flow {flow.id} has no layer {layer_id}", code="LAYER_NOT_FOUND")


def _next(flow: Flow, command: AnyFlowCommand, **changes: Any) -> Flow:
    return msgspec.structs.replace(flow, version=flow.version + 1, updated_at=command.at, **changes)


def _check_group(new: dict[str, Any], given: Surroundings) -> None:
    if new.get("group_id") is not None and not given.group_exists:
        raise Invalid(f"groupId {new['group_id']} names no group")


def _check_error_flow(flow: Flow) -> None:
    if flow.execution.on_fail_flow_id in {flow.id, flow.permanent_id}:
        raise Invalid("execution.onFailFlowId must name another flow")


def _execution(value: Any) -> Execution:
    if value is None:
        return Execution()
    if not isinstance(value, dict):
        raise Invalid("execution must be an object")
    value = check.given(value)
    target = value.get("onFailFlowId")
    return Execution(
        timeout=check.whole(value.get("timeout", 0), "execution.timeout", high=check.TIMEOUT_S_MAX),
        max_concurrent=check.whole(
            value.get("maxConcurrent", 0), "execution.maxConcurrent", high=CONCURRENT_MAX
        ),
        on_fail_flow_id=None
        if target is None or target == ""
        else check.text(target, "execution.onFailFlowId"),
    )


def _kv_inherit(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return check.one_of(value, "kvInherit", ("true", "false"))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


_CHECKS: dict[str, Any] = {
    "name": check.name,
    "enabled": lambda value: check.boolean(value, "enabled"),
    "category": lambda value: check.text(value, "category"),
    "group_id": lambda value: None if value is None or value == "" else check.text(value, "groupId"),
    "kv_inherit": _kv_inherit,
    "kv_conflict": lambda value: check.one_of(value, "kvConflict", KV_CONFLICTS),
    "execution": _execution,
}

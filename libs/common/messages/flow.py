"""Flows and their layers: what people define, the facts about it, and what they ask for (spec flow8 section 5)."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.approval import Approval
from libs.common.messages.origin import Fact, Wish

OnError = Literal["fail", "continue", "skip"]


class Retry(msgspec.Struct, frozen=True, rename="camel"):
    """When and how often a failed attempt is repeated (spec flow8 section 10); waits in milliseconds."""

    count: int = 0
    delay_ms: int = 0
    backoff_multiplier: float = 1.0
    jitter: bool = False
    max_delay_ms: int | None = None


class Execution(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of a flow's runs; `timeout` in seconds, 0 = none."""

    timeout: int = 0
    max_concurrent: int = 0
    on_fail_flow_id: str | None = None


class Layer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One step of a flow: a module call with its arguments and rules; `timeout` in seconds, 0 = the default."""

    id: str
    flow_id: str
    name: str
    ref: str
    app_id: str
    index: int
    args: dict[str, Any] = {}
    timeout: int = 0
    retry: Retry | None = None
    filters: tuple[dict[str, Any], ...] = ()
    needs_approval: bool = False
    approval: Approval | None = None
    component_config_ids: dict[str, str] = {}
    link_ids_by_type: dict[str, str] = {}
    module_version: int = 1
    on_error: OnError = "fail"
    defer_after_ms: int = 0


class Flow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole definition of a flow, as each of its events carries it (D7)."""

    id: str
    company_id: str
    permanent_id: str
    name: str
    enabled: bool
    category: str
    group_id: str | None
    kv_inherit: str
    kv_conflict: str
    execution: Execution
    version: int
    created_at: datetime
    updated_at: datetime
    deleted: bool = False
    layers: tuple[Layer, ...] = ()


# ── commands (core requests on `cmd.flow`, decided by the store) ────────────────────────────────────


class FlowCommand(Wish, frozen=True, kw_only=True):
    """A wish about a flow."""


class FlowFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a flow; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    category: str | UnsetType = UNSET
    group_id: str | None | UnsetType = UNSET
    kv_inherit: str | bool | UnsetType = UNSET
    kv_conflict: str | UnsetType = UNSET
    execution: dict[str, Any] | None | UnsetType = UNSET


class LayerFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a layer; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    ref: str | UnsetType = UNSET
    app_id: str | UnsetType = UNSET
    index: int | UnsetType = UNSET
    args: dict[str, Any] | None | UnsetType = UNSET
    timeout: int | None | UnsetType = UNSET
    retry: dict[str, Any] | None | UnsetType = UNSET
    filters: list[Any] | None | UnsetType = UNSET
    needs_approval: bool | UnsetType = UNSET
    approval: dict[str, Any] | None | UnsetType = UNSET
    component_config_ids: dict[str, str] | None | UnsetType = UNSET
    link_ids_by_type: dict[str, str] | None | UnsetType = UNSET
    module_version: int | UnsetType = UNSET
    on_error: str | None | UnsetType = UNSET
    defer_after_ms: int | None | UnsetType = UNSET


class CreateFlow(FlowCommand, frozen=True, kw_only=True, tag="flow.create"):
    """Define a new flow."""

    flow_id: str
    fields: FlowFields


class UpdateFlow(FlowCommand, frozen=True, kw_only=True, tag="flow.update"):
    """Change fields of a flow (shallow merge, Q4)."""

    flow_id: str
    fields: FlowFields


class DeleteFlow(FlowCommand, frozen=True, kw_only=True, tag="flow.delete"):
    """Delete a flow softly; its plays stay readable."""

    flow_id: str


class RestoreFlow(FlowCommand, frozen=True, kw_only=True, tag="flow.restore"):
    """Give a flow the content of an earlier version of it, as a new version."""

    flow_id: str
    version: int


class AddLayer(FlowCommand, frozen=True, kw_only=True, tag="flow.layer.add"):
    """Add a step to a flow."""

    flow_id: str
    layer_id: str
    fields: LayerFields


class UpdateLayer(FlowCommand, frozen=True, kw_only=True, tag="flow.layer.update"):
    """Change fields of a step."""

    flow_id: str
    layer_id: str
    fields: LayerFields


class DeleteLayer(FlowCommand, frozen=True, kw_only=True, tag="flow.layer.delete"):
    """Remove a step."""

    flow_id: str
    layer_id: str


AnyFlowCommand = CreateFlow | UpdateFlow | DeleteFlow | RestoreFlow | AddLayer | UpdateLayer | DeleteLayer


# ── events (on `evt.flow.<company>.<id>`) ───────────────────────────────────────────────────────────


class FlowEvent(Fact, frozen=True, kw_only=True):
    """A fact about a flow, with the full definition after it (D7)."""

    flow: Flow


class FlowCreated(FlowEvent, frozen=True, kw_only=True):
    """A flow was defined."""


class FlowUpdated(FlowEvent, frozen=True, kw_only=True):
    """Fields of a flow were changed."""

    changed: tuple[str, ...] = ()


class FlowDeleted(FlowEvent, frozen=True, kw_only=True):
    """A flow was deleted (softly)."""


class LayerAdded(FlowEvent, frozen=True, kw_only=True):
    """A step was added to a flow."""

    layer_id: str


class LayerUpdated(FlowEvent, frozen=True, kw_only=True):
    """A step of a flow was changed."""

    layer_id: str


class LayerDeleted(FlowEvent, frozen=True, kw_only=True):
    """A step was removed from a flow."""

    layer_id: str


AnyFlowEvent = FlowCreated | FlowUpdated | FlowDeleted | LayerAdded | LayerUpdated | LayerDeleted

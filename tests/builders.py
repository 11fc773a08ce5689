"""Flows, layers, commands and plans for tests: valid by default, override what matters."""

from datetime import UTC, datetime
from typing import Any

from libs.common.messages import play as m
from libs.common.messages.flow import Execution, Flow, Layer
from services.executor.plan import Plan, Traits, compile_plan

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODULES = {
    "note": Traits(True, frozenset()),
    "touch": Traits(False, frozenset()),
    "iterator": Traits(True, frozenset()),
    "aggregator": Traits(True, frozenset({"sourceRef", "field"})),
}


def a_layer(ref: str = "a", **fields: Any) -> Layer:
    """Return a layer of the module `note` at index 0; its id is `id-<ref>`."""
    given: dict[str, Any] = {
        "id": f"id-{ref}",
        "flow_id": "f",
        "name": ref,
        "ref": ref,
        "app_id": "note",
        "index": 0,
    }
    return Layer(**{**given, **fields})


def a_flow(*layers: Layer, execution: Execution | None = None, **fields: Any) -> Flow:
    """Return a flow of these layers."""
    given: dict[str, Any] = {
        "id": "f",
        "company_id": "c",
        "permanent_id": "f",
        "name": "f",
        "enabled": True,
        "category": "",
        "group_id": None,
        "kv_inherit": "true",
        "kv_conflict": "child",
        "execution": execution or Execution(),
        "version": 1,
        "created_at": AT,
        "updated_at": AT,
        "layers": layers,
    }
    return Flow(**{**given, **fields})


def a_plan(*layers: Layer, execution: Execution | None = None) -> Plan:
    """Return the compiled plan of a flow of these layers: `note` (pure), `touch` (effects), iterators, aggregators."""
    return compile_plan(a_flow(*layers, execution=execution), definition=1, modules=MODULES)


def a_start(**fields: Any) -> m.StartPlay:
    """Return a start command."""
    return m.StartPlay(**{"at": AT, "definition": 1, "flow_version": 1, "seed": "seed", **fields})


def an_approval(ref: str, decision: m.Decision = "approved", **fields: Any) -> m.ApprovePlay:
    """Return the decision on a layer of `a_layer`."""
    return m.ApprovePlay(
        **{"at": AT, "layer_id": f"id-{ref}", "decision": decision, "by": "somebody", **fields}
    )

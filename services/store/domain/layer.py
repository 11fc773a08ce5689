"""The rules for one step of a flow (spec flow8 sections 5.2, 6, 7 and 10)."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid
from libs.common.messages.approval import ON_TIMEOUT, Approval, OnTimeout
from libs.common.messages.flow import Layer, LayerFields, Retry
from libs.common.messages.module import ModuleInfo
from libs.expressions import ExpressionError, compile_module_args
from libs.expressions.filters import FilterError, compile_filters
from services.store.domain import fields as check
from services.store.domain.names import REF_CHARS_MAX, REF_PATTERN, REFS_RESERVED, derived_ref, is_person

INDEX_MAX = 1_000_000
ARGS_BYTES_MAX = 262_144
RETRY_COUNT_MAX = 100
BACKOFF_MULTIPLIER_MAX = 100.0
FILTERS_MAX = 100
REFERENCES_MAX = 50  # componentConfigIds, linkIdsByType
MODULE_VERSION_MAX = 1_000_000
APPROVERS_MAX = 50
APPROVAL_COUNT_MAX = 20
APPROVAL_WAIT_S_MAX = 366 * 24 * 3600
APPROVAL_REMIND_S_MIN = 10  # each reminder costs two commits
_APPROVAL_FIELDS = {field.encode_name for field in msgspec.structs.fields(Approval)}
ON_ERROR = ("fail", "continue", "skip")

Modules = Mapping[str, ModuleInfo]


def added(
    given: LayerFields, *, flow_id: str, layer_id: str, layers: tuple[Layer, ...], modules: Modules
) -> Layer:
    """Return the new step. Raises Invalid naming the field that does not fit."""
    if given.name is UNSET:
        raise Invalid("name is required")
    if given.app_id is UNSET:
        raise Invalid("appId is required")
    refs = {layer.ref for layer in layers}
    name = check.name(given.name)
    highest = max((layer.index for layer in layers), default=-1)
    blank = Layer(
        id=layer_id,
        flow_id=flow_id,
        name=name,
        # Derived refs never clash; a given one is checked below.
        ref=derived_ref(name, refs) if given.ref is UNSET or given.ref == "" else str(given.ref),
        app_id=given.app_id,
        index=min(highest + 1, INDEX_MAX),
    )
    return changed(blank, given, others=layers, modules=modules)


def changed(layer: Layer, given: LayerFields, *, others: tuple[Layer, ...], modules: Modules) -> Layer:
    """Return the step with the supplied fields replaced; null sets a field back to its default.

    Who gives a step an approval's rules means it to wait, unless they say otherwise in the same breath (ADR 35).
    Raises Invalid naming the field that does not fit.
    """
    new = {name: value for name, value in _supplied(given).items() if not (name == "ref" and value == "")}
    if new.get("approval") is not None:
        new = {"needs_approval": True, **new}
    made = msgspec.structs.replace(layer, **{name: _CHECKS[name](value) for name, value in new.items()})
    _check_ref(made, others)
    _check_module(made, modules)
    return made


def _supplied(given: LayerFields) -> dict[str, Any]:
    names = given.__struct_fields__
    return {name: value for name in names if (value := getattr(given, name)) is not UNSET}


def _check_ref(layer: Layer, others: tuple[Layer, ...]) -> None:
    ref = layer.ref
    if len(ref) > REF_CHARS_MAX or REF_PATTERN.fullmatch(ref) is None:
        raise Invalid(f"ref must match ^[A-Za-z_][A-Za-z0-9_]*$ and hold at most {REF_CHARS_MAX} characters")
    if ref in REFS_RESERVED:
        raise Invalid(f"ref {ref} is reserved: $prev.{ref} holds the arguments of the call")
    if any(other.ref == ref and other.id != layer.id for other in others):
        raise Invalid(f"ref {ref} is already used in this flow")


def _check_module(layer: Layer, modules: Modules) -> None:
    info = modules.get(layer.app_id)
    if info is None:
        raise Invalid(f"appId {layer.app_id[:80]} names no module")
    try:
        compile_module_args(layer.args, raw=frozenset(info.raw_args))
    except ExpressionError as error:
        raise Invalid(f"layer {layer.ref}: args: {error}") from error
    try:
        compile_filters(list(layer.filters))
    except (FilterError, ExpressionError) as error:
        raise Invalid(f"layer {layer.ref}: {error}") from error


def _args(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("args must be an object")
    size = len(msgspec.json.encode(value))
    if size > ARGS_BYTES_MAX:
        raise Invalid(f"args hold at most {ARGS_BYTES_MAX} bytes of JSON, not {size}")
    return value


def _retry(value: Any) -> Retry | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Invalid("retry must be an object")
    value = check.given(value)
    longest = value.get("maxDelayMs")
    return Retry(
        count=check.whole(value.get("count", 0), "retry.count", high=RETRY_COUNT_MAX),
        delay_ms=check.whole(value.get("delayMs", 0), "retry.delayMs", high=check.WAIT_MS_MAX),
        backoff_multiplier=check.number(
            value.get("backoffMultiplier", 1), "retry.backoffMultiplier", low=1, high=BACKOFF_MULTIPLIER_MAX
        ),
        jitter=check.boolean(value.get("jitter", False), "retry.jitter"),
        max_delay_ms=None
        if longest is None
        else check.whole(longest, "retry.maxDelayMs", high=check.WAIT_MS_MAX),
    )


def _approval(value: Any) -> Approval | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Invalid("approval must be an object")
    unknown = sorted(set(value) - _APPROVAL_FIELDS)
    if unknown:
        raise Invalid(f"approval has no field {unknown[0][:80]!r}")
    value = check.given(value)
    on_timeout = check.one_of(value.get("onTimeout", "decline"), "approval.onTimeout", ON_TIMEOUT)
    rules = Approval(
        approvers=_people(value.get("approvers"), "approval.approvers"),
        count=check.whole(value.get("count", 1), "approval.count", low=1, high=APPROVAL_COUNT_MAX),
        timeout=check.whole(value.get("timeout", 0), "approval.timeout", high=APPROVAL_WAIT_S_MAX),
        on_timeout=cast("OnTimeout", on_timeout),
        escalate_to=_people(value.get("escalateTo"), "approval.escalateTo"),
        no_self_approval=check.boolean(value.get("noSelfApproval", False), "approval.noSelfApproval"),
        remind_every_seconds=check.whole(
            value.get("remindEverySeconds", 0), "approval.remindEverySeconds", high=APPROVAL_WAIT_S_MAX
        ),
    )
    if rules.escalate_to and rules.on_timeout != "escalate":
        raise Invalid("approval.escalateTo needs approval.onTimeout to be escalate")
    if rules.on_timeout != "decline" and not rules.timeout:
        raise Invalid("approval.onTimeout needs approval.timeout")
    if 0 < rules.remind_every_seconds < APPROVAL_REMIND_S_MIN:
        raise Invalid(f"approval.remindEverySeconds must be 0 or at least {APPROVAL_REMIND_S_MIN}")
    return rules


def _people(value: Any, field: str) -> tuple[str, ...]:
    """Return roles, user ids and emails, each once."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > APPROVERS_MAX:
        raise Invalid(f"{field} must be an array of at most {APPROVERS_MAX} roles, user ids or emails")
    for name in value:
        if not isinstance(name, str) or not is_person(name):
            raise Invalid(f"{field}: {str(name)[:80]!r} is neither a role, a user id nor an email")
    return tuple(dict.fromkeys(value))


def _filters(value: Any) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Invalid("filters must be an array of objects")
    if len(value) > FILTERS_MAX:
        raise Invalid(f"filters hold at most {FILTERS_MAX} entries, not {len(value)}")
    return tuple(value)


def _references(field: str) -> Any:
    return lambda value: {} if value is None else check.text_map(value, field, entries_max=REFERENCES_MAX)


_CHECKS: dict[str, Any] = {
    "name": check.name,
    "ref": lambda value: check.text(value, "ref"),
    "app_id": lambda value: check.name(value, "appId"),
    "index": lambda value: check.whole(value, "index", high=INDEX_MAX),
    "args": _args,
    "timeout": lambda value: 0 if value is None else check.whole(value, "timeout", high=check.TIMEOUT_S_MAX),
    "retry": _retry,
    "filters": _filters,
    "needs_approval": lambda value: check.boolean(value, "needsApproval"),
    "approval": _approval,
    "component_config_ids": _references("componentConfigIds"),
    "link_ids_by_type": _references("linkIdsByType"),
    "module_version": lambda value: check.whole(value, "moduleVersion", low=1, high=MODULE_VERSION_MAX),
    "on_error": lambda value: "fail" if value is None else check.one_of(value, "onError", ON_ERROR),
    "defer_after_ms": lambda value: (
        0 if value is None else check.whole(value, "deferAfterMs", high=check.WAIT_MS_MAX)
    ),
}

"""A module as a node of the catalogue: its pins follow from its typed args and from what it puts out. Pure.

The shapes are those of spec flow-like sections 6.3 and 9.1: prototypes, which editors copy. Ids are derived, so the
same module has the same node everywhere and always.
"""

from typing import Any, Literal

import msgspec

from libs.common import ids
from libs.common.messages.module import ModuleInfo

PinType = Literal["Input", "Output"]
DataType = Literal[
    "Execution", "String", "Integer", "Float", "Boolean", "Date", "PathBuf", "Generic", "Struct", "Byte"
]
ValueType = Literal["Normal", "Array", "HashMap", "HashSet"]
Json = dict[str, Any]
# Modules of these families act when their turn comes, though they touch nothing outside of the play.
ACTING_FAMILIES = frozenset({"control"})
_PLAIN: dict[str, DataType] = {
    "string": "String", "integer": "Integer", "number": "Float", "boolean": "Boolean", "object": "Struct",
}  # fmt: skip


class PinOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an editor should hold a value to."""

    sensitive: bool = False
    valid_values: list[str] | None = None
    range: list[float] | None = None
    step: float | None = None
    enforce_schema: bool = False
    enforce_generic_value_type: bool = False


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a wire; `default_value` is JSON as the numbers of its bytes."""

    id: str
    name: str
    friendly_name: str
    description: str
    pin_type: PinType
    data_type: DataType
    value_type: ValueType
    schema: str | None
    depends_on: tuple[str, ...]
    connected_to: tuple[str, ...]
    default_value: list[int] | None
    index: int
    options: PinOptions | None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A prototype of a node."""

    id: str
    name: str
    friendly_name: str
    description: str
    coordinates: list[float] | None
    category: str
    scores: dict[str, int] | None
    pins: dict[str, Pin]
    start: bool | None
    icon: str | None
    comment: str | None
    long_running: bool | None
    error: str | None
    docs: str | None
    event_callback: bool | None
    layer: str | None
    only_offline: bool
    version: int


def node_of(module: ModuleInfo) -> Node:
    """Return the node that a module is."""
    acts = not module.pure or module.family in ACTING_FAMILIES
    pins = [
        *([_execution(module, "exec_in", "Input")] if acts else []),
        *_inputs(module),
        *([_execution(module, "exec_out", "Output")] if acts else []),
        *_outputs(module),
    ]
    counted: dict[str, int] = {"Input": 0, "Output": 0}
    placed: dict[str, Pin] = {}
    for pin in pins:
        counted[pin.pin_type] += 1
        placed[pin.id] = msgspec.structs.replace(pin, index=counted[pin.pin_type])
    return Node(
        id=ids.derived_id("node", module.app_id),
        name=module.app_id,
        friendly_name=_friendly(module.app_id),
        description=module.docs,
        coordinates=None,
        category=_friendly(module.family) or "Other",
        scores=None,
        pins=placed,
        start=None,
        icon=None,
        comment=None,
        long_running=None if module.pure else True,
        error=None,
        docs=None,
        event_callback=None,
        layer=None,
        only_offline=False,
        version=module.version,
    )


def _inputs(module: ModuleInfo) -> list[Pin]:
    schema = module.args_schema
    definitions = schema.get("$defs", {})
    return [
        _input(module, name, _resolved(told, definitions))
        for name, told in schema.get("properties", {}).items()
    ]


def _input(module: ModuleInfo, name: str, told: Json) -> Pin:
    data_type, value_type = _types(told)
    default = [*msgspec.json.encode(told["default"])] if "default" in told else None
    # An object's shape is worth telling; that a text is a text is said already.
    schema = msgspec.json.encode(told).decode() if "properties" in told or "items" in told else None
    return _pin(
        module,
        name,
        "Input",
        data_type,
        value_type,
        description=told.get("description", ""),
        default_value=default,
        schema=schema,
        options=_options(told),
    )


def _outputs(module: ModuleInfo) -> list[Pin]:
    example = module.out_example
    named = example if isinstance(example, dict) else {"result": example}
    return [_pin(module, name, "Output", *_types_of_value(value)) for name, value in named.items()]


def _execution(module: ModuleInfo, name: str, kind: PinType) -> Pin:
    return _pin(module, name, kind, "Execution", "Normal")


def _pin(
    module: ModuleInfo, name: str, kind: PinType, data_type: DataType, value_type: ValueType, **more: Any
) -> Pin:
    fields: Json = {"description": "", "schema": None, "default_value": None, "options": None, **more}
    return Pin(
        id=ids.derived_id("pin", module.app_id, kind, name),
        name=name,
        friendly_name=_friendly(name),
        pin_type=kind,
        data_type=data_type,
        value_type=value_type,
        depends_on=(),
        connected_to=(),
        index=0,
        **fields,
    )


def _resolved(told: Json, definitions: Json) -> Json:
    """Return a schema with its reference followed, and without the null that an absent value would be."""
    if "$ref" in told:
        found = definitions.get(told["$ref"].rpartition("/")[2], {})
        return {**found, **{key: value for key, value in told.items() if key != "$ref"}}
    choices = [part for part in told.get("anyOf", ()) if part.get("type") != "null"]
    if len(choices) == 1:
        rest = {key: value for key, value in told.items() if key != "anyOf"}
        return {**_resolved(choices[0], definitions), **rest}
    return told


def _types(told: Json) -> tuple[DataType, ValueType]:
    kind = told.get("type")
    if kind == "array":
        items = told.get("items")
        return _types(items)[0] if isinstance(items, dict) else "Generic", "Array"
    values = told.get("additionalProperties")
    if kind == "object" and isinstance(values, dict) and "properties" not in told:
        return _types(values)[0], "HashMap"
    if kind == "string" and told.get("format") == "date-time":
        return "Date", "Normal"
    if kind is None and all(isinstance(value, str) for value in told.get("enum", (0,))):
        return "String", "Normal"
    return _PLAIN.get(str(kind), "Generic"), "Normal"


def _types_of_value(value: Any) -> tuple[DataType, ValueType]:
    match value:
        case bool():
            return "Boolean", "Normal"
        case int():
            return "Integer", "Normal"
        case float():
            return "Float", "Normal"
        case str():
            return "String", "Normal"
        case dict():
            return "Struct", "Normal"
        case list():
            kinds = {_types_of_value(item)[0] for item in value}
            return kinds.pop() if len(kinds) == 1 else "Generic", "Array"
        case _:
            return "Generic", "Normal"


def _options(told: Json) -> PinOptions | None:
    allowed = told.get("enum")
    low, high = told.get("minimum"), told.get("maximum")
    if allowed is None and (low is None or high is None):
        return None
    return PinOptions(
        valid_values=None if allowed is None else [str(value) for value in allowed],
        range=None if low is None or high is None else [float(low), float(high)],
    )


def _friendly(name: str) -> str:
    words = name.replace("-", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]

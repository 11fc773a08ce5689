"""As much of JSON Schema 2020-12 as our documents use: does a value fit a schema."""

from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
# A word that is not here would be passed over in silence.
KNOWN = {
    "$ref", "anyOf", "type", "enum", "const", "properties", "required", "items", "additionalProperties", "minimum",
    "title", "description", "default", "format", "examples", "maximum", "prefixItems", "minItems", "maxItems",
}  # fmt: skip


def resolved(document: Any, ref: str) -> Any:
    """Return what a reference inside a document names. Raises KeyError when nothing is there."""
    found = document
    for part in ref.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/")]
    return found


def references(node: Any) -> set[str]:
    """Return all references in a document."""
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def misfits(value: Any, schema: Any, document: Any, at: str = "$") -> list[str]:
    """Return where a value does not fit a schema of this document."""
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "$ref" in schema:
        return misfits(value, resolved(document, schema["$ref"]), document, at)
    if "anyOf" in schema:
        tries = [misfits(value, part, document, at) for part in schema["anyOf"]]
        return [] if [] in tries else [f"{at}: fits none of {len(tries)}"]
    if not _is(value, schema.get("type")):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if "const" in schema and value != schema["const"]:
        return [f"{at}: {value!r} is not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is none of {schema['enum']}"]
    if "minimum" in schema and value < schema["minimum"]:
        return [f"{at}: {value!r} is below {schema['minimum']}"]
    if isinstance(value, dict):
        return _members(value, schema, document, at)
    if isinstance(value, list):
        return [
            misfit
            for place, item in enumerate(value)
            for misfit in misfits(item, schema.get("items") or {}, document, f"{at}[{place}]")
        ]
    return []


def _members(value: dict[str, Any], schema: Any, document: Any, at: str) -> list[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    found = [f"{at}.{name}: is missing" for name in schema.get("required", ()) if name not in value]
    for name, member in value.items():
        inner = properties.get(name, others if isinstance(others, dict) else {})
        found += misfits(member, inner, document, f"{at}.{name}")
    return found


def _is(value: Any, types: str | list[str] | None) -> bool:
    if types is None:
        return True
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, TYPES[name]) for name in names)

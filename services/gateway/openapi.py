"""The OpenAPI 3.1 document, made from the table of routes and what their handlers declare.

https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from libs.common.health import VERSION
from services.gateway import samples
from services.gateway.auth import COOKIE
from services.gateway.bodies import never_null
from services.gateway.flow_like import surface
from services.gateway.operations import JSON, Answer, Operation, Parameter, operation_of
from services.gateway.positions import HEADER
from services.gateway.problems import Problem
from services.gateway.routing import Route

Json = dict[str, Any]
SCHEMAS = "#/components/schemas/{name}"
NOTHING = Operation()
# Before the names of the second surface's tags and errors.
SECOND = "flow-like-"
ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("VALIDATION_ERROR", "The request does not fit; the message names the field"),
    401: ("UNAUTHORIZED", "No credential, or one that does not hold"),
    403: ("FORBIDDEN", "The caller's role does not allow it"),
    404: ("NOT_FOUND", "There is no such thing for this caller"),
    408: ("REQUEST_TIMEOUT", "The body did not come in time"),
    409: ("CONFLICT", "The present state does not allow it"),
    413: ("PAYLOAD_TOO_LARGE", "The body is too large"),
    429: ("TOO_MANY_REQUESTS", "Too often, or too many at once"),
    500: ("INTERNAL_ERROR", "Our mistake; it was logged"),
    503: ("UNAVAILABLE", "A part of the system does not answer; try again after Retry-After"),
}
_PARAMETER = re.compile(r"\{(\w+)\}")
_DESCRIPTION = (
    "Workflows as event streams. A body is a JSON object, whatever its Content-Type says. Times are RFC 3339 in UTC, "
    "durations are milliseconds. The header Headrace-Sequence of an answer tells how far into the log it reaches; "
    "send it back to another gateway to read your own writes there. "
    "Two things have ports of their own: the MCP server, which offers flows to agents as tools (HEADRACE_MCP_PORT, "
    "4445, path /mcp), and each HTTP or WebSocket channel (its `port`, out of HEADRACE_CHANNEL_PORTS, 7701-7799)."
)


def document(routes: Iterable[Route]) -> Json:
    """Return the document of these routes, as JSON."""
    operations = [(route, operation_of(route) or NOTHING) for route in routes]
    schemas, components = _schemas(operations)
    _name_pairs_plainly([schemas, components])
    paths: Json = {}
    tags: Json = {}
    for route, told in operations:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, told, schemas)
        tags.setdefault(_tag(route), _words_of(route))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": words} for name, words in tags.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                **{str(status): _error(status) for status in ERRORS},
                **{f"{SECOND}{status}": _error_of_second(status) for status in ERRORS},
            },
            "headers": {
                HEADER: {
                    "description": "How far into the log this answer reaches",
                    "schema": {"type": "string"},
                }
            },
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "A session"},
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An API key",
                },
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token (ES256) or a personal access token (`pat_…`)",
                },
            },
        },
    }


def _schemas(operations: list[tuple[Route, Operation]]) -> tuple[dict[Any, Json], Json]:
    shapes: list[Any] = [Problem, surface.ErrorEnvelope]
    for _, told in operations:
        shapes += [] if told.body is None else [told.body]
        shapes += [kind for answer in told.answers for kind in _kinds(answer)]
    unique = list(dict.fromkeys(shapes))
    found, components = msgspec.json.schema_components(unique, ref_template=SCHEMAS)
    schemas = dict(zip(unique, found, strict=True))
    for body in {told.body for _, told in operations if told.body is not None}:
        if names := never_null(body):
            _let_be_null(components[schemas[body]["$ref"].rpartition("/")[2]], names)
    return schemas, components


def _let_be_null(schema: Json, names: frozenset[str]) -> None:
    """Say of the fields of a body that need not be given that they may be null, which means the same."""
    for name in names - set(schema.get("required", ())):
        kind = dict(schema["properties"][name])
        about = {word: kind.pop(word) for word in ("default", "description") if word in kind}
        kinds = kind.pop("anyOf", None) or [kind]
        schema["properties"][name] = {"anyOf": [*kinds, {"type": "null"}], **about}


def _operation(route: Route, told: Operation, schemas: dict[Any, Json]) -> Json:
    permission = told.permission or route.permission
    needs = f"Needs the permission `{permission}`." if permission else ""
    found: Json = {
        "operationId": _operation_id(route),
        "tags": [_tag(route)],
        "summary": told.summary,
        "description": " ".join(part for part in (told.description, needs) if part),
        "parameters": [*map(_in_path, _PARAMETER.findall(route.path)), *map(_parameter, told.parameters)],
    }
    if told.body is not None:
        found["requestBody"] = {
            "required": not told.body_optional,
            "content": {JSON: {"schema": schemas[told.body], "example": samples.body(told.body)}},
        }
    found["responses"] = {
        **{str(answer.status): _answer(answer, schemas) for answer in told.answers},
        **{str(status): {"$ref": _response_of(route, status)} for status in _refusals(route, told)},
    }
    found["security"] = [{"session": []}, {"key": []}, {"token": []}] if permission else []
    return {key: value for key, value in found.items() if value or key in {"responses", "security"}}


def _refusals(route: Route, told: Operation) -> list[int]:
    statuses = {500, *told.refusals}
    if told.parameters or told.body is not None:
        statuses.add(400)
    if told.body is not None:
        statuses |= {408, 413}
    if "{" in route.path:
        statuses.add(404)
    if told.permission or route.permission:
        statuses |= {401, 403, 503}
    return sorted(statuses - {answer.status for answer in told.answers})


def _name_pairs_plainly(node: Any) -> None:
    """Say of an array of fixed length what its entries may be, not which stands where: not every reader can tell."""
    if isinstance(node, dict):
        if "prefixItems" in node:
            node["items"] = {"anyOf": node.pop("prefixItems")}
        for value in node.values():
            _name_pairs_plainly(value)
    elif isinstance(node, list):
        for value in node:
            _name_pairs_plainly(value)


def _answer(answer: Answer, schemas: dict[Any, Json]) -> Json:
    found: Json = {"description": answer.description or HTTPStatus(answer.status).phrase}
    kinds = _kinds(answer)
    if not kinds:
        return found
    schema = schemas[kinds[0]] if len(kinds) == 1 else {"anyOf": [schemas[kind] for kind in kinds]}
    example = samples.of(kinds[0])
    if answer.page:
        schema, example = _page(schema), {"data": [example], "total": 1, "page": 0, "size": 25, "pages": 1}
    if answer.media_type == JSON:
        found["headers"] = {HEADER: {"$ref": f"#/components/headers/{HEADER}"}}
        found["content"] = {JSON: {"schema": schema, "example": example}}
    else:
        found["content"] = {answer.media_type: {"schema": schema}}
    return found


def _kinds(answer: Answer) -> tuple[Any, ...]:
    if answer.shape is None:
        return ()
    return answer.shape if isinstance(answer.shape, tuple) else (answer.shape,)


def _page(schema: Json) -> Json:
    whole = {"type": "integer", "minimum": 0}
    properties = {
        "data": {"type": "array", "items": schema}, "total": whole, "page": whole, "size": whole, "pages": whole,
    }  # fmt: skip
    return {"type": "object", "properties": properties, "required": list(properties)}


def _error(status: int) -> Json:
    code, words = ERRORS[status]
    example = {"error": code, "message": words, "statusCode": status}
    return {
        "description": words,
        "content": {JSON: {"schema": {"$ref": SCHEMAS.format(name=Problem.__name__)}, "example": example}},
    }


def _error_of_second(status: int) -> Json:
    code, words = surface.CODES[status], ERRORS[status][1]
    return {
        "description": words,
        "content": {
            JSON: {
                "schema": {"$ref": SCHEMAS.format(name=surface.ErrorEnvelope.__name__)},
                "example": {"error": {"code": code, "message": words}},
            }
        },
    }


def _response_of(route: Route, status: int) -> str:
    return f"#/components/responses/{SECOND if surface.covers(route.path) else ''}{status}"


def _in_path(name: str) -> Json:
    example = samples.NAMED.get(name, samples.ID)
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": str(example),
    }


def _parameter(told: Parameter) -> Json:
    found: Json = {
        "name": told.name, "in": told.place, "description": told.description, "schema": dict(told.schema),
    }  # fmt: skip
    return {**found, "required": True} if told.required else found


def _operation_id(route: Route) -> str:
    """Return `getFlowsIdLayers` for `GET /api/flows/{id}/layers`."""
    words = re.findall(r"\w+", route.path.removeprefix("/api"))
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _tag(route: Route) -> str:
    noun = route.handler.__module__.rpartition(".")[2]
    return f"{SECOND}{noun}" if surface.covers(route.path) else noun


def _words_of(route: Route) -> str:
    owner = getattr(route.handler, "__self__", None)
    return (type(owner).__doc__ or "").strip().partition("\n")[0]

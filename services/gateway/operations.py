"""What is told of an endpoint where it is written: its body, its parameters, its answers; `openapi` reads it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from services.gateway.routing import Route

H = TypeVar("H", bound=Callable[..., Any])
JSON = "application/json"
Schema = Mapping[str, Any]


class Parameter(NamedTuple):
    """A query parameter or header: what it means, and the JSON schema of its value."""

    name: str
    description: str
    schema: Schema
    place: str = "query"
    required: bool = False


class Answer(NamedTuple):
    """A good answer. `page` wraps its shape in a list's envelope.

    `shape` is a type that msgspec knows, a tuple of them when it is any of these, None for no body.
    """

    status: int
    shape: Any
    description: str = ""
    page: bool = False
    media_type: str = JSON


class Operation(NamedTuple):
    """All that is declared of one endpoint."""

    summary: str = ""
    description: str = ""
    body: Any = None
    body_optional: bool = False
    parameters: tuple[Parameter, ...] = ()
    answers: tuple[Answer, ...] = ()
    # Statuses of errors beside those that follow from permission, path, query and body.
    refusals: tuple[int, ...] = ()
    permission: str | None = None


_declared: dict[object, Operation] = {}


def operation(  # noqa: PLR0913 - one keyword per fact, each with a default
    shape: Any = None,
    *,
    status: int = 200,
    page: bool = False,
    media_type: str = JSON,
    also: tuple[Answer, ...] = (),
    body: msgspec.json.Decoder[Any] | None = None,
    body_optional: bool = False,
    query: tuple[Parameter, ...] = (),
    refusals: tuple[int, ...] = (),
    permission: str | None = None,
) -> Callable[[H], H]:
    """Declare what a handler takes and answers; what it does is its docstring, the first line being the summary.

    `body` is the decoder that the handler reads with. `refusals` are statuses of errors beside those that follow
    from permission, path, query and body. `permission` is what a handler checks that is routed without one.
    """

    def declared(handler: H) -> H:
        summary, _, rest = (handler.__doc__ or "").strip().partition("\n")
        parameters = (*PAGE, *query) if page else query
        _declared[handler] = Operation(
            summary=summary.strip().rstrip("."),
            description=" ".join(rest.split()),
            body=None if body is None else body.type,
            body_optional=body_optional,
            parameters=parameters,
            answers=(Answer(status, shape, page=page, media_type=media_type), *also),
            refusals=refusals,
            permission=permission,
        )
        return handler

    return declared


def operation_of(route: Route) -> Operation | None:
    """Return what the route's handler declares, None when it declares nothing."""
    return _declared.get(getattr(route.handler, "__func__", route.handler))


def text(name: str, description: str, *, required: bool = False) -> Parameter:
    """Return a query parameter that is free text."""
    return Parameter(name, description, {"type": "string"}, required=required)


def choice(name: str, description: str, allowed: tuple[str, ...]) -> Parameter:
    """Return a query parameter that is one of some words."""
    return Parameter(name, description, {"type": "string", "enum": list(allowed)})


def switch(name: str, description: str) -> Parameter:
    """Return a query parameter that is true or false."""
    return Parameter(name, description, {"type": "boolean"})


def number(
    name: str, description: str, *, default: int | None = None, at_least: int = 0, required: bool = False
) -> Parameter:
    """Return a query parameter that is a whole number."""
    schema: dict[str, Any] = {"type": "integer", "minimum": at_least}
    return Parameter(
        name, description, schema if default is None else {**schema, "default": default}, required=required
    )


def moment(name: str, description: str) -> Parameter:
    """Return a query parameter that is a date or a timestamp."""
    schema = {"type": "string", "examples": ["2026-01-31", "2026-01-31T12:00:00Z"]}
    return Parameter(name, description, schema)


def header(name: str, description: str, schema: Schema) -> Parameter:
    """Return a request header."""
    return Parameter(name, description, schema, place="header")


# Sizes above the greatest are answered with that one (Q5), so the schema names no maximum.
PAGE = (
    number("page", "Which page, from 0", default=0),
    number("size", "How many on a page; more than 100 counts as 100", default=25, at_least=1),
)

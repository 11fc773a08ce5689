"""Paths find their routes."""

import pytest
from aiohttp import web

from libs.common.errors import NotFound
from services.gateway.routing import Call, MethodNotAllowed, Route, Router, shown


async def _answer(_call: Call) -> web.StreamResponse:
    return web.Response()


ROUTER = Router(
    [
        Route("GET", "/api/flows", _answer, "read"),
        Route("POST", "/api/flows", _answer, "edit"),
        Route("GET", "/api/flows/{id}", _answer, "read"),
        Route("GET", "/api/flows/{id}/layers/{layerId}", _answer, "read"),
        Route("GET", "/api/flows/schema", _answer, None),
    ]
)


def test_a_path_without_parameters_is_found_by_its_method() -> None:
    match = ROUTER.match("POST", "/api/flows")
    assert (match.route.method, match.route.path, match.parameters) == ("POST", "/api/flows", ())


def test_parameters_come_in_their_order() -> None:
    match = ROUTER.match("GET", "/api/flows/a/layers/b")
    assert (match.route.path, match.parameters) == ("/api/flows/{id}/layers/{layerId}", ("a", "b"))


def test_a_literal_segment_wins_over_a_parameter() -> None:
    assert ROUTER.match("GET", "/api/flows/schema").route.path == "/api/flows/schema"


def test_head_is_answered_by_get() -> None:
    assert ROUTER.match("HEAD", "/api/flows").route.method == "GET"


@pytest.mark.parametrize(
    "path", ["/", "", "/api", "/api/flows/", "/api/flows//layers/b", "/api/flows/a/layers", "/x"]
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        ROUTER.match("GET", path)


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        ROUTER.match("PATCH", "/api/flows")
    assert refused.value.allow == "GET, POST"


def test_what_a_caller_sent_is_repeated_in_ascii_and_not_endless() -> None:
    assert shown("ä\udcff") == "\\xe4\\udcff"
    assert len(shown("x" * 10_000)) == 100

"""Paths of channels (spec flow8 section 14.1)."""

from datetime import UTC, datetime

import pytest

from libs.common.errors import HeadraceError
from libs.common.messages.channel import Channel, ChannelRoute
from services.gateway.channels.matching import SEGMENTS_MAX, find

AT = datetime(2026, 3, 14, tzinfo=UTC)


def channel(*places: str) -> Channel:
    routes = tuple(
        ChannelRoute(
            id=place,
            name=place,
            http_method=place.split()[0],
            path=place.split()[1],
            created_at=AT,
            updated_at=AT,
        )
        for place in places
    )
    return Channel(id="c", company_id="o", name="c", kind="http", routes=routes, created_at=AT, updated_at=AT)


ORDERS = channel(
    "GET /", "POST /orders", "GET /orders/:id", "GET /orders/new", "GET /:any/new", "POST /caf%C3%A9"
)


@pytest.mark.parametrize(
    ("method", "path", "route", "params"),
    [
        ("GET", "/", "GET /", {}),
        ("POST", "/orders", "POST /orders", {}),
        ("POST", "/orders/", "POST /orders", {}),
        ("GET", "/orders/7", "GET /orders/:id", {"id": "7"}),
        ("GET", "/orders/new", "GET /orders/new", {}),
        ("GET", "/shops/new", "GET /:any/new", {"any": "shops"}),
        ("GET", "/orders/a%2Fb%20c", "GET /orders/:id", {"id": "a/b c"}),
        ("GET", "/orders/%2e%2e", "GET /orders/:id", {"id": ".."}),
        ("POST", "/%6frders", "POST /orders", {}),
        ("POST", "/caf%c3%a9", "POST /caf%C3%A9", {}),
    ],
)
def test_a_path_finds_its_route(method: str, path: str, route: str, params: dict[str, str]) -> None:
    found = find(ORDERS, method, path)
    assert (found.route.id, found.params) == (route, params)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/unknown", 404),
        ("GET", "//", 404),
        ("POST", "//orders", 404),
        ("GET", "/orders//7", 404),
        ("GET", "/orders/../orders/7", 404),
        ("GET", "/Orders/7", 404),
        ("GET", "/x" * (SEGMENTS_MAX + 1), 404),
        ("GET", "/orders/%ff", 400),
        ("GET", "/orders/%00", 400),
        ("POST", "/orders/7", 405),
        ("DELETE", "/orders/7", 405),
        ("get", "/orders/7", 405),
    ],
)
def test_a_path_that_nobody_serves_is_refused(method: str, path: str, status: int) -> None:
    with pytest.raises(HeadraceError) as refused:
        find(ORDERS, method, path)
    assert refused.value.status == status

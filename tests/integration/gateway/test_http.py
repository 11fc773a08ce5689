"""The HTTP server itself: whatever is sent, the answer is JSON in one format."""

import asyncio
import json

import pytest

from libs.common import subjects
from services.gateway import bodies, server
from services.gateway.app import App
from tests.e2e.api import Api
from tests.e2e.hostile import request, send
from tests.integration.gateway.conftest import COMPANY, FLOW, Log


async def _raw(gateway: App, request: bytes) -> tuple[bytes, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, json.loads(body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /api/flows HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"GET /api/flows HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/flows HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /api/flows/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_in_json(gateway: App, request_bytes: bytes) -> None:
    head, body = await _raw(gateway, request_bytes)
    assert b" 400 " in head.partition(b"\r\n")[0]
    assert (body["error"], body["statusCode"]) == ("VALIDATION_ERROR", 400)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /api/flows/%00 HTTP/1.1",
        b"GET /api/flows/%ff/layers HTTP/1.1",
        b"GET /api/flows/*.> HTTP/1.1",
        b"GET /api/flows/../../etc/passwd HTTP/1.1",
        b"GET /api/plays/%c3%a4 HTTP/1.1",
    ],
)
async def test_odd_paths_are_not_found(gateway: App, line: bytes) -> None:
    head = line + b"\r\nHost: a\r\nConnection: close\r\nCookie: sid=" + b"s" * 43 + b"\r\n\r\n"
    status, body = await _raw(gateway, head)
    assert b" 404 " in status.partition(b"\r\n")[0], body
    assert body["statusCode"] == 404


async def test_a_cookie_that_is_no_utf8_does_not_hold(gateway: App) -> None:
    head, body = await _raw(
        gateway, b"GET /api/auth/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: sid=\xff\xfe\r\n\r\n"
    )
    assert b" 401 " in head.partition(b"\r\n")[0]
    assert body["error"] == "UNAUTHORIZED"


async def test_an_unknown_path_is_404_and_an_unknown_method_405(stranger: Api) -> None:
    assert await stranger.refused("GET", "/nope") == (404, "NOT_FOUND")
    assert await stranger.refused("PATCH", "/api/flows") == (405, "METHOD_NOT_ALLOWED")
    answer = await stranger.call("PATCH", "/api/flows")
    assert answer.headers["Allow"] == "GET, POST"


async def test_a_body_may_be_as_large_as_configured_and_no_larger(api: Api) -> None:
    path = f"/api/flows/{FLOW}/run"
    frame = len(b'{"args":{"a":""}}')
    fits = b'{"args":{"a":"' + b"x" * (100_000 - frame) + b'"}}'
    assert (await api.call("POST", path, raw=fits)).status == 200
    assert await api.refused("POST", path, raw=fits + b" ") == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"\xff", b'{"args":[]}', b'{"args":{"n":1e999}}', b"[" * 90_000]
)
async def test_a_bad_body_is_400(api: Api, raw: bytes) -> None:
    assert await api.refused("POST", f"/api/flows/{FLOW}/run", raw=raw) == (400, "VALIDATION_ERROR")


async def test_a_body_that_does_not_come_is_not_waited_for(
    gateway: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_READ_S_MAX", 0.2)
    cookie = b"Cookie: sid=" + b"s" * 43
    said = await send(gateway.port, request(b"POST /api/flows", cookie, body=b"{", length=9))
    assert (said.status, said.code) == (408, "REQUEST_TIMEOUT")


async def test_connections_have_a_limit(gateway: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._Connection, "connections_max", 2)
    open_ones = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
    one_more, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    async with asyncio.timeout(60):
        assert await one_more.read() == b""
    for opened in (*(pair[1] for pair in open_ones), writer):
        opened.close()
        await opened.wait_closed()


async def test_a_body_is_json_whatever_its_type_says(api: Api) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await api.call("POST", f"/api/flows/{FLOW}/run", {"args": {}}, headers=headers)).status == 200


async def test_answers_are_not_kept_and_not_guessed_at(stranger: Api) -> None:
    headers = (await stranger.call("GET", "/api/health")).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/api/health", "/health/live", "/health/startup"])
async def test_health_needs_no_credential(stranger: Api, path: str) -> None:
    assert (await stranger.get(path))["status"] == "healthy"


async def test_an_allowed_origin_may_call_with_the_cookie(stranger: Api) -> None:
    asks = {"Origin": "https://good.test", "Access-Control-Request-Method": "PUT"}
    preflight = await stranger.call("OPTIONS", "/api/flows", headers=asks)
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://good.test")
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    answer = await stranger.call("GET", "/api/flows", headers={"Origin": "https://good.test"})
    assert (answer.status, answer.headers["Access-Control-Allow-Credentials"]) == (401, "true")


async def test_another_origin_may_not(stranger: Api) -> None:
    asks = {"Origin": "https://evil.test", "Access-Control-Request-Method": "PUT"}
    preflight = await stranger.call("OPTIONS", "/api/flows", headers=asks)
    assert preflight.status == 405
    assert "Access-Control-Allow-Origin" not in preflight.headers


async def test_without_a_store_queries_are_503_and_say_when_to_try_again(api: Api) -> None:
    answer = await api.call("GET", "/api/flows")
    assert (answer.status, answer.json["error"], answer.headers["Retry-After"]) == (503, "UNAVAILABLE", "1")


async def test_a_callers_trace_goes_on_in_the_log(api: Api, log: Log) -> None:
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await api.call("POST", f"/api/flows/{FLOW}/run", {}, headers={"traceparent": traceparent})
    stored = await log.bus.last(subjects.plays_stream(0), f"cmd.play.0.{COMPANY}.{FLOW}.*.start")
    assert stored is not None
    assert traceparent.encode() in stored.data

"""`curl` against real servers on this machine (spec flow8 section 17.3, override 2)."""

import asyncio
import gzip
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.executor.modules import http
from services.executor.modules.contract import ModuleFailed, Services
from services.executor.modules.http_answer import RESPONSE_BYTES_MAX
from services.executor.modules.http_client import HEADER_FIELD_BYTES_MAX, http_session
from services.executor.modules.registry import info
from tests.fixtures.modules import NOW, a_step, decoded

Call = Callable[..., Awaitable[Any]]
LOOPBACK = "127.0.0.1"
ARRIVED = web.AppKey("arrived", asyncio.Event)
OVER = web.AppKey("over", asyncio.Event)


async def echo(request: web.Request) -> web.Response:
    """Answer with what came."""
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )


async def order(request: web.Request) -> web.Response:
    body = await request.json()
    return web.json_response({"id": 7, "sku": body["sku"]}, status=201)


async def answer(request: web.Request) -> web.Response:
    """Answer with the status and content type that the query names, and the bytes whose hex came."""
    content = bytes.fromhex(await request.text())
    headers = {"Content-Type": request.query.get("type", "application/json")}
    return web.Response(status=int(request.query.get("status", 200)), body=content, headers=headers)


async def hops(request: web.Request) -> web.Response:
    left = int(request.match_info["left"])
    raise web.HTTPFound(f"/hops/{left - 1}" if left > 1 else "/echo")


async def redirect(request: web.Request) -> web.Response:
    return web.Response(
        status=int(request.query.get("status", 307)), headers={"Location": request.query["to"]}
    )


async def cookies(request: web.Request) -> web.Response:
    response = web.json_response(request.headers.get("Cookie", ""))
    response.headers.extend(
        [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("X-More", "1"), ("X-More", "2")]
    )
    return response


async def large(request: web.Request) -> web.StreamResponse:
    """Stream one byte more than an answer may have."""
    size = RESPONSE_BYTES_MAX + int(request.query.get("over", 1))
    if request.query.get("packed"):
        return web.Response(body=gzip.compress(bytes(size), 1), headers={"Content-Encoding": "gzip"})
    response = web.StreamResponse()
    if request.query.get("told"):
        response.content_length = size
    await response.prepare(request)
    try:
        for _ in range(size // 65_536):
            await response.write(bytes(65_536))
        await response.write(bytes(size % 65_536))
    except ConnectionError:
        pass  # the caller had enough
    return response


async def silence(request: web.Request) -> web.StreamResponse:
    """Say nothing, or begin an answer, and then wait until the caller is gone."""
    if request.query.get("begin"):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
    request.app[ARRIVED].set()
    await request.app[OVER].wait()
    raise web.HTTPNoContent


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app[ARRIVED], app[OVER] = asyncio.Event(), asyncio.Event()
    app.router.add_route("*", "/echo", echo)
    app.router.add_post("/orders", order)
    app.router.add_route("*", "/answer", answer)
    app.router.add_get("/hops/{left}", hops)
    app.router.add_route("*", "/redirect", redirect)
    app.router.add_get("/cookies", cookies)
    app.router.add_get("/large", large)
    app.router.add_get("/silence", silence)
    started = TestServer(app, host=LOOPBACK)
    async with started:
        yield started
        app[OVER].set()


@pytest.fixture
async def curl() -> AsyncIterator[Call]:
    async with http_session(f"{LOOPBACK}, localhost") as session:
        yield calling(session)


def calling(session: aiohttp.ClientSession) -> Call:
    """Return a function that runs curl with these args on this session."""
    services = Services(http=session, now=lambda: NOW, monotonic_s=time.monotonic)

    async def call(**args: Any) -> Any:
        return await http.Curl().run(decoded("curl", args), a_step(), services)

    return call


async def failing(call: Awaitable[Any]) -> ModuleFailed:
    with pytest.raises(ModuleFailed) as raised:
        await call
    return raised.value


def url(server: TestServer, path: str, host: str = LOOPBACK) -> str:
    return f"http://{host}:{server.port}{path}"


async def test_the_example_gives_the_output_it_promises(server: TestServer, curl: Call) -> None:
    example = info(http.Curl())
    out = await curl(**{**example.args_example, "url": url(server, "/orders")})
    assert {**out, "headers": out["headers"]["content-type"]} == {
        **example.out_example,
        "headers": example.out_example["headers"]["content-type"],
        "duration": out["duration"],
    }
    assert 0 <= out["duration"] < 30_000


async def test_an_object_travels_as_json_with_the_steps_idempotency_key(
    server: TestServer, curl: Call
) -> None:
    sent = (await curl(method="POST", url=url(server, "/echo"), body={"a": [1, None]}))["body"]
    assert json.loads(sent["body"]) == {"a": [1, None]}
    assert sent["headers"]["content-type"] == "application/json"
    assert sent["headers"]["idempotency-key"] == "play-1:step"
    assert sent["headers"]["user-agent"] == "headrace"


@pytest.mark.parametrize(
    ("args", "body", "content_type"),
    [
        ({"body": "a=1"}, "a=1", "text/plain; charset=utf-8"),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, "<a/>", "text/xml"),
        ({"body": [1, 2]}, "[1,2]", "application/json"),
        ({"body": False}, "false", "application/json"),
        (
            {"bodyForm": {"a": "x &", "b": [1, True], "c": None}},
            "a=x+%26&b=1&b=true&c=",
            "application/x-www-form-urlencoded",
        ),
    ],
)
async def test_a_body_is_sent_as_what_it_is(
    server: TestServer, curl: Call, args: dict[str, Any], body: str, content_type: str
) -> None:
    sent = (await curl(method="PUT", url=url(server, "/echo"), **args))["body"]
    assert (sent["body"], sent["headers"]["content-type"]) == (body, content_type)


async def test_a_get_has_no_idempotency_key_and_no_body(server: TestServer, curl: Call) -> None:
    sent = (await curl(url=url(server, "/echo?a=b%20c")))["body"]
    assert (sent["method"], sent["path"], sent["body"]) == ("GET", "/echo?a=b%20c", "")
    assert {"idempotency-key", "content-type"} & sent["headers"].keys() == set()


async def test_an_idempotency_key_of_the_args_wins(server: TestServer, curl: Call) -> None:
    sent = (await curl(method="DELETE", url=url(server, "/echo"), headers={"idempotency-key": 7}))["body"]
    assert sent["headers"]["idempotency-key"] == "7"


async def test_headers_of_the_connection_and_null_headers_are_not_sent(
    server: TestServer, curl: Call
) -> None:
    copied = {
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
        "X-Null": None,
        "X-N": 1.0,
    }
    sent = (await curl(method="POST", url=url(server, "/echo"), headers=copied, body="abc"))["body"]
    assert sent["body"] == "abc"
    assert sent["headers"]["content-length"] == "3"
    assert sent["headers"]["x-n"] == "1"
    assert {"transfer-encoding", "connection", "x-null"} & sent["headers"].keys() == set()


@pytest.mark.parametrize(
    ("args", "authorization"),
    [
        ({"bearerToken": "t0k"}, "Bearer t0k"),
        ({"basicAuth": {"user": "ü", "pass": "p:w"}}, "Basic w7w6cDp3"),
        ({"headers": {"authorization": "Custom x"}}, "Custom x"),
    ],
)
async def test_credentials_become_a_header(
    server: TestServer, curl: Call, args: dict[str, Any], authorization: str
) -> None:
    sent = (await curl(url=url(server, "/echo"), **args))["body"]
    assert sent["headers"]["authorization"] == authorization


async def test_credentials_in_the_url_become_a_header(server: TestServer, curl: Call) -> None:
    sent = (await curl(url=f"http://u:p%40@{LOOPBACK}:{server.port}/echo"))["body"]
    assert b64decode(sent["headers"]["authorization"].removeprefix("Basic ")) == b"u:p@"


@pytest.mark.parametrize("status", [204, 404, 500])
async def test_any_status_is_an_answer(server: TestServer, curl: Call, status: int) -> None:
    out = await curl(url=url(server, f"/answer?status={status}"))
    assert (out["statusCode"], out["body"]) == (status, "")


@pytest.mark.parametrize(
    ("response_type", "content", "content_type", "body"),
    [
        ("json", b'{"a":1.5}', "text/html", {"a": 1.5}),
        ("json", b"\xef\xbb\xbf[1]", "application/json", [1]),
        ("json", b"<html>", "application/json", "<html>"),
        ("json", b"[" * 60_000, "application/json", "[" * 60_000),
        ("json", b'"\xe4"', "application/json; charset=latin-1", "ä"),
        ("json", b"[" * 129 + b"]" * 129, "application/json", "[" * 129 + "]" * 129),
        ("text", b'{"a":1}', "application/json", '{"a":1}'),
        ("text", b"\xe4", "text/plain; charset=iso-8859-1", "ä"),
        ("text", b"\xe4", "text/plain", "\ufffd"),
        ("text", b"x", "text/plain; charset=no-such-charset", "x"),
        ("text", b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        ("binary", b"\x00\xff", "image/png", "AP8="),
    ],
)
async def test_an_answer_is_read_as_asked(
    server: TestServer, curl: Call, response_type: str, content: bytes, content_type: str, body: Any
) -> None:
    there = url(server, f"/answer?type={content_type}")
    out = await curl(method="POST", url=there, body=content.hex(), responseType=response_type)
    assert out["body"] == body


async def test_headers_are_lower_case_joined_and_cookies_a_list_that_nobody_keeps(
    server: TestServer, curl: Call
) -> None:
    first = await curl(url=url(server, "/cookies"))
    again = await curl(url=url(server, "/cookies"))
    assert first["headers"]["set-cookie"] == ["a=1; Path=/", "b=2"]
    assert first["headers"]["x-more"] == "1, 2"
    assert again["body"] == ""


async def test_ten_redirects_are_followed_and_not_eleven(server: TestServer, curl: Call) -> None:
    assert (await curl(url=url(server, "/hops/10")))["body"]["path"] == "/echo"
    failed = await failing(curl(url=url(server, "/hops/11")))
    assert (failed.message, failed.final) == (
        f"GET http://{LOOPBACK}:{server.port}: too many redirects",
        True,
    )


async def test_a_redirect_that_is_not_followed_is_an_answer(server: TestServer, curl: Call) -> None:
    out = await curl(url=url(server, "/hops/1"), followRedirects=False)
    assert (out["statusCode"], out["headers"]["location"]) == (302, "/echo")


async def test_credentials_do_not_follow_to_another_host(server: TestServer, curl: Call) -> None:
    there = url(server, "/echo", host="localhost")
    out = await curl(
        method="POST", url=url(server, f"/redirect?to={there}"), body="kept", bearerToken="secret"
    )
    assert out["body"]["body"] == "kept"
    assert "authorization" not in out["body"]["headers"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://x/", "http://"])
async def test_a_redirect_to_something_else_than_http_fails_for_good(
    server: TestServer, curl: Call, to: str
) -> None:
    assert (await failing(curl(url=url(server, f"/redirect?to={to}")))).final


@pytest.mark.parametrize("form", ["", "told=1", "packed=1"])
async def test_an_answer_past_the_limit_fails_for_good(server: TestServer, curl: Call, form: str) -> None:
    failed = await failing(curl(url=url(server, f"/large?{form}")))
    assert failed.final
    assert (
        failed.message
        == f"curl: the answer of http://{LOOPBACK}:{server.port} has more than 16,777,216 bytes"
    )


async def test_an_answer_at_the_limit_is_read(server: TestServer, curl: Call) -> None:
    out = await curl(url=url(server, "/large?over=0"), responseType="text")
    assert len(out["body"]) == RESPONSE_BYTES_MAX


@pytest.mark.parametrize("query", ["", "?begin=1"])
async def test_no_answer_in_time_fails_with_its_own_code(server: TestServer, curl: Call, query: str) -> None:
    failed = await failing(curl(url=url(server, f"/silence{query}"), timeout=0.2))
    assert (failed.code, failed.final) == ("TIMEOUT", False)
    assert failed.message == f"GET http://{LOOPBACK}:{server.port}: no answer within 0.2 s"


async def test_a_step_that_is_abandoned_lets_go_of_its_call(server: TestServer, curl: Call) -> None:
    running = asyncio.ensure_future(curl(url=url(server, "/silence")))
    await asyncio.wait_for(server.app[ARRIVED].wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"method": "GE T"}, "curl: arg method"),
        ({"url": "ftp://x/"}, "curl: the url needs http:// or https:// and a host"),
        ({"url": "/path"}, "curl: the url needs http:// or https:// and a host"),
        ({"url": "http://h:99999/"}, "curl: the url cannot be read"),
        ({"url": "http://h/" + "x" * 9000}, "curl: a url has at most 8192 characters"),
        ({"body": "a", "bodyForm": {}}, "curl: give body or bodyForm, not both"),
        (
            {"bearerToken": "a", "basicAuth": {"user": "a", "pass": "b"}},
            "curl: give basicAuth or bearerToken, not both",
        ),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "curl: the header X-A holds a line break"),
        ({"bearerToken": "a\nX-B: b"}, "curl: the header Authorization holds a line break"),
        ({"headers": {"X A": "a"}}, "curl: 'X A' is no header name"),
        ({"headers": {"X-A": ["a"]}}, "curl: the header X-A needs a text"),
        ({"timeout": 3601}, "curl: arg timeout"),
    ],
)
async def test_args_that_make_no_call_fail_for_good(curl: Call, args: dict[str, Any], sentence: str) -> None:
    failed = await failing(curl(**{"url": "http://h/", **args}))
    assert failed.final
    assert failed.message.startswith(sentence)


async def test_a_closed_port_may_open_again(server: TestServer, curl: Call) -> None:
    port = server.port
    await server.close()
    failed = await failing(curl(url=f"http://u:hush@{LOOPBACK}:{port}/path-secret?key=hush"))
    assert failed.message.startswith(f"GET http://{LOOPBACK}:{port}: no connection: ")
    assert (failed.final, "hush" in failed.message, "secret" in failed.message) == (False, False, False)


async def told(curl: Call, said: bytes) -> tuple[str, Any]:
    """Return the origin of a server that says these bytes, and what curl made of them."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(speak, LOOPBACK, 0) as listening:
        origin = f"http://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}"
        try:
            return origin, await curl(url=origin)
        except ModuleFailed as failed:
            return origin, failed


async def test_a_header_that_is_no_text_can_still_be_written_as_json(curl: Call) -> None:
    _, out = await told(
        curl, b"HTTP/1.1 200 OK\r\nX-A: \xff\r\nSet-Cookie: \xc3\xa4\r\nContent-Length: 0\r\n\r\n"
    )
    assert json.dumps([out["headers"]["x-a"], out["headers"]["set-cookie"]]) == '["\\ufffd", ["\\u00e4"]]'


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "it closed the connection without an answer"),
        (b"garbage\r\n\r\n", "its answer is not valid HTTP, or a header of it is too long"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "its answer ended early or cannot be unpacked",
        ),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * (HEADER_FIELD_BYTES_MAX + 1) + b"\r\n\r\n",
            "its answer is not valid HTTP, or a header of it is too long",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "its answer ended early or cannot be unpacked",
        ),
    ],
)
async def test_a_broken_answer_fails_with_a_reason(curl: Call, said: bytes, sentence: str) -> None:
    origin, failed = await told(curl, said)
    assert (failed.message, failed.final) == (f"GET {origin}: {sentence}", False)

"""`curl` where there is no answer, too much of it, or one that cannot be read (spec flow8 section 17.3)."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from services.executor.modules.contract import ModuleFailed
from services.executor.modules.http_answer import RESPONSE_BYTES_MAX
from services.executor.modules.http_client import HEADER_FIELD_BYTES_MAX
from tests.fixtures.curl import ARRIVED, LOOPBACK, Call, failing, url


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

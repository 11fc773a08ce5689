"""`curl` against real servers on this machine (spec flow8 section 17.3, override 2)."""

import json
from base64 import b64decode
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from services.executor.modules import http
from services.executor.modules.registry import info
from tests.fixtures.curl import LOOPBACK, Call, failing, url


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

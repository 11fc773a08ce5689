"""What callers with bad intentions send to channels (spec flow8 section 14.1) is refused, in time and in form."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator

import pytest

from services.gateway.channels.server import HEADERS_MAX
from tests.e2e.api import Api, Json
from tests.e2e.channels import ECHO, Door, call, door, refused
from tests.waiting import WITHIN_S


@pytest.fixture
async def opened(api: Api) -> AsyncIterator[Door]:
    flow = await api.create_flow("Echo", ECHO)
    async with door(api, [flow["id"]]) as one:
        yield one


async def raw(opened: Door, request: bytes, *, end: bool = False) -> tuple[int, Json]:
    """Send bytes to a channel's port and return status and body of what is answered; 0 when it is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", opened.channel["port"])
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(2 * WITHIN_S):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(field.partition(b":")[2])
                for field in head.split(b"\r\n")
                if field.lower().startswith(b"content-length")
            )
            body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, None
    finally:
        writer.close()
    return int(head.split()[1]), json.loads(body)


def post(body: bytes = b"{}", *fields: bytes, path: bytes = b"/in", length: int | None = None) -> bytes:
    sent = len(body) if length is None else length
    head = [b"POST " + path + b" HTTP/1.1", b"Host: x", b"Content-Type: application/json", *fields]
    return b"\r\n".join([*head, b"Content-Length: %d" % sent, b"", body])


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nul",
        b"\xff\xfe",
        b'{"a": "\\u0000"}',
        b'{"a": 123456789012345678901234567890}',
        b"[" * 500 + b"]" * 500,
        b"[" * 100_000,
        b'{"a": NaN}',
    ],
)
async def test_14_1_json_that_cannot_be_read_or_kept_is_refused(opened: Door, body: bytes) -> None:
    assert refused(await call(opened, raw=body)) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("body", [b"a=%ff", b"a=%00", b"&".join(b"a%d=1" % n for n in range(1_100))])
async def test_14_1_a_form_that_cannot_be_read_is_refused(opened: Door, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert refused(await call(opened, raw=body, headers=headers)) == (400, "VALIDATION_ERROR")


async def test_14_1_a_body_above_the_limit_is_refused(opened: Door) -> None:
    status, body = await raw(opened, post(b'"' + b"x" * 1_100_000 + b'"'))
    assert (status, body["error"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", ["/in?a=%ff", "/in?a=%00", "/%00", "/%ff"])
async def test_14_1_a_path_or_query_that_cannot_be_read_is_refused(opened: Door, path: str) -> None:
    assert (await call(opened, path, body={})).status in {400, 404}


@pytest.mark.parametrize(
    "path", [b"/../in", b"/in/..%2f..", b"/./in", b"/in;x", b"\\in", b"/in%00", b"/%2e%2e/in", b"http:/in"]
)
async def test_14_1_tricks_with_paths_lead_nowhere(opened: Door, path: bytes) -> None:
    status, _ = await raw(opened, post(path=path))
    assert status in {0, 400, 404}


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        post(b"{}", b"X: a\x00b"),
        post(b"{}", b"Bad Name: x"),
        post(b"{}", b"X: " + b"x" * 20_000),
        post(b"{}", *(b"X-%d: x" % n for n in range(5 * HEADERS_MAX))),
    ],
)
async def test_14_1_what_is_no_good_http_is_refused(opened: Door, request_: bytes) -> None:
    status, body = await raw(opened, request_)
    assert status in {0, 400, 431}
    if status:
        assert body["statusCode"] == status
    assert (await call(opened, body={})).status == 200


async def test_14_1_too_many_headers_are_refused(opened: Door) -> None:
    fields = [b"X-%d: x" % n for n in range(HEADERS_MAX - 2)]
    status, body = await raw(opened, post(b"{}", *fields))
    assert (status, body["error"]) in {(431, "TOO_MANY_HEADERS"), (400, "VALIDATION_ERROR")}


async def test_14_1_headers_of_callers_reach_no_answer(opened: Door) -> None:
    answer = await call(opened, "/in%0d%0aSet-Cookie:%20x=1", method="PATCH", body={})
    assert answer.status == 404
    assert "Set-Cookie" not in answer.headers
    status, _ = await raw(opened, post(b"{}", b"traceparent: x\r\n Set-Cookie: x"))
    assert status in {0, 200, 400}


@pytest.mark.slow
async def test_14_1_slow_callers_are_sent_away_while_others_are_served(opened: Door) -> None:
    began_s = time.monotonic()
    slow_body = asyncio.create_task(raw(opened, post(b"{", length=1_000)))
    slow_head = asyncio.create_task(raw(opened, b"POST /in HTTP/1.1\r\nHost: x\r\n"))
    assert (await call(opened, body={})).status == 200
    status, body = await slow_body
    assert (status, body["error"]) == (408, "REQUEST_TIMEOUT")
    assert (await slow_head)[0] in {0, 408}
    assert time.monotonic() - began_s < 2 * WITHIN_S


async def test_14_1_a_signed_channel_takes_signed_requests_alone_and_each_once(api: Api) -> None:
    flow = await api.create_flow("Echo", ECHO)
    fields = {"authMode": "hmac", "hmacStyle": "stripe", "hmacSecret": "s1gning-secret"}
    async with door(api, [flow["id"]], **fields) as opened:
        body = b'{"id": "evt_1"}'
        unsigned = await call(opened, raw=body)
        forged = await call(opened, raw=body, headers=stripe(body, "another-secret"))
        stale = await call(opened, raw=body, headers=stripe(body, "s1gning-secret", age_s=1_000))
        headers = stripe(body, "s1gning-secret")
        first, replayed = [await call(opened, raw=body, headers=headers) for _ in range(2)]
        later = await call(opened, raw=body, headers=stripe(body, "s1gning-secret", age_s=5))
    assert {refused(answer) for answer in (unsigned, forged, stale)} == {(401, "UNAUTHORIZED")}
    assert [answer.status for answer in (first, replayed, later)] == [200, 200, 200]
    plays = [answer.headers["Headrace-Play-Id"] for answer in (first, replayed, later)]
    assert plays[0] == plays[1] != plays[2]
    assert first.json == replayed.json


def stripe(body: bytes, secret: str, *, age_s: int = 0) -> dict[str, str]:
    stamp = str(int(time.time()) - age_s)
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={stamp},v1={digest}"}

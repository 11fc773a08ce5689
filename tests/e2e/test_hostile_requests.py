"""Hostile requests over bare sockets: no crash, no leak, no request that stays, and the next caller is served."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import pytest

from tests.e2e.api import Json
from tests.e2e.hostile import BODIES, MALFORMED, PATHS, Heard, fields, request, send
from tests.fixtures.system import RunningSystem

NOWHERE = "0" * 24
# What an answer to a stranger must not show: where the code lies, how it failed, what it is made of.
LEAKS = (
    b"Traceback",
    b'File "',
    b"site-packages",
    b"asyncpg",
    b"msgspec",
    b"root:",
    b"/services/",
    b"select ",
)
INJECTED = b"x-injected"


class Target(NamedTuple):
    """A running system, and who is logged in to it."""

    port: int
    cookie: bytes
    document: Json


@pytest.fixture(scope="module")
def target(shared_system: RunningSystem) -> Target:
    """The system of the module, with one session for all tests."""
    with httpx.Client(base_url=shared_system.base_url) as client:
        body = {"email": shared_system.email, "password": shared_system.password}
        assert client.post("/api/auth/login", json=body).status_code == 200
        document = client.get("/openapi.json").json()
        cookie = f"Cookie: sid={client.cookies['sid']}".encode()
    return Target(int(shared_system.base_url.rpartition(":")[2]), cookie, document)


@pytest.fixture(autouse=True)
async def unharmed(shared_system: RunningSystem, target: Target) -> AsyncIterator[None]:
    """After each test the system serves as before, and has logged no crash."""
    before = _errors(shared_system)
    yield
    said = await send(target.port, request(b"GET /api/auth/me", target.cookie))
    assert (said.status, said.json["email"]) == (200, shared_system.email)
    assert _errors(shared_system) == before


def _errors(system: RunningSystem) -> int:
    return sum(system.logs(name).count('"level": "error"') for name in ("gateway-0", "store-0"))


def harmless(said: Heard) -> bool:
    """Tell whether an answer neither is a crash nor shows what is inside."""
    whole = said.head + said.body
    return (
        said.status < 500
        and not any(leak in whole for leak in LEAKS)
        and all(name != INJECTED for name, _ in fields(said.head))
    )


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_good_http_is_refused_in_form(target: Target, name: str) -> None:
    said = await send(target.port, MALFORMED[name])
    assert said.status == 0 or 400 <= said.status < 500, said
    assert harmless(said), said
    if said.status:
        assert (said.json["statusCode"], bool(said.json["message"])) == (said.status, True)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40].decode("ascii", "backslashreplace"))
async def test_a_path_leads_nowhere_else(target: Target, path: bytes) -> None:
    said = await send(target.port, request(b"GET " + path, target.cookie))
    assert said.status in {400, 404}, said
    assert harmless(said), said


def _writes(document: Json) -> list[tuple[str, str]]:
    """Return every operation of the document that takes a body, on ids of nothing."""
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if "requestBody" in told
    ]


@pytest.mark.parametrize("name", BODIES)
async def test_no_write_crashes_on_a_hostile_body(target: Target, name: str) -> None:
    writes = _writes(target.document)
    assert len(writes) > 25
    limited = {"/api/auth/login", "/api/auth/password", "/api/v1/auth/login", "/api/v1/auth/register"}
    flow, group = await _things(target)
    wrong: dict[str, Heard] = {}
    for method, path in writes:
        if path in limited and name != "deep inside":
            # Failures are counted there, and further ones turned away.
            continue
        real = path.replace("/flows/{id}", f"/flows/{flow}").replace("/groups/{id}", f"/groups/{group}")
        line = f"{method} {real.replace('{id}', NOWHERE).replace('{layerId}', NOWHERE)}".encode()
        said = await send(target.port, request(line, target.cookie, body=BODIES[name]))
        if not (said.status and harmless(said)):
            wrong[f"{method} {path}"] = said
    assert wrong == {}


async def _things(target: Target) -> tuple[str, str]:
    made = []
    for path in (b"/api/flows", b"/api/groups"):
        said = await send(target.port, request(b"POST " + path, target.cookie, body=b'{"name": "Target"}'))
        assert said.status == 201, said
        made.append(said.json["id"])
    return made[0], made[1]


async def test_of_equal_keys_the_last_one_counts(target: Target) -> None:
    body = b'{"name": "first", "category": "a", "name": "last", "category": "b"}'
    said = await send(target.port, request(b"POST /api/flows", target.cookie, body=body))
    assert (said.status, said.json["name"], said.json["category"]) == (201, "last", "b")


@pytest.mark.parametrize("path", [b"/api/flows", b"/api/kv", b"/api/auth/login", b"/api/v1/auth/login"])
async def test_ten_megabytes_are_refused(target: Target, path: bytes) -> None:
    body = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    said = await send(target.port, request(b"POST " + path, target.cookie, body=body))
    # A server that has said all it has to say may close while we are still sending.
    assert said.status in {0, 413}, said.status
    if said.status:
        assert said.code == "PAYLOAD_TOO_LARGE"


async def test_megabytes_that_are_announced_as_chunks_are_refused(target: Target) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = request(b"POST /api/flows", target.cookie, b"Transfer-Encoding: chunked")
    said = await send(target.port, head + chunk * 150 + b"0\r\n\r\n")
    assert said.status in {0, 413}, said.status


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(b'{"name": "' + b"x" * 20_000_000 + b'"}')),
        (b"deflate", zlib.compress(b"[" * 20_000_000)),
        (b"gzip", b"this is no gzip"),
        (b"gzip", gzip.compress(b'{"name": "x"}')[:-6]),
        (b"tea", b'{"name": "x"}'),
        (b"gzip, gzip, gzip", b"x"),
    ],
    ids=["a bomb", "a bomb of lists", "no gzip", "half a gzip", "unknown", "many"],
)
async def test_compressed_bodies_do_no_harm(target: Target, coding: bytes, body: bytes) -> None:
    said = await send(
        target.port, request(b"POST /api/flows", target.cookie, b"Content-Encoding: " + coding, body=body)
    )
    assert said.status == 0 or 200 <= said.status < 500, said
    assert harmless(said), said
    assert len(said.body) < 5_000


async def test_two_requests_in_one_are_two(target: Target) -> None:
    inner = request(b"GET /api/auth/me")
    both = request(b"GET /api/health") + inner
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(both)
    async with asyncio.timeout(60):
        first = await reader.readuntil(b'"}')
        second = await reader.readuntil(b"}")
    writer.close()
    # The second one does not borrow anything of the first.
    assert b" 200 " in first
    assert b" 401 " in second

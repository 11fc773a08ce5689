"""The guard at work: addresses are judged when the socket for them is made."""

import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.executor.modules import http
from services.executor.modules.contract import ModuleFailed
from services.executor.modules.http_client import http_session
from services.executor.modules.outbound import OutboundRefused
from tests.fixtures.modules import a_step, decoded, some_services

LOOPBACK = "127.0.0.1"


class Names(AbstractResolver):
    """A name service whose answers change from one question to the next; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in answer
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def elsewhere(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_get("/", hello)
    app.router.add_get("/elsewhere", elsewhere)
    started = TestServer(app, host=LOOPBACK)
    async with started:
        yield started


async def fetched(session: aiohttp.ClientSession, url: str) -> Any:
    services = some_services(session)
    return (await http.Curl().run(decoded("curl", {"url": url}), a_step(), services))["body"]


async def refusal(session: aiohttp.ClientSession, url: str) -> str:
    with pytest.raises(ModuleFailed) as raised:
        await fetched(session, url)
    assert raised.value.final
    return raised.value.message


async def test_the_refusal_says_how_to_allow_it(server: TestServer) -> None:
    async with http_session() as session:
        assert await refusal(session, f"http://{LOOPBACK}:{server.port}/") == (
            f"GET http://{LOOPBACK}:{server.port}: outbound connections to {LOOPBACK} are not allowed: it is no public "
            "address; to allow it, name the host, the address or its CIDR range in HEADRACE_OUTBOUND_ALLOW"
        )


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "\u2460\u2461\u2466.0.0.1",
        "127\u30020\u30020\u30021",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "x@127.0.0.1",
    ],
)
async def test_no_spelling_of_an_inner_address_gets_through(server: TestServer, host: str) -> None:
    async with http_session() as session:
        message = await refusal(session, f"http://{host}:{server.port}/")
    assert "are not allowed" in message or "the url is not valid" in message or "cannot be read" in message


@pytest.mark.parametrize("host", ["localhost.", "localhost.."])
async def test_a_dot_behind_a_name_changes_nothing(server: TestServer, host: str) -> None:
    async with http_session(resolver=Names([LOOPBACK])) as session:
        assert "are not allowed" in await refusal(session, f"http://{host}:{server.port}/")
    async with http_session("localhost", resolver=Names([LOOPBACK])) as session:
        assert await fetched(session, f"http://{host}:{server.port}/") == "hello"


@pytest.mark.parametrize("allow", [LOOPBACK, "127.0.0.0/8", "inner.example", "Inner.Example."])
async def test_what_is_allowed_is_reached(server: TestServer, allow: str) -> None:
    async with http_session(allow, resolver=Names([LOOPBACK])) as session:
        assert await fetched(session, f"http://inner.example:{server.port}/") == "hello"


async def test_a_name_that_is_allowed_does_not_allow_another_at_the_same_address(server: TestServer) -> None:
    async with http_session("inner.example", resolver=Names([LOOPBACK])) as session:
        assert await fetched(session, f"http://inner.example:{server.port}/") == "hello"
        assert "other.example (127.0.0.1)" in await refusal(session, f"http://other.example:{server.port}/")
        assert "are not allowed" in await refusal(session, f"http://{LOOPBACK}:{server.port}/")


async def test_a_redirect_inwards_is_refused(server: TestServer) -> None:
    async with http_session("inner.example", resolver=Names([LOOPBACK])) as session:
        way = f"http://inner.example:{server.port}/elsewhere?to=http://{LOOPBACK}:{server.port}/"
        assert f"outbound connections to {LOOPBACK} are not allowed" in await refusal(session, way)


async def test_a_name_that_moves_inwards_is_refused_when_it_has_moved(server: TestServer) -> None:
    # 192.0.2.0/24 (RFC 5737) is nobody's; allowed here so that it may stand for a public address that does not answer.
    names = Names(["192.0.2.1"], [LOOPBACK])
    async with http_session("192.0.2.0/24", resolver=names) as session:
        services = some_services(session)
        url = f"http://moving.example:{server.port}/"
        with pytest.raises(ModuleFailed) as first:
            await http.Curl().run(decoded("curl", {"url": url, "timeout": 0.2}), a_step(), services)
        assert isinstance(session.connector, aiohttp.TCPConnector)
        session.connector.clear_dns_cache()
        assert "are not allowed" not in first.value.message
        assert "moving.example (127.0.0.1)" in await refusal(session, url)


async def test_of_several_addresses_only_those_that_are_allowed_are_tried(server: TestServer) -> None:
    async with http_session(LOOPBACK, resolver=Names(["10.0.0.1", "169.254.169.254", LOOPBACK])) as session:
        assert await fetched(session, f"http://many.example:{server.port}/") == "hello"


async def test_every_refused_address_is_named() -> None:
    async with http_session(resolver=Names(["10.0.0.1", "169.254.169.254"])) as session:
        assert "many.example (10.0.0.1, 169.254.169.254)" in await refusal(session, "http://many.example/")


async def test_the_guard_holds_for_any_use_of_the_session(server: TestServer) -> None:
    async with http_session() as session:
        with pytest.raises(OutboundRefused):
            await session.get(f"http://{LOOPBACK}:{server.port}/")
        with pytest.raises(OutboundRefused):
            await session.ws_connect(f"http://{LOOPBACK}:{server.port}/")
        # Middlewares of its own take the guard's place for one call; the socket is judged all the same.
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{LOOPBACK}:{server.port}/", middlewares=())


async def test_a_proxy_of_the_environment_is_not_used(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with http_session(LOOPBACK) as session:
        assert await fetched(session, f"http://{LOOPBACK}:{server.port}/") == "hello"


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    app = web.Application()
    app.router.add_get("/", hello)
    server = TestServer(app, host=LOOPBACK, scheme="https")
    await server.start_server(ssl=_self_signed(tmp_path))
    try:
        async with http_session(LOOPBACK) as session:
            with pytest.raises(ModuleFailed) as raised:
                await fetched(session, f"https://{LOOPBACK}:{server.port}/")
    finally:
        await server.close()
    assert "its certificate does not hold: self-signed certificate" in raised.value.message


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context

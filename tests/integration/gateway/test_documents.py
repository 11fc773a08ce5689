"""The documents and their page, as the gateway serves them."""

import json
import re
from pathlib import Path

import aiohttp
import pytest

from services.gateway.app import App
from tests.e2e.api import Api

FOLDER = Path(__file__).parents[3] / "docs/contracts"
PAGE_BYTES_MAX = 30_000


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
async def test_anybody_may_read_the_documents(stranger: Api, name: str) -> None:
    assert await stranger.get(f"/{name}") == json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize(("cookies", "asks"), [({}, False), ({"sid": "some-session"}, True)])
async def test_the_page_asks_who_somebody_is_only_if_they_sent_a_session(
    gateway: App, cookies: dict[str, str], *, asks: bool
) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        aiohttp.ClientSession(cookie_jar=jar, cookies=cookies) as client,
        client.get(f"http://127.0.0.1:{gateway.port}/docs") as response,
    ):
        page = await response.text()
    assert ('<html data-session lang="en">' in page) == asks


async def test_the_page_is_one_small_file_that_asks_nobody_else(gateway: App) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{gateway.port}/docs") as response,
    ):
        page = await response.text()
    assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert len(page.encode()) < PAGE_BYTES_MAX
    assert re.findall(r"""(?:src|href)=["']?(?!#|/|data:)[^"'\s>]+|https?://""", page) == []
    assert ("innerHTML" in page, '<html lang="en">' in page) == (False, True)

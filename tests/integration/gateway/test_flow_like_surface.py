"""What holds for every path of the second surface (spec flow-like sections 1.2 and 11.2)."""

import gzip

import aiohttp
import pytest

from services.gateway.app import App
from tests.e2e.api import Answer, Api

PATHS = ("/api/v1", "/api/v1/health", "/api/v1/version", "/api/v1/info/contact", "/health/live")


async def refused(api: Api, method: str, path: str, **more: object) -> tuple[int, str]:
    """Return status and code of a call that must be refused, in this surface's envelope."""
    answer: Answer = await api.call(method, path, **more)  # type: ignore[arg-type]
    assert answer.status >= 400, answer
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"error"}, answer
    assert {"code", "message"} <= set(answer.json["error"]) <= {"code", "message", "id"}, answer
    assert answer.json["error"]["message"], answer
    return answer.status, answer.json["error"]["code"]


@pytest.mark.parametrize("path", PATHS)
async def test_11_2_rule_1_with_and_without_slash_the_same_without_a_redirect(
    gateway: App, path: str
) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
        said = []
        for form in (path, f"{path}/"):
            async with session.get(form, allow_redirects=False) as response:
                said.append((response.status, await response.read()))
    assert said[0][0] == 200
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "path", ["/api/v1/nope", "/api/v1/nope/", "/api/v1//", "/jobs", "/jobs/", "/jobs/a/b/c", "/api/v1/info"]
)
async def test_11_2_rule_1_an_unknown_path_is_404_in_the_envelope(stranger: Api, path: str) -> None:
    assert await refused(stranger, "GET", path) == (404, "NOT_FOUND")


async def test_11_2_rule_1_a_wrong_method_is_405_and_says_which_are_right(stranger: Api) -> None:
    assert await refused(stranger, "DELETE", "/api/v1/health") == (405, "METHOD_NOT_ALLOWED")
    assert (await stranger.call("DELETE", "/api/v1/health/")).headers["Allow"] == "GET"


async def test_the_first_surface_keeps_its_own_envelope(stranger: Api) -> None:
    for path in ("/api/nope", "/api/v1x", "/jobsx", "/api/v10/health"):
        assert await stranger.refused("GET", path) == (404, "NOT_FOUND")
    # And its paths have one form.
    assert await stranger.refused("GET", "/api/flows/") == (404, "NOT_FOUND")


async def test_1_2_a_server_error_has_an_id_and_says_nothing_of_itself(stranger: Api) -> None:
    # No store runs here.
    assert await refused(stranger, "GET", "/api/v1/health/db") == (500, "DATABASE_ERROR")
    answer = await stranger.call("GET", "/api/v1/health/db")
    assert answer.headers["X-Error-Id"] == answer.json["error"]["id"]
    assert "qry" not in answer.json["error"]["message"]


async def test_11_2_rule_6_every_answer_has_a_request_id(stranger: Api) -> None:
    own = await stranger.call("GET", "/api/v1/health", headers={"X-Request-Id": "abc-1"})
    made = await stranger.call("GET", "/api/v1/nope", headers={"X-Request-Id": "no spaces allowed"})
    assert own.headers["X-Request-Id"] == "abc-1"
    assert len(made.headers["X-Request-Id"]) == 24


async def test_11_2_rule_6_pages_of_any_origin_may_call_without_cookies(stranger: Api) -> None:
    asks = {"Origin": "https://any.test", "Access-Control-Request-Method": "PATCH"}
    preflight = await stranger.call("OPTIONS", "/api/v1/apps/x/visibility", headers=asks)
    assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    answer = await stranger.call("GET", "/api/v1/nope", headers={"Origin": "https://any.test"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Total-Count" in answer.headers["Access-Control-Expose-Headers"]


async def test_11_2_rule_6_an_allowed_origin_may_bring_its_cookie(stranger: Api) -> None:
    answer = await stranger.call("GET", "/api/v1/health", headers={"Origin": "https://good.test"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://good.test"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("path", ["/jobs/submit", "/api/flows"])
async def test_fq4_pages_of_other_origins_may_not_call_the_rest(stranger: Api, path: str) -> None:
    asks = {"Origin": "https://any.test", "Access-Control-Request-Method": "POST"}
    preflight = await stranger.call("OPTIONS", path, headers=asks)
    assert preflight.status in (404, 405)
    assert "Access-Control-Allow-Origin" not in preflight.headers


async def test_11_2_rule_6_a_long_answer_is_compressed_for_who_accepts_it(gateway: App) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}", auto_decompress=False) as session:
        async with session.get("/api/v1", headers={"Accept-Encoding": "gzip"}) as response:
            packed = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
            assert "Accept-Encoding" in ", ".join(response.headers.getall("Vary"))
        async with session.get("/api/v1", headers={"Accept-Encoding": "identity"}) as response:
            plain = await response.read()
            assert "Content-Encoding" not in response.headers
    assert len(packed) < len(plain)
    assert gzip.decompress(packed) == plain

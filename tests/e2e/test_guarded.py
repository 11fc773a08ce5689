"""Settings that let in few, all on one system: registration is closed, `/jobs` is guarded, one page may call."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.api import Api
from tests.e2e.door import PASSWORD, Door, new_email, refusal
from tests.e2e.mcp_client import INITIALIZE, key_of, mcp_url, plain
from tests.fixtures.system import RunningSystem, running_system

PAGE = "https://agents.example"
JSON = {"Content-Type": "application/json"}
SETTINGS = {
    "HEADRACE_ALLOWED_ORIGINS": PAGE,
    "HEADRACE_JOBS_AUTH": "required",
    "HEADRACE_REGISTRATION": "closed",
    "HEADRACE_SIGN_IN_FAILURES_ADDRESS_MAX": "3",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningSystem]:
    with running_system(environ=SETTINGS) as system:
        yield system


async def test_pages_of_an_allowed_origin_may_call_agents_tools(guarded: RunningSystem) -> None:
    async with Api.logged_in(guarded) as api:
        token = (await key_of(api))["token"]
    async with plain(Origin=PAGE) as http:
        asked = await http.options(mcp_url(guarded))
    assert asked.status_code == 200
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    async with plain(token, Origin=PAGE) as http:
        answer = await http.post(mcp_url(guarded), content=json.dumps(INITIALIZE))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "mcp-session-id" in answer.headers["access-control-expose-headers"]
    async with plain(token, Origin="https://other.example") as http:
        refused = await http.post(mcp_url(guarded), content=json.dumps(INITIALIZE))
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)


async def test_registration_can_be_closed_and_an_address_is_limited(guarded: RunningSystem) -> None:
    async with Door(guarded.base_url) as door:
        body = {"email": new_email(), "password": PASSWORD}
        assert await door.refused("POST", "/api/v1/auth/register", body) == (403, "FORBIDDEN")
        said = [
            await door.refused("POST", "/api/v1/auth/login", {"email": new_email(), "password": "wrong"})
            for _ in range(4)
        ]
    assert said == [(401, "UNAUTHORIZED")] * 3 + [(429, "TOO_MANY_REQUESTS")]


async def test_fq4_required_refuses_callers_without_a_credential(guarded: RunningSystem) -> None:
    async with Api(guarded.base_url) as caller:
        body = {"app_id": "x", "board_id": "y"}
        submitted = await caller.call("POST", "/jobs/submit", body, headers=JSON)
        assert refusal(submitted) == (401, "UNAUTHORIZED")
        assert refusal(await caller.call("GET", "/jobs/job-abc123")) == (401, "UNAUTHORIZED")
        assert refusal(await caller.call("POST", "/jobs/job-abc123/cancel")) == (401, "UNAUTHORIZED")
    async with Api.logged_in(guarded) as api:
        assert refusal(await api.call("GET", "/jobs/job-abc123")) == (404, "NOT_FOUND")

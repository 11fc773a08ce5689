"""Schemathesis walks the OpenAPI document against a running system: nothing crashes, every answer is as documented."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.fixtures.system import RunningSystem

pytestmark = pytest.mark.slow
SEED = "20260314"
# Made up per operation, beside the examples of the document and the edges of every field (some 3,500 requests).
CASES = 1
WALK_S_MAX = 1_200
# With more cases per operation than usual the walk may take as long as it takes.
LONG_WALK_S_MAX = 3_600
REQUEST_S_MAX = "60"
# Left out on purpose are: positive_data_acceptance, for types do not tell all rules (a cron line, a free port); and
# ignored_auth, which spoils one of two credentials and expects a refusal although the other one holds.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
)
# The walk's own user would lock itself out, and two of them never end by themselves.
ELSEWHERE = {
    "POST /api/auth/password": "test_users",
    "GET /api/plays/{id}/events": "test_events_stream",
    "GET /api/ws": "test_socket",
    "GET /openapi.json": "the walk itself, which begins with it",
}
# What the fresh company of the walk can hardly know: codes of a browser's journey, plays in the right state.
REACHED_MIN = 0.65


@pytest.fixture
async def token(own_system: RunningSystem) -> str:
    """An API key of the admin: good for both surfaces."""
    async with Api.logged_in(own_system) as api:
        # The examples of the document name it.
        await api.create_flow("Invoice check")
        made = await api.post("/api/auth/api-keys", {"name": "walk", "scopes": ["standard"]}, status=201)
    return str(made["token"])


def walk(url: str, token: str, cases: int, report: Path) -> subprocess.CompletedProcess[str]:
    """Run schemathesis in a process of its own and return it when it has ended."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--no-color", "run", f"{url}/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--seed", SEED, "--max-examples", str(cases),
        "--phases", "examples,coverage,fuzzing", "--workers", "1",
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--no-shrink", "--warnings", "off",
        "--request-timeout", REQUEST_S_MAX, "--report", "ndjson", "--report-ndjson-path", str(report),
    ]  # fmt: skip
    for place in ELSEWHERE:
        command += ["--exclude-name", place]
    return subprocess.run(
        command,
        cwd=report.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=WALK_S_MAX if cases == CASES else LONG_WALK_S_MAX,
    )


def told_by(report: Path) -> list[dict[str, Any]]:
    """Return the scenarios of a report: one per operation and phase, with every request and its answer."""
    events = (json.loads(line) for line in report.read_text().splitlines())
    return [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]


def statuses(scenarios: list[dict[str, Any]]) -> dict[str, set[int]]:
    """Return the statuses that each operation answered."""
    found: dict[str, set[int]] = {}
    for scenario in scenarios:
        answers = (exchange.get("response") for exchange in scenario.get("interactions", {}).values())
        found.setdefault(scenario["label"], set()).update(
            answer["status_code"] for answer in answers if answer
        )
    return found


async def test_the_document_walked_by_schemathesis_holds(
    own_system: RunningSystem, token: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    cases = int(pytestconfig.getoption("--walk-cases"))
    ran = await asyncio.to_thread(walk, own_system.base_url, token, cases, tmp_path / "walk.ndjson")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # The admin's password is another one by now. The key must hold still: else the walk proved little.
    async with Api(own_system.base_url) as api:
        document = await api.get("/openapi.json")
        headers = {"Authorization": f"Bearer {token}"}
        assert (await api.call("GET", "/api/auth/me", headers=headers)).status == 200
    told = statuses(told_by(tmp_path / "walk.ndjson"))
    operations = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert set(told) == operations - set(ELSEWHERE)
    reached = {name for name, answered in told.items() if any(status < 400 for status in answered)}
    print(
        f"{sum(map(len, told.values()))} kinds of answers, {len(reached)} of {len(told)} operations succeeded"
    )
    assert len(reached) >= REACHED_MIN * len(told), sorted(set(told) - reached)
    assert '"level": "error"' not in own_system.logs("gateway-0")

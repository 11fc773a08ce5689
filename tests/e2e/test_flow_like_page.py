"""The calls of the published page, word for word but for host and port (spec flow-like section 11.3)."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.fixtures.system import RunningSystem, running_system

PUBLISHED = "http://localhost:8083"
CALL_S_MAX = 30.0
SIGN = {"appId": "var", "ref": "sign", "index": 0, "needsApproval": True, "args": {"values": {"a": 1}}}
# Each call of the page, and what the page says of its answer.
CALLS: tuple[tuple[str, Any], ...] = (
    ("curl http://localhost:8083/api/v1/health", {"status": "ok"}),
    ("curl http://localhost:8083/health/live", {"status": "healthy", "version": "0.1.0"}),
    ("curl http://localhost:8083/health/ready", {"status": "healthy", "version": "0.1.0"}),
    ("curl http://localhost:8083/health/startup", {"status": "healthy", "version": "0.1.0"}),
    ("curl http://localhost:8083/api/v1/health/db", {"rtt": 5}),
)


@pytest.fixture(scope="module")
def installation() -> Iterator[RunningSystem]:
    """The system as `make run` starts it."""
    with running_system("--sample") as system:
        yield system


def run(line: str, system: RunningSystem) -> Any:
    """Run a line of the page against this system and return what it prints, as JSON."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line.replace(PUBLISHED, system.base_url)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=CALL_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def same_kind(told: Any, said: Any) -> bool:
    """Tell whether an answer has the fields of the page's, with its texts and with numbers where it has numbers."""
    if isinstance(told, dict) and isinstance(said, dict):
        return told.keys() == said.keys() and all(same_kind(told[name], said[name]) for name in told)
    return type(told) is type(said) if isinstance(told, int) else bool(told == said)


@pytest.mark.parametrize(("line", "told"), CALLS, ids=[line for line, _ in CALLS])
def test_a_call_of_the_page_is_answered_as_the_page_says(
    installation: RunningSystem, line: str, told: Any
) -> None:
    said = run(line, installation)
    assert same_kind(told, said), said


SUBMIT = """curl -X POST http://localhost:8083/jobs/submit \\
-H "Content-Type: application/json" \\
-d '{
"app_id": "your-app-id",
"board_id": "your-board-id",
"version": "latest",
"payload": {"key": "value"},
"mode": "async"
}'"""


async def test_the_jobs_of_the_page_are_submitted_read_and_cancelled(installation: RunningSystem) -> None:
    async with Api.logged_in(installation) as api:
        group = await api.post("/api/groups", {"name": "your-app-id"}, status=201)
        board = await api.create_flow("your-board-id", SIGN, groupId=group["id"])
        assert board["permanentId"] == "your-board-id"
        submitted = await asyncio.to_thread(run, SUBMIT, installation)
        assert (set(submitted), submitted["status"]) == ({"job_id", "status"}, "queued")
        play = await api.wait_for(submitted["job_id"].removeprefix("job-"), "WAIT")
        assert play["args"] == {"key": "value"}

    def named(line: str) -> str:
        return line.replace("job-abc123", submitted["job_id"])

    job = await asyncio.to_thread(run, named("curl http://localhost:8083/jobs/job-abc123"), installation)
    assert job == {
        "job_id": submitted["job_id"],
        "status": "running",
        "started_at": job["started_at"],
        "completed_at": None,
        "error": None,
    }
    assert job["started_at"].endswith("Z")
    cancel = named("curl -X POST http://localhost:8083/jobs/job-abc123/cancel")
    assert await asyncio.to_thread(run, cancel, installation) is None
    ended = await asyncio.to_thread(run, named("curl http://localhost:8083/jobs/job-abc123"), installation)
    assert ended["status"] == "cancelled"
